"""Lets work in while the engine takes any, and knows how much of it is under way."""

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

from journeyman.engines.local.api.answers import error_answer
from journeyman.engines.visitors import Visitors
from journeyman.errors import UpstreamFailed

DRAIN = "/drain"


class Door:
    """An ASGI application around another: once `draining`, work is turned away with 503, and questions are answered.

    Work is every POST. What was let in before stays under way until its last byte is sent. Web pages of others are
    turned away from the server, which listens on `host`.
    """

    def __init__(self, host: str) -> None:
        self._visitors = Visitors(host)
        self.leaving = asyncio.Event()
        """Set by whoever wants the engine to finish."""
        self.under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._app: ASGIApp | None = None

    @property
    def draining(self) -> bool:
        """Whether it takes nothing new any more."""
        return self.leaving.is_set()

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application to serve."""
        self._app = app
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or follow the server's life."""
        assert self._app is not None
        if scope["type"] == "http" and (refusal := self._visitors.refusal(scope["method"], scope["headers"])):
            await error_answer(refusal)(scope, receive, send)
        elif scope["type"] != "http" or scope["method"] != "POST" or scope["path"] == DRAIN:
            await self._app(scope, receive, send)
        elif self.draining:
            await error_answer(_too_late())(scope, receive, send)
        else:
            self.under_way += 1
            self._idle.clear()
            try:
                await self._app(scope, receive, send)
            finally:
                self.under_way -= 1
                if not self.under_way:
                    self._idle.set()

    async def until_idle(self, seconds: float) -> bool:
        """Wait until nothing is under way; False when it takes longer than `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True


def _too_late() -> UpstreamFailed:
    return UpstreamFailed(
        "the engine is shutting down and takes nothing new; nothing was computed. Repeat the request in a few seconds",
        status=503,
    )
