"""The gateway as one ASGI application: the hot path by hand, everything else through Starlette."""

import asyncio
import ipaddress
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from journeyman.capture.embedded import IngesterThread, ingester_for
from journeyman.capture.identity import identity_of
from journeyman.capture.spool import Spool
from journeyman.config import Settings
from journeyman.engines.engine import RunningEngine
from journeyman.engines.visitors import Visitors
from journeyman.errors import InvalidInput, JourneymanError, Refused, UpstreamFailed
from journeyman.gateway.asgi import Receive, Scope, Send, error_body, send_error
from journeyman.gateway.begun import Services
from journeyman.gateway.calls import ROUTES, Calls, credentials
from journeyman.gateway.feedback import FeedbackRoute
from journeyman.gateway.ingesting import ingester_report
from journeyman.gateway.keys import Caller, Keys
from journeyman.gateway.ledger import Ledger
from journeyman.gateway.limits import Limiter
from journeyman.gateway.metrics import Metrics
from journeyman.gateway.names import Names
from journeyman.gateway.openapi import document
from journeyman.gateway.otlp import PATHS as OTLP_PATHS
from journeyman.gateway.otlp import OtlpRoutes
from journeyman.gateway.sessions import PREFIX, without_session
from journeyman.gateway.tries import Routes
from journeyman.gateway.upstreams import Upstreams
from journeyman.gateway.watch import Watch
from journeyman.prices import PriceList
from journeyman.store.store import Store

FLUSH_SECONDS = 10.0
_STARTING = UpstreamFailed("the gateway is starting or stopping; try again", 503, 1.0)

Handler = Callable[[Request], Awaitable[Response]]


