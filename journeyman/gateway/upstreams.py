"""Who answers a target, what is sent there, and that the engine holds the adapter that was asked for."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

from pydantic_core import from_json

from journeyman.config import Provider
from journeyman.engines.completion import error_message
from journeyman.errors import UpstreamFailed
from journeyman.gateway.transport import Answer, Transport
from journeyman.gateway.validate import BadField, ChatRequest
from journeyman.records import Adapter
from journeyman.registry.adapters import check_adapter
from journeyman.registry.resolve import Target

_NOT_FORWARDED = {
    "host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "expect",
    "proxy-authorization", "proxy-connection", "accept-encoding", "cookie",
}  # fmt: skip


class RunningEngine(Protocol):
    """The local engine as the gateway sees it: its name and address, and why it cannot answer, if so."""

    name: str
    url: str

    @property
    def failure(self) -> str | None:
        """None while the engine runs."""
        ...


class Upstreams:
    """The local engine, if there is one, and the configured providers."""

    def __init__(self, transport: Transport, engine: RunningEngine | None, providers: Mapping[str, Provider]) -> None:
        self._transport = transport
        self._engine = engine
        self._providers = providers
        self._loaded: set[str] = set()
        self._loading = asyncio.Lock()

    async def prepare(self, target: Target) -> None:
        """Make sure that the target can be asked: the engine lives, and holds the adapter."""
        if target.provider is not None:
            return
        engine = self._living_engine()
        if target.base != engine.name:
            raise UpstreamFailed(
                f"{target.model} is trained on {target.base}, but the engine here runs {engine.name}; "
                f"start another with `journeyman up --model {target.base}`",
                503,
            )
        if target.adapter is not None and target.adapter.id not in self._loaded:
            async with self._loading:
                if target.adapter.id not in self._loaded:
                    await self._load(engine, target.adapter)

    def forget(self, target: Target) -> None:
        """The engine does not know the adapter (any more): `prepare` will load it again."""
        self._loaded.discard(target.model)

    @asynccontextmanager
    async def ask(self, target: Target, request: ChatRequest, headers: Mapping[str, str]) -> AsyncIterator[Answer]:
        """Send the request to its target; UpstreamFailed says who failed, how, and what to do."""
        url, key = self._address(target)
        sent = {name: value for name, value in headers.items() if _forwarded(name)}
        if target.provider is None:
            sent.pop("authorization", None)
        if key is not None:
            sent["authorization"] = f"Bearer {key}"
        try:
            async with self._transport.post(f"{url}/chat/completions", rewritten(request, target), sent) as answer:
                yield answer
        except UpstreamFailed as error:
            raise self._explained(target, error) from error

    def _address(self, target: Target) -> tuple[str, str | None]:
        if target.provider is None:
            return f"{self._living_engine().url}/v1", None
        provider = self._providers[target.provider]
        return provider.base_url.rstrip("/"), provider.api_key.get_secret_value() if provider.api_key else None

    def _explained(self, target: Target, error: UpstreamFailed) -> UpstreamFailed:
        if target.provider is not None:
            advice = f"check providers.{target.provider}.base_url in the settings, and that the service runs"
            return UpstreamFailed(f"the provider {target.provider} failed: {error}; {advice}", error.status)
        if self._engine is not None and self._engine.failure:
            return UpstreamFailed(self._engine.failure, 503)
        return UpstreamFailed(f"the local engine failed: {error}; look at its log, then try again", error.status)

    def _living_engine(self) -> RunningEngine:
        if self._engine is None:
            raise UpstreamFailed("no local engine runs here; start one with `journeyman up --model NAME`", 503)
        if self._engine.failure:
            raise UpstreamFailed(self._engine.failure, 503)
        return self._engine

    async def _load(self, engine: RunningEngine, adapter: Adapter) -> None:
        await asyncio.to_thread(check_adapter, adapter)
        wanted = json.dumps({"lora_name": adapter.id, "lora_path": adapter.path}).encode()
        url = f"{engine.url}/v1/load_lora_adapter"
        async with self._transport.post(url, wanted, {"content-type": "application/json"}) as answer:
            said = b"".join([chunk async for chunk in answer.chunks()])
        if answer.status != 200:
            raise UpstreamFailed(
                f"the engine cannot load the adapter {adapter.name}@{adapter.id}: {error_text(said)}; nothing answered "
                "in its place. Promote another adapter, or train it again",
                503,
            )
        self._loaded.add(adapter.id)


def rewritten(request: ChatRequest, target: Target) -> bytes:
    """The body for the target: as it was, but for the model's name and for what capture needs to know."""
    body = request.body | {"model": target.model}
    if target.provider is None:
        body["return_token_ids"] = True
    if request.stream and not request.include_usage:
        body["stream_options"] = (body.get("stream_options") or {}) | {"include_usage": True}
    try:
        return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    except ValueError as error:
        raise BadField(f"the body holds a number that JSON cannot carry: {error}") from error


def error_text(body: bytes) -> str:
    """What an error's body says, in at most 2,000 characters."""
    try:
        said = error_message(from_json(body))
    except ValueError:
        said = None
    return (said or body.decode(errors="replace"))[:2000] or "it said nothing"


def _forwarded(header: str) -> bool:
    return header not in _NOT_FORWARDED and not header.startswith("x-journeyman-")
