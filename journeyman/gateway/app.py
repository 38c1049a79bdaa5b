"""The gateway as one ASGI application: the hot path by hand, everything else through Starlette."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from journeyman.config import Settings
from journeyman.engines.engine import RunningEngine
from journeyman.engines.visitors import Visitors
from journeyman.errors import InvalidInput, JourneymanError, Refused, UpstreamFailed
from journeyman.gateway.asgi import Receive, Scope, Send, error_body, send_error
from journeyman.gateway.capture import Capture
from journeyman.gateway.chat import ChatCompletions
from journeyman.gateway.feedback import FeedbackBody
from journeyman.gateway.ledger import Ledger
from journeyman.gateway.names import Names
from journeyman.gateway.transport import HttpTransport
from journeyman.gateway.upstreams import Upstreams
from journeyman.prices import PriceList
from journeyman.store.recovery import mark_killed
from journeyman.store.store import Store

CHAT = "/v1/chat/completions"
FLUSH_SECONDS = 10.0

log = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]


class Gateway:
    """The OpenAI-compatible endpoint over a store, the local engine (or none) and the configured providers.

    Its ASGI lifespan opens and closes what it holds; on the way out, what was captured is stored first.
    """

    def __init__(self, store: Store, settings: Settings, engine: RunningEngine | None = None) -> None:
        self._store, self._settings, self._engine = store, settings, engine
        self.capture = Capture(store)
        self.ledger = Ledger(store, PriceList(settings.prices), engine)
        self._visitors = Visitors(settings.host)
        self._names = Names(store, [engine.name] if engine else [], settings.providers)
        self._chat: ChatCompletions | None = None
        self._rest = Starlette(
            routes=[
                Route("/v1/models", _answered(self._models)),
                Route("/healthz", _answered(self._health)),
                Route("/v1/feedback", _answered(self._feedback), methods=["POST"]),
                Route("/v1/usage/totals", _answered(self._usage_totals)),
            ],
            lifespan=self._lifespan,
            exception_handlers={HTTPException: _no_such_route},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or follow the server's life."""
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
        elif refusal := self._visitors.refusal(scope["method"], scope["headers"], json_only=True):
            await send_error(send, refusal)
        elif self._chat and scope["path"] == CHAT and scope["method"] == "POST":
            await self._chat(scope, receive, send)
        else:
            await self._rest(scope, receive, send)

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        killed = await asyncio.to_thread(mark_killed, self._store)
        if killed:
            log.warning("%d calls were under way when the last gateway died; they are marked as killed", killed)
        timeout = self._settings.upstream_timeout
        transport = HttpTransport(timeout)
        self.capture.start()
        self.ledger.start()
        upstreams = Upstreams(transport, self._engine, self._settings.providers)
        self._chat = ChatCompletions(self._names, upstreams, self.capture, self.ledger, timeout)
        try:
            async with upstreams:
                yield
        finally:
            await self.ledger.close()
            await transport.close()
            await asyncio.to_thread(self.capture.close, FLUSH_SECONDS)

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": await asyncio.to_thread(self._names.listing)})

    async def _health(self, request: Request) -> Response:
        failure = self._engine.failure if self._engine else None
        engine = {"name": self._engine.name, "failure": failure} if self._engine else None
        status = "degraded" if failure else "ok"
        captures, ledger = self.capture.report(), self.ledger.report()
        return JSONResponse({"status": status, "engine": engine, "captures": captures, "ledger": ledger})

    async def _usage_totals(self, request: Request) -> Response:
        """The engine's own sums, once the ledger holds all that is behind them: what `usage reconcile` compares."""
        served = await self.ledger.engine_totals()
        if served is None:
            raise Refused(
                "there is nothing to reconcile: no engine that counts what it serves answers here now; "
                "the ledger books what the answers tell of their usage"
            )
        if served.totals is None:
            raise UpstreamFailed("the engine did not tell its sums when asked; nothing was compared. Try again")
        return JSONResponse({"epoch": served.epoch, "totals": served.totals.model_dump()})

    async def _feedback(self, request: Request) -> Response:
        try:
            feedback = FeedbackBody.model_validate_json(await request.body()).record()
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the body"
            raise InvalidInput(f"{where}: {first['msg']}") from error
        await asyncio.to_thread(self._store.put, feedback)
        return JSONResponse({"id": feedback.id}, status_code=201)


def _answered(handle: Handler) -> Handler:
    async def answered(request: Request) -> Response:
        try:
            return await handle(request)
        except JourneymanError as error:
            return JSONResponse(error_body(error), status_code=error.status)

    return answered


async def _no_such_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    wrong = InvalidInput(
        f"{request.method} {request.url.path} is not served here ({error.detail}); there is: "
        f"POST {CHAT}, GET /v1/models, POST /v1/feedback, GET /v1/usage/totals, GET /healthz"
    )
    return JSONResponse(error_body(wrong), status_code=error.status_code, headers=error.headers)
