"""Reading and answering on raw ASGI, errors in the shape that the client's library reads."""

import math
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import orjson

from journeyman.errors import InvalidInput, JourneymanError, NotFound
from journeyman.records import Api

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

_ANTHROPIC_KINDS = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 529: "overloaded_error",
}  # fmt: skip


class BodyTooLarge(InvalidInput):
    """A request's body is larger than the setting `max_body_bytes` allows."""

    code = "body_too_large"
    status = 413


class ClientGone(Exception):
    """The client hung up before its request was whole."""


async def read_body(receive: Receive, most: int = 64 << 20, declared: bytes | None = None) -> bytes:
    """The request's whole body; BodyTooLarge above `most` bytes, ClientGone when it never becomes whole.

    `declared` is its Content-Length, if the client told one: what is announced as too large is not read.
    """
    if declared is not None and len(declared) < 20 and declared.isdigit() and int(declared) > most:
        raise _too_large(most)
    message = await receive()
    body = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body") and len(body) <= most:
        return bytes(body)
    parts, size = [], 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise _too_large(most)
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()


async def disconnected(receive: Receive) -> None:
    """Return when the client has hung up."""
    while (await receive())["type"] != "http.disconnect":
        continue


async def send_error(send: Send, error: JourneymanError, headers: Headers = (), api: Api = "chat") -> None:
    """Answer with an error, as the clients of this API read it."""
    body = orjson.dumps(error_body(error, api))
    length = (b"content-length", str(len(body)).encode())
    kind = (b"content-type", b"application/json")
    again = getattr(error, "retry_after", None)
    wait = () if again is None else ((b"retry-after", str(math.ceil(again)).encode()),)
    await send({"type": "http.response.start", "status": error.status, "headers": [kind, length, *wait, *headers]})
    await send({"type": "http.response.body", "body": body})


def error_body(error: JourneymanError, api: Api = "chat") -> dict[str, Any]:
    """`{"error": {message, type, param, code}}` as OpenAI's clients read it, or as Anthropic's do for `messages`."""
    if api == "messages":
        kind = _ANTHROPIC_KINDS.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
        return {"type": "error", "error": {"type": kind, "message": str(error)}}
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    no_model = isinstance(error, NotFound) and error.kind == "model"
    param = "model" if no_model else getattr(error, "param", None)
    code = "model_not_found" if no_model else error.code
    return {"error": {"message": str(error), "type": kind, "param": param, "code": code}}


def _too_large(most: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"the body is larger than {most} bytes, the setting max_body_bytes; nothing was sent on. Send fewer or shorter "
        "messages, or raise the setting"
    )
