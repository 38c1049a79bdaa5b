"""Real servers on loopback: a scripted OpenAI upstream that can break in every way, and a gateway in front of it."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from openai import AsyncOpenAI

from journeyman.app import GatewayServer
from journeyman.config import Provider, Settings
from journeyman.engines.dialect import LOCAL, Dialect
from journeyman.gateway.app import Gateway
from journeyman.records import Exchange
from journeyman.store.memory import MemoryStore
from journeyman.store.store import Store

ScriptedAnswer = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]
USAGE = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15, "prompt_tokens_details": {"cached_tokens": 4}}


def completion(*messages: dict[str, Any], finish: str | None = "stop", **more: Any) -> dict[str, Any]:
    choices = [
        {"index": index, "message": {"role": "assistant", **message}, "finish_reason": finish}
        for index, message in enumerate(messages)
    ]
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": choices,
        "usage": USAGE,
    } | more


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0, **choice: Any) -> dict[str, Any]:
    piece = {"index": index, "delta": delta, "finish_reason": finish, **choice}
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [piece],
        "usage": None,
    }


def event(data: dict[str, Any] | str) -> bytes:
    return b"data: " + (data if isinstance(data, str) else json.dumps(data)).encode() + b"\n\n"


HELLO = [
    event(chunk({"role": "assistant", "content": ""})),
    event(chunk({"content": "Hel"})),
    event(chunk({"content": "lo"})),
    event(chunk({}, finish="stop")),
    event({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": USAGE}),
    event("[DONE]"),
]


def whole(body: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> ScriptedAnswer:
    async def answer(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        return web.json_response(body, status=status, headers=headers)

    return answer


def streamed(parts: list[bytes], cut: bool = False, hold: asyncio.Event | None = None) -> ScriptedAnswer:
    """Send the parts one by one; then end well, or cut the connection, or hold it open until told."""

    async def answer(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream", "x-request-id": "r1"})
        await response.prepare(request)
        for part in parts:
            await response.write(part)
            await asyncio.sleep(0.002)
        if hold is not None:
            await hold.wait()
        if cut:
            assert request.transport is not None
            request.transport.abort()
        return response

    return answer


@dataclass
class Upstream:
    """What was asked, and what will be answered next."""

    url: str = ""
    answer: ScriptedAnswer = whole(completion({"content": "Hello"}))  # noqa: RUF009
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    loads: list[dict[str, Any]] = field(default_factory=list)
    loadable: bool = True
    held: set[str] = field(default_factory=set)
    hello = HELLO
    completion, chunk, event = staticmethod(completion), staticmethod(chunk), staticmethod(event)
    whole, streamed = staticmethod(whole), staticmethod(streamed)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        self.asked.append(body)
        self.headers.append({key.lower(): value for key, value in request.headers.items()})
        try:
            return await self.answer(request, body)
        except (ConnectionResetError, asyncio.CancelledError):
            self.gone.set()
            raise

    async def load(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.loads.append(body)
        if not self.loadable:
            return web.json_response({"error": {"message": "rank 512 is too large"}}, status=400)
        self.held.add(body["lora_name"])
        return web.json_response({"status": "loaded"})


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    scripted = Upstream()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", scripted.chat)
    app.router.add_post("/v1/load_lora_adapter", scripted.load)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    scripted.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield scripted
    await runner.cleanup()


@dataclass
class ScriptedEngine:
    name: str
    url: str
    failure: str | None = None
    retry_after: float | None = None
    ends_with_us: bool = True
    epoch: int = 1
    dialect: Dialect = LOCAL


@pytest.fixture
def engine(upstream: Upstream) -> ScriptedEngine:
    return ScriptedEngine("tiny", upstream.url)


@pytest.fixture
async def http() -> AsyncIterator[Callable[..., Awaitable[tuple[int, Any]]]]:
    """`await http(method, url, body)` gives the status and the parsed answer."""
    async with aiohttp.ClientSession() as session:

        async def ask(method: str, url: str, body: Any = None) -> tuple[int, Any]:
            async with session.request(method, url, json=body) as answer:
                return answer.status, await answer.json()

        yield ask


@pytest.fixture
def store() -> Store:
    return MemoryStore()


@pytest.fixture
def settings(tmp_path: Any, upstream: Upstream) -> Settings:
    providers = {
        "acme": Provider(base_url=f"{upstream.url}/v1/", api_key="sk-secret"),
        "open": Provider(base_url=f"{upstream.url}/v1"),
        "nowhere": Provider(base_url="http://127.0.0.1:9/v1"),
    }
    return Settings(home=tmp_path, providers=providers, upstream_timeout=5.0)


@dataclass
class Running:
    """A gateway that serves."""

    url: str
    gateway: Gateway
    store: Store
    server: GatewayServer

    def client(self) -> AsyncOpenAI:
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key="client-key", max_retries=0, timeout=10)

    async def exchange(self) -> Exchange:
        """The one exchange that was captured, once it has its final state."""
        [found] = await self.exchanges(1)
        return found

    async def exchanges(self, count: int) -> list[Exchange]:
        """Newest first, once `count` calls have their final state."""
        for _ in range(500):
            await asyncio.to_thread(self.gateway.settle, 10)
            found = list(self.store.find(Exchange))
            if sum(exchange.state not in ("started", "streaming") for exchange in found) >= count:
                return found
            await asyncio.sleep(0.01)
        raise AssertionError(f"waited 5 s for {count} finished exchanges; there is {found}")


@asynccontextmanager
async def running(store: Store, settings: Settings, engine: Any) -> AsyncIterator[Running]:
    gateway = Gateway(store, settings, engine)
    started = asyncio.Event()
    server = GatewayServer(gateway, started.set)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        async with asyncio.timeout(10):
            await started.wait()
        yield Running(url, gateway, store, server)
        server.should_exit = True
        await serving


@pytest.fixture
def serving(settings: Settings) -> Callable[..., Any]:
    """`async with serving(store, engine) as gateway`: for tests that need a store or an engine of their own."""
    return lambda store, engine: running(store, settings, engine)


@pytest.fixture
async def gateway(store: Store, settings: Settings, engine: ScriptedEngine) -> AsyncIterator[Running]:
    async with running(store, settings, engine) as serving:
        yield serving
