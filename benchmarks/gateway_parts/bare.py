"""The least that a proxy of our parts can cost: uvicorn, our transport, and nothing else.

`python -m gateway_parts.bare URL` prints its port; `URL` is the upstream's, up to and with `/v1`. It reads nothing of a
request but the model's name, checks nothing and keeps nothing: what the gateway costs beyond it is capture, keys,
limits and routes.
"""

import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

from journeyman.gateway.plain import PlainTransport
from journeyman.gateway.server import Http
from journeyman.gateway.transport import Address

_NAME, _SENT_ON = b'"mock/m"', b'"m"'


class Bare:
    """An ASGI application."""

    def __init__(self, url: str) -> None:
        self._address = Address(f"{url}/chat/completions")
        self._transport: PlainTransport | None = None

    async def __call__(
        self, scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Callable[..., Any]
    ) -> None:
        """Send the request on with the provider's key and its name of the model, and the answer back."""
        if scope["type"] != "http":
            return
        self._transport = self._transport or PlainTransport()
        body = (await receive())["body"].replace(_NAME, _SENT_ON)
        headers = [(b"content-type", b"application/json"), (b"authorization", b"Bearer sk-provider")]
        answer = await self._transport.post(self._address, headers, body)
        told = [header for header in answer.headers if header[0] in (b"content-type", b"content-length")]
        await send({"type": "http.response.start", "status": answer.status, "headers": told})
        while data := await answer.read():
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        answer.close()


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        print(listener.getsockname()[1], flush=True)
        config = uvicorn.Config(Bare(sys.argv[1]), lifespan="off", log_level="warning", access_log=False, http=Http)
        uvicorn.Server(config).run(sockets=[listener])
