"""Checks a chat request before anything is done with it, so that a bad one gets a clear 400 and costs nothing."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, from_json

from journeyman.errors import InvalidInput
from journeyman.records import Frozen, Message, Sampling, Tool

_NOT_SAMPLING = {"model", "messages", "tools", "stream", "stream_options", "metadata"}


class BadField(InvalidInput):
    """A field of a request's body cannot be used; `param` names it, as OpenAI's errors do."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class _StreamOptions(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    include_usage: bool | None = None


class _Body(BaseModel):
    """The fields that we know; those that we do not know pass as they are."""

    model_config = ConfigDict(extra="allow", strict=True)

    model: str = Field(min_length=1)
    messages: list[Message] = Field(min_length=1)
    tools: list[Tool] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    metadata: dict[str, str] | None = None
    n: int | None = Field(None, ge=1, le=128)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, ge=0, le=1)
    seed: int | None = None
    stop: str | list[str] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0)


class ChatRequest(Frozen):
    """A checked request: its body as it was sent, and what we read from it."""

    body: dict[str, Any]
    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    sampling: Sampling
    stream: bool
    include_usage: bool
    metadata: dict[str, str]


def read_request(raw: bytes) -> ChatRequest:
    """The request in a body's bytes; BadField says what is wrong with them, and where."""
    try:
        body = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise BadField(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise BadField(f"the body must be a JSON object, not {_kind(body)}")
    try:
        known = _Body.model_validate(body)
    except ValidationError as error:
        raise _explained(error.errors(include_url=False), body) from error
    _check_order(known.messages)
    sampling = {key: value for key, value in body.items() if key not in _NOT_SAMPLING and value is not None}
    return ChatRequest.model_construct(
        body=body,
        model=known.model,
        messages=tuple(known.messages),
        tools=tuple(known.tools or ()),
        sampling=Sampling.model_validate(sampling),
        stream=bool(known.stream),
        include_usage=bool(known.stream_options and known.stream_options.include_usage),
        metadata=known.metadata or {},
    )


def _check_order(messages: list[Message]) -> None:
    """A tool's result must answer a call that the assistant made before. A last assistant message is allowed."""
    called: set[str] = set()
    for index, message in enumerate(messages):
        called.update(call.id for call in message.tool_calls or ())
        if message.tool_calls and message.role != "assistant":
            raise BadField(
                f"messages.{index}: only an assistant message has tool_calls", f"messages.{index}.tool_calls"
            )
        if message.role != "tool":
            continue
        if message.tool_call_id not in called:
            known = ", ".join(sorted(called)) or "none"
            raise BadField(
                f"messages.{index}: a tool message must answer a tool call of an earlier assistant message; its "
                f"tool_call_id is {message.tool_call_id!r}, the calls so far: {known}",
                f"messages.{index}.tool_call_id",
            )


def _explained(errors: list[ErrorDetails], body: dict[str, Any]) -> BadField:
    """The first error, at its path in the body: pydantic's own path also names the members of unions."""
    where = _path(errors[0]["loc"], body, missing=errors[0]["type"] == "missing")
    problems = [error["msg"] for error in errors if _path(error["loc"], body, error["type"] == "missing") == where]
    return BadField(f"{where}: {'; or '.join(dict.fromkeys(problems))}", where)


def _path(loc: tuple[int | str, ...], body: Any, missing: bool) -> str:
    found: list[str] = []
    for part in loc:
        if (isinstance(body, dict) and part in body) or (isinstance(body, list) and isinstance(part, int)):
            body = body[part]  # type: ignore[index]
        elif not (missing and part == loc[-1]):
            break
        found.append(str(part))
    return ".".join(found)


def _kind(value: Any) -> str:
    names = {list: "an array", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
