"""`POST /v1/feedback`: what people and programs say of a call, one of its session's turns, or a session, also later."""

import asyncio
from typing import Any, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError, model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from journeyman.capture.feedback import FEEDBACK, feedback_payload
from journeyman.errors import InvalidInput, UpstreamFailed
from journeyman.gateway.asgi import ClientGone, read_body
from journeyman.gateway.keys import Caller
from journeyman.records import Feedback, Message, Tagging
from journeyman.store.store import Store

MOST_ITEMS = 1000
"""Of a list."""
MOST_BYTES = 16 << 20
CORRECTION = "correction"
"""Name of a correction that is given none."""
_LARGE = 64 << 10
"""Bytes from which on a body is read in a thread."""
_RETRY_SECONDS = 5.0


class FeedbackBody(BaseModel):
    """What a client sends: what it is about, and a score, a label, a comment, a correction or tags.

    `value` may also be true or false; `correction` is the message that should have been the reply, or its text.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    session: str | None = Field(None, min_length=1)
    exchange_id: str | None = Field(None, min_length=1)
    external_id: str | None = Field(None, min_length=1)
    turn: int | None = Field(None, ge=0)
    name: str | None = Field(None, min_length=1, max_length=512)
    value: FiniteFloat | bool | None = None
    label: str | None = Field(None, min_length=1)
    reason: str = ""
    correction: Message | str | None = None
    tags: dict[str, str] | None = Field(None, min_length=1)
    by: str | None = Field(None, min_length=1, max_length=512)

    @model_validator(mode="after")
    def _is_about_something(self) -> Self:
        if self.session is None and self.exchange_id is None and self.external_id is None:
            raise ValueError("name what it is about: `session`, `exchange_id` or `external_id`")
        if self.turn is not None and (self.session is None or self.tags is not None):
            raise ValueError("`turn` counts the calls of a `session`, and tags are for all of them or for one call")
        return self

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        scored = self.value is not None or self.label is not None or self.reason != ""
        if scored and self.name is None and self.correction is None:
            raise ValueError("`name` says what was looked at, such as success")
        if not (scored or self.correction is not None or (self.tags is not None and self.name is None)):
            raise ValueError("give at least one of `value`, `label`, `reason` and `correction`; or `tags` alone")
        return self

    @model_validator(mode="after")
    def _corrects_one_reply(self) -> Self:
        if self.correction is None:
            return self
        if self.exchange_id is None and self.external_id is None and self.turn is None:
            raise ValueError("a `correction` replaces one reply: name its `exchange_id`, `external_id` or `turn`")
        reply = _message(self.correction)
        if reply.role != "assistant" or not (reply.text or reply.tool_calls):
            raise ValueError("a `correction` is an assistant's message with content or tool_calls, or its text")
        return self

    def records(self, by: str = "api") -> list[Feedback | Tagging]:
        """The records to keep, `by` whom they were given; what was scored comes before the tags."""
        made: list[Feedback | Tagging] = []
        about = {"session": self.session, "exchange_id": self.exchange_id, "external_id": self.external_id, "by": by}
        if self.tags is None or self.name is not None or self.correction is not None:
            feedback = Feedback(
                **about,
                turn=self.turn,
                name=self.name or CORRECTION,
                value=None if self.value is None else float(self.value),
                label=self.label,
                reason=self.reason,
                correction=None if self.correction is None else _message(self.correction),
            )
            made.append(feedback)
        if self.tags is not None:
            made.append(Tagging(**about, tags=self.tags))
        return made


class Spool(Protocol):
    """What is needed of `capture.spool.Spool`."""

    def record(self, what: str, about: dict[str, Any], body: bytes) -> bool:
        """Write something whole; False when it could not be."""


class FeedbackRoute:
    """Answers the route. What is said is checked for its form alone: the call may still be on its way to the store.

    With a spool it goes there, and is acknowledged once it is written; without, straight to the store.
    """

    def __init__(self, store: Store, spool: Spool | None = None) -> None:
        self._store, self._spool = store, spool

    async def answer(self, request: Request, caller: Caller) -> Response:
        """`{"id"}` for one object, `{"ids"}` for a list, in its order; InvalidInput for what is neither."""
        try:
            raw = await read_body(request.receive, MOST_BYTES, request.headers.get("content-length", "").encode())
        except ClientGone:
            return Response(status_code=499)
        read = read_feedback(raw) if len(raw) < _LARGE else await asyncio.to_thread(read_feedback, raw)
        kept = [item.records(_by(caller, item.by)) for item in read]
        await self._keep([record for records in kept for record in records])
        ids = [records[0].id for records in kept]
        is_list = raw.lstrip()[:1] == b"["
        return JSONResponse({"ids": ids} if is_list else {"id": ids[0]}, status_code=201)

    async def _keep(self, records: list[Feedback | Tagging]) -> None:
        if self._spool is None:
            await asyncio.to_thread(self._store.put, *records)
        elif not self._spool.record(FEEDBACK, {}, feedback_payload(records)):
            raise UpstreamFailed(
                "the feedback cannot be written now (disk full, or the spool's budget is reached); nothing of it was "
                "kept. Send it again later; GET /healthz tells why",
                503,
                _RETRY_SECONDS,
            )


def read_feedback(raw: bytes) -> list[FeedbackBody]:
    """A body's items; InvalidInput says which of them is wrong, and where. All of them are good, or none is kept."""
    is_list = raw.lstrip()[:1] == b"["
    try:
        if not is_list:
            return [FeedbackBody.model_validate_json(raw)]
        items = _ITEMS.validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        said = f"{'item ' if is_list and first['loc'] else ''}{where}: {first['msg']}"
        raise InvalidInput(f"{said}; nothing was kept") from error
    if not 0 < len(items) <= MOST_ITEMS:
        raise InvalidInput(
            f"the body: a list holds 1 to {MOST_ITEMS} items, and this one {len(items)}; nothing was kept"
        )
    return items


def _message(correction: Message | str) -> Message:
    return Message(role="assistant", content=correction) if isinstance(correction, str) else correction


def _by(caller: Caller, by: str | None) -> str:
    """Who says it: the key's fingerprint, and the name that came with it, which nobody checks."""
    if not caller.known:
        return by or "api"
    return f"{caller.fingerprint}/{by}" if by else caller.fingerprint


_ITEMS = TypeAdapter(list[FeedbackBody])
