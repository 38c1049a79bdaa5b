"""The request body of a chat completion as the local engine takes it: each field is used, or refused."""

import re
import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from journeyman.engines.local.sampling.rule import SamplingRule
from journeyman.errors import InvalidInput
from journeyman.records import Message, Tool


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class StreamOptions(_Strict):
    """What a stream carries beyond the reply."""

    include_usage: bool = False


class PlainFormat(_Strict):
    """A reply of any kind, or any JSON object."""

    type: Literal["text", "json_object"]


class NamedSchema(_Strict):
    """A JSON Schema under a name that says what it is for. It is enforced, `strict` or not."""

    name: str = Field(min_length=1)
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class SchemaFormat(_Strict):
    """A reply that is JSON of a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


class _FunctionName(_Strict):
    name: str


class ChosenFunction(_Strict):
    """The one function that the reply must call."""

    type: Literal["function"]
    function: _FunctionName


def _read_choice(value: object) -> object:
    return ChosenFunction.model_validate(value) if isinstance(value, dict) else value


_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def check_tool_names(tools: Sequence[Tool]) -> None:
    """InvalidInput for a tool whose name is none by OpenAI's rule: what a model writes could not be read back as it."""
    for number, tool in enumerate(tools):
        if not _TOOL_NAME.fullmatch(tool.function.name):
            raise InvalidInput(
                f"tools.{number}.function.name: {tool.function.name[:80]!r} is no name of a function; use 1 to 64 "
                "letters from a to z, digits, '_' and '-'"
            )


StopString = Annotated[str, Field(min_length=1)]
TokenId = Annotated[int, Field(ge=0)]
Bias = Annotated[float, Field(ge=-100, le=100)]


class SamplingBody(_Strict):
    """What chat completions and plain completions have in common."""

    model: str
    n: int = Field(1, ge=1, le=128)
    stop: StopString | list[StopString] | None = None
    stop_token_ids: list[TokenId] = []
    ignore_eos: bool = False
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=-1)
    min_p: float = Field(0.0, ge=0, le=1)
    frequency_penalty: float = Field(0.0, ge=-2, le=2)
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    repetition_penalty: float = Field(1.0, gt=0, le=10)
    logit_bias: dict[TokenId, Bias] = {}
    seed: int | None = None
    return_token_ids: bool = False
    stream: bool = False
    stream_options: StreamOptions | None = None
    priority: int = Field(0, ge=0, le=1)
    """0 for people who wait, 1 for rollouts."""
    timeout: float | None = Field(None, gt=0, le=86_400)
    """Seconds after which nobody wants the reply any more."""
    metadata: dict[str, Any] | None = None
    """Read by the gateway when it captures; the engine has no use for it."""
    user: str | None = None
    """As `metadata`."""

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings as a tuple."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def deadline(self) -> float | None:
        """`time.monotonic()` after which nobody wants the reply; counted from now."""
        return None if self.timeout is None else time.monotonic() + self.timeout

    def rule(self, choice: int) -> SamplingRule:
        """How to sample the choice of that index; each has a seed of its own that follows from the request's."""
        return SamplingRule(
            temperature=self.temperature,
            top_p=self.top_p,
            seed=None if self.seed is None else f"{self.seed}/{choice}",
            top_k=max(self.top_k, 0),
            min_p=self.min_p,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            repetition_penalty=self.repetition_penalty,
            logit_bias=self.logit_bias,
        )


class ChatBody(SamplingBody):
    """`POST /v1/chat/completions`. Fields that only their default makes sense for here accept just that."""

    messages: list[Message] = Field(min_length=1)
    tools: list[Tool] = []
    tool_choice: Annotated[Literal["auto", "none", "required"] | ChosenFunction, BeforeValidator(_read_choice)] = "auto"
    parallel_tool_calls: bool = True
    response_format: Annotated[PlainFormat | SchemaFormat, Field(discriminator="type")] = PlainFormat(type="text")
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=20)
    prompt_logprobs: int | None = Field(None, ge=0, le=20)
    store: Literal[False] = False
    service_tier: Literal["auto", "default"] = "auto"
    safety_identifier: str | None = None
    """Has a meaning for OpenAI alone, as has the next."""
    prompt_cache_key: str | None = None

    @property
    def limit(self) -> int | None:
        """Most tokens of a reply, under whichever of its two names it was given."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def offered(self) -> list[Tool]:
        """The tools that the model is shown."""
        return [] if self.tool_choice == "none" else self.tools

    @property
    def callable(self) -> list[Tool]:
        """The tools that the reply may call."""
        if isinstance(self.tool_choice, ChosenFunction):
            chosen = self.tool_choice.function.name
            return [tool for tool in self.tools if tool.function.name == chosen][:1]
        return self.offered

    @property
    def forces_a_call(self) -> bool:
        """Whether the reply must be a tool call."""
        return self.tool_choice not in ("auto", "none")

    @property
    def answer_schema(self) -> dict[str, Any] | None:
        """The JSON Schema of the reply's words; None where they are free."""
        if isinstance(self.response_format, SchemaFormat):
            return self.response_format.json_schema.schema_
        return {"type": "object"} if self.response_format.type == "json_object" else None


_SHAPE = re.compile(r"\[.*\]|^constrained-")
"""What pydantic calls one of the shapes that a field may have; no client knows it by that."""

Body = TypeVar("Body", bound=BaseModel)


def read_as(kind: type[Body], parsed: object) -> Body:
    """A parsed JSON body as a record; InvalidInput names the field and what is wrong with it."""
    try:
        return kind.model_validate(parsed)
    except ValidationError as error:
        errors = error.errors()
        # Where a field takes several shapes, each complains: the one that came furthest is the one that was meant.
        of_first = [each for each in errors if each["loc"][:1] == errors[0]["loc"][:1]]
        found = max(of_first, key=lambda each: len(each["loc"]))
        field = ".".join(str(part) for part in found["loc"] if not _SHAPE.search(str(part))) or "body"
        if found["type"] == "extra_forbidden":
            raise InvalidInput(f"{field}: the local engine does not know this argument; leave it out") from error
        raise InvalidInput(f"{field}: {found['msg']}") from error


def read_body(parsed: object) -> ChatBody:
    """The body of a chat completion; InvalidInput when arguments contradict each other."""
    if isinstance(parsed, dict):
        # Clients send null for "not given".
        parsed = {name: value for name, value in parsed.items() if value is not None}
    body = read_as(ChatBody, parsed)
    check_tool_names(body.tools)
    if body.top_logprobs and not body.logprobs:
        raise InvalidInput("top_logprobs: only together with logprobs=true")
    if body.stream_options is not None and not body.stream:
        raise InvalidInput("stream_options: only together with stream=true")
    if body.prompt_logprobs is not None and body.stream:
        raise InvalidInput("prompt_logprobs: they come with a whole reply; leave out stream")
    if body.max_tokens and body.max_completion_tokens and body.max_tokens != body.max_completion_tokens:
        raise InvalidInput("max_tokens: max_completion_tokens is its new name; give one of the two")
    if body.forces_a_call and not body.callable:
        names = ", ".join(tool.function.name for tool in body.tools) or "none"
        raise InvalidInput(f"tool_choice: a call is demanded of a tool that is not there; tools: {names}")
    if body.ignore_eos and (body.forces_a_call or body.answer_schema is not None):
        raise InvalidInput("ignore_eos: a reply of a given form ends where its form does; leave it out")
    return body
