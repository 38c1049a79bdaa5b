"""The request body of a chat completion as the local engine takes it: each field is used, or refused."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from journeyman.engines.local.sampling.rule import SamplingRule
from journeyman.errors import InvalidInput
from journeyman.records import Message, Tool


class StreamOptions(BaseModel):
    """What a stream carries beyond the reply."""

    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False


class _TextOnly(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]


StopString = Annotated[str, Field(min_length=1)]


class ChatBody(BaseModel):
    """`POST /v1/chat/completions`. Fields that only their default makes sense for here accept just that."""

    model_config = ConfigDict(extra="forbid")

    model: str
    messages: list[Message] = Field(min_length=1)
    tools: list[Tool] = []
    tool_choice: Literal["auto", "none"] = "auto"
    parallel_tool_calls: Literal[True] = True
    n: int = Field(1, ge=1, le=128)
    stop: StopString | list[StopString] | None = None
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    seed: int | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=20)
    stream: bool = False
    stream_options: StreamOptions | None = None
    return_token_ids: bool = False
    frequency_penalty: float = Field(0, ge=0, le=0)
    presence_penalty: float = Field(0, ge=0, le=0)
    logit_bias: dict[str, float] = Field({}, max_length=0)
    response_format: _TextOnly | None = None
    metadata: dict[str, Any] | None = None
    """Read by the gateway when it captures; the engine has no use for it."""
    user: str | None = None
    """As `metadata`."""

    @property
    def limit(self) -> int | None:
        """Most tokens of a reply, under whichever of its two names it was given."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings as a tuple."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def rule(self, choice: int) -> SamplingRule:
        """How to sample the choice of that index; each has a seed of its own that follows from the request's."""
        return SamplingRule(self.temperature, self.top_p, None if self.seed is None else f"{self.seed}/{choice}")


class UnloadBody(BaseModel):
    """`POST /v1/unload_lora_adapter`, as vLLM takes it."""

    model_config = ConfigDict(extra="forbid")

    lora_name: str = Field(min_length=1)


class LoadBody(UnloadBody):
    """`POST /v1/load_lora_adapter`, as vLLM takes it."""

    lora_path: Path


Body = TypeVar("Body", bound=BaseModel)


def read_as(kind: type[Body], parsed: object) -> Body:
    """A parsed JSON body as a record; InvalidInput names the field and what is wrong with it."""
    try:
        return kind.model_validate(parsed)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "body"
        if first["type"] == "extra_forbidden":
            raise InvalidInput(f"{field}: the local engine does not know this argument; leave it out") from error
        raise InvalidInput(f"{field}: {first['msg']}") from error


def read_body(parsed: object) -> ChatBody:
    """The body of a chat completion; InvalidInput when arguments contradict each other."""
    if isinstance(parsed, dict):
        # Clients send null for "not given".
        parsed = {name: value for name, value in parsed.items() if value is not None}
    body = read_as(ChatBody, parsed)
    if body.top_logprobs and not body.logprobs:
        raise InvalidInput("top_logprobs: only together with logprobs=true")
    if body.stream_options is not None and not body.stream:
        raise InvalidInput("stream_options: only together with stream=true")
    if body.max_tokens and body.max_completion_tokens and body.max_tokens != body.max_completion_tokens:
        raise InvalidInput("max_tokens: max_completion_tokens is its new name; give one of the two")
    return body
