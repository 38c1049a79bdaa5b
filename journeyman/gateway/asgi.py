"""Reading and answering on raw ASGI, errors in OpenAI's shape."""

import json
import math
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from journeyman.errors import InvalidInput, JourneymanError, NotFound

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

MOST_BYTES = 64 << 20


class BodyTooLarge(InvalidInput):
    """A request's body is larger than a chat can be."""

    code = "body_too_large"
    status = 413


class ClientGone(Exception):
    """The client hung up before its request was whole."""


async def read_body(receive: Receive) -> bytes:
    """The request's whole body; BodyTooLarge above 64 MiB, ClientGone when it never becomes whole."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MOST_BYTES:
            raise BodyTooLarge(f"the body is larger than {MOST_BYTES >> 20} MiB; send fewer or shorter messages")
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


async def disconnected(receive: Receive) -> None:
    """Return when the client has hung up."""
    while (await receive())["type"] != "http.disconnect":
        continue


async def send_error(send: Send, error: JourneymanError, headers: Headers = ()) -> None:
    """Answer with an error in OpenAI's shape."""
    body = json.dumps(error_body(error)).encode()
    length = (b"content-length", str(len(body)).encode())
    kind = (b"content-type", b"application/json")
    again = getattr(error, "retry_after", None)
    wait = () if again is None else ((b"retry-after", str(math.ceil(again)).encode()),)
    await send({"type": "http.response.start", "status": error.status, "headers": [kind, length, *wait, *headers]})
    await send({"type": "http.response.body", "body": body})


def error_body(error: JourneymanError) -> dict[str, Any]:
    """`{"error": {message, type, param, code}}`, as OpenAI's clients read it."""
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    no_model = isinstance(error, NotFound) and error.kind == "model"
    param = "model" if no_model else getattr(error, "param", None)
    code = "model_not_found" if no_model else error.code
    return {"error": {"message": str(error), "type": kind, "param": param, "code": code}}