class Gateway:
    """The endpoint of the models over a store, the local engine (or none) and the configured providers.

    Its ASGI lifespan opens and closes what it holds. What is captured goes to the spool in the home folder; with
    `embedded` a thread of this process brings it from there into the store, and on the way out waits until all of it
    is there. Without, an ingester runs elsewhere (`IngesterProcess`).
    """

    def __init__(
        self, store: Store, settings: Settings, engine: RunningEngine | None = None, *, embedded: bool = True
    ) -> None:
        self._store, self._settings, self._engine, self._embedded = store, settings, engine, embedded
        self.ledger = Ledger(store, PriceList(settings.prices), engine)
        self.metrics, self.watch = Metrics(), Watch()
        self.keys, self.limiter = Keys(store), Limiter(store)
        self._visitors = Visitors(settings.host)
        self._names = Names(store, [engine.name] if engine else [], settings.providers)
        self._spool: Spool | None = None
        self._ingester: IngesterThread | None = None
        self._calls: Calls | None = None
        self._otlp: OtlpRoutes | None = None
        self._rest: Starlette = Starlette(lifespan=self._lifespan, exception_handlers={HTTPException: _no_such_route})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or follow the server's life."""
        if scope["type"] == "http" and scope["path"].startswith(PREFIX):
            try:
                scope = without_session(scope)
            except InvalidInput as error:
                await send_error(send, error)
                return
        if scope["type"] == "http" and scope["method"] == "POST":
            api = ROUTES.get(scope["path"])
            if api is not None:
                if self._calls is None:
                    await send_error(send, _STARTING, api=api)
                else:
                    await self._calls(api, scope, receive, send)
                return
        otlp = self._otlp if scope["type"] == "http" and scope["path"] in OTLP_PATHS else None
        if scope["type"] == "http":
            # Spans may come as protobuf.
            refusal = self._visitors.refusal(scope["method"], scope["headers"], json_only=otlp is None)
            if refusal is not None:
                await send_error(send, refusal)
                return
        if otlp is not None and scope["method"] == "POST":
            await self._take_spans(otlp, scope, receive, send)
        else:
            await self._rest(scope, receive, send)

    def settle(self, timeout: float = 10.0) -> bool:
        """Wait until all calls that have ended are in the store; False when that takes longer than `timeout` s."""
        if self._spool is not None:
            self._spool.flush()
        return self._ingester is None or self._ingester.settle(timeout)

    async def _take_spans(self, otlp: OtlpRoutes, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            caller = await self.keys.check(credentials(dict(scope["headers"])))
        except JourneymanError as error:
            await send_error(send, error)
            return
        await otlp(scope, receive, send, {"key": caller.fingerprint, "project": caller.project})

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        settings, capture = self._settings, self._settings.capture
        async with AsyncExitStack() as stack:
            spool = Spool(settings.spool, most_bytes=capture.spool_bytes, segment_bytes=capture.segment_bytes)
            self._spool = spool
            stack.callback(self._close_capture)
            if self._embedded:
                self._ingester = IngesterThread(ingester_for(settings, self._store))
                self._ingester.start()
            self.ledger.start()
            stack.push_async_callback(self.ledger.close)
            stack.push_async_callback(self._names.close)
            await self.keys.start()
            stack.push_async_callback(self.keys.close)
            await self.limiter.start()
            stack.push_async_callback(self.limiter.close)
            upstreams = await stack.enter_async_context(Upstreams(self._engine, settings.providers))
            services = Services(
                upstreams, self._names, spool, self.ledger, self.limiter, self.watch, self.metrics,
                (identity_of(settings.spool, make=True) or "").encode(), settings.upstream_timeout,
            )  # fmt: skip
            self._add_routes(spool)
            routes = Routes(settings.routes)
            self._calls = Calls(services, self.keys, routes, self._visitors, settings.max_body_bytes)
            yield
            self._calls = None

    def _add_routes(self, spool: Spool) -> None:
        self._otlp = OtlpRoutes(spool)
        self._rest.router.routes += [
            Route("/v1/models", _answered(self._models)),
            Route("/v1/feedback", _answered(self._give_feedback), methods=["POST"]),
            Route("/v1/usage/totals", _answered(self._usage_totals)),
            Route("/healthz", self._health),
            Route("/metrics", _answered(self._metrics)),
            Route("/openapi.json", document),
        ]

    def _close_capture(self) -> None:
        if self._spool is not None:
            self._spool.close()
        if self._ingester is not None:
            self._ingester.close(FLUSH_SECONDS)

    async def _caller(self, request: Request) -> Caller:
        """Who asks; Unauthorized when the gateway has keys, and this is none of them."""
        return await self.keys.check(credentials(dict(request.headers.raw)))

    async def _is_operator(self, request: Request) -> bool:
        try:
            await self._require_operator(request)
        except JourneymanError:
            return False
        return True

    async def _require_operator(self, request: Request) -> None:
        """What concerns the whole installation is told on this machine, and elsewhere to those who have a key."""
        if not (_is_here(request) and "x-forwarded-for" not in request.headers and "forwarded" not in request.headers):
            await self._caller(request)

    async def _models(self, request: Request) -> Response:
        caller = await self._caller(request)
        listing = await asyncio.to_thread(self._names.listing)
        return JSONResponse({"object": "list", "data": self.keys.visible(caller, listing)})

    def _reports(self) -> dict[str, dict[str, Any]]:
        spool = self._spool.report() if self._spool else {}
        ingester = self._ingester.report() if self._ingester else ingester_report(self._settings.spool)
        return {
            "spool": spool, "ingester": ingester, "ledger": self.ledger.report(), "keys": self.keys.report(),
            "limits": self.limiter.report(), "otlp": self._otlp.report() if self._otlp else {},
        }  # fmt: skip

    async def _health(self, request: Request) -> Response:
        failure = self._engine.failure if self._engine else None
        if not await self._is_operator(request):
            return JSONResponse({"status": "degraded" if failure else "ok"})
        engine = {"name": self._engine.name, "failure": failure} if self._engine else None
        status = "degraded" if failure else "ok"
        return JSONResponse({"status": status, "engine": engine, **self._reports()})

    async def _metrics(self, request: Request) -> Response:
        await self._require_operator(request)
        text = self.metrics.text(len(self.watch), self._reports())
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def _usage_totals(self, request: Request) -> Response:
        """The engine's own sums, once the ledger holds all that is behind them: what `usage reconcile` compares."""
        await self._require_operator(request)
        served = await self.ledger.engine_totals()
        if served is None:
            raise Refused(
                "there is nothing to reconcile: no engine that counts what it serves answers here now; "
                "the ledger books what the answers tell of their usage"
            )
        if served.totals is None:
            raise UpstreamFailed("the engine did not tell its sums when asked; nothing was compared. Try again")
        return JSONResponse({"epoch": served.epoch, "totals": served.totals.model_dump()})

    async def _give_feedback(self, request: Request) -> Response:
        return await FeedbackRoute(self._store, self._spool).answer(request, await self._caller(request))


def _answered(handle: Handler) -> Handler:
    async def answered(request: Request) -> Response:
        try:
            return await handle(request)
        except JourneymanError as error:
            again = getattr(error, "retry_after", None)
            headers = None if again is None else {"retry-after": str(math.ceil(again))}
            return JSONResponse(error_body(error), status_code=error.status, headers=headers)

    return answered


def _is_here(request: Request) -> bool:
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


async def _no_such_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    wrong = InvalidInput(
        f"{request.method} {request.url.path} is not served here ({error.detail}); there is: "
        f"{', '.join(f'POST {path}' for path in ROUTES)}, GET /v1/models, POST /v1/feedback, GET /v1/usage/totals, "
        "POST /v1/traces, POST /v1/logs, GET /healthz, GET /metrics, GET /openapi.json"
    )
    if request.url.path in ROUTES or request.url.path in OTLP_PATHS:
        return JSONResponse(error_body(wrong), status_code=405, headers={"allow": "POST"})
    return JSONResponse(error_body(wrong), status_code=error.status_code, headers=error.headers)
