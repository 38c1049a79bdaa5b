"""Who answers a target, what is sent there, and that the engine holds the adapter that was asked for."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic_core import from_json

from journeyman.config import Provider
from journeyman.engines.completion import error_message
from journeyman.engines.dialect import Dialect
from journeyman.engines.engine import RunningEngine
from journeyman.engines.held import HeldEngine
from journeyman.errors import InvalidInput, UpstreamFailed
from journeyman.gateway.transport import Answer, Transport
from journeyman.gateway.validate import BadField, ChatRequest
from journeyman.records import Adapter
from journeyman.registry.adapters import check_adapter
from journeyman.registry.resolve import Target

_NOT_FORWARDED = {
    "host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "expect",
    "proxy-authorization", "proxy-connection", "accept-encoding", "cookie",
}  # fmt: skip


_SOON = 1.0
"""Seconds after which to try an engine again that has just broken off: whoever watches it knows more by then."""


class Upstreams:
    """The engine of this installation, if it has one, and the configured providers; use it as `async with`."""

    def __init__(self, transport: Transport, engine: RunningEngine | None, providers: Mapping[str, Provider]) -> None:
        self._transport = transport
        self._engine = engine
        self._held = HeldEngine(engine) if engine else None
        self._providers = providers
        self._loading = asyncio.Lock()

    async def __aenter__(self) -> Self:
        if self._held is not None:
            await self._held.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._held is not None:
            await self._held.__aexit__(kind, error, trace)

    async def prepare(self, target: Target) -> None:
        """Make sure that the target can be asked: the engine lives, and holds the adapter."""
        if target.provider is not None:
            return
        engine, held = self._living_engine()
        if target.base != engine.name:
            raise UpstreamFailed(
                f"{target.model} is trained on {target.base}, but the engine here runs {engine.name}; "
                f"start another with `journeyman up --model {target.base}`",
                503,
            )
        if target.adapter is not None and not held.holds(target.adapter.id):
            async with self._loading:
                if not held.holds(target.adapter.id):
                    await _load(held, target.adapter)

    def forget(self, target: Target) -> None:
        """The engine does not know the adapter (any more): `prepare` will load it again."""
        if self._held is not None:
            self._held.forget(target.model)

    @asynccontextmanager
    async def ask(self, target: Target, request: ChatRequest, headers: Mapping[str, str]) -> AsyncIterator[Answer]:
        """Send the request to its target; UpstreamFailed says who failed, how, and what to do."""
        url, key = self._address(target)
        dialect = self._living_engine()[0].dialect if target.provider is None else None
        sent = {name: value for name, value in headers.items() if _forwarded(name)}
        if target.provider is None:
            sent.pop("authorization", None)
        if key is not None:
            sent["authorization"] = f"Bearer {key}"
        try:
            body = rewritten(request, target, dialect)
            async with self._transport.post(f"{url}/chat/completions", body, sent) as answer:
                yield answer
        except UpstreamFailed as error:
            raise self._explained(target, error) from error

    def _address(self, target: Target) -> tuple[str, str | None]:
        if target.provider is None:
            return f"{self._living_engine()[0].url}/v1", None
        provider = self._providers[target.provider]
        return provider.base_url.rstrip("/"), provider.api_key.get_secret_value() if provider.api_key else None

    def _explained(self, target: Target, error: UpstreamFailed) -> UpstreamFailed:
        if target.provider is not None:
            advice = f"check providers.{target.provider}.base_url in the settings, and that the service runs"
            return UpstreamFailed(f"the provider {target.provider} failed: {error}; {advice}", error.status)
        if self._engine is not None and self._engine.failure:
            return UpstreamFailed(self._engine.failure, 503, self._engine.retry_after)
        explained = f"the engine failed: {error}; try again, and look at its log if it fails again"
        if error.status == 504:
            return UpstreamFailed(explained, 504)
        return UpstreamFailed(explained, 503, _SOON)

    def _living_engine(self) -> tuple[RunningEngine, HeldEngine]:
        if self._engine is None or self._held is None:
            raise UpstreamFailed("no engine runs here; start one with `journeyman up --model NAME`", 503)
        if self._engine.failure:
            raise UpstreamFailed(self._engine.failure, 503, self._engine.retry_after)
        return self._engine, self._held


async def _load(held: HeldEngine, adapter: Adapter) -> None:
    await asyncio.to_thread(check_adapter, adapter)
    try:
        await held.load(adapter.id, Path(adapter.path))
    except InvalidInput as error:
        raise UpstreamFailed(
            f"the engine cannot load the adapter {adapter.name}@{adapter.id}: {error}; nothing answered in its place. "
            "Promote another adapter, or train it again",
            503,
        ) from error


def rewritten(request: ChatRequest, target: Target, dialect: Dialect | None) -> bytes:
    """The body for the target: as it was, but for the model's name and for what capture needs to know.

    InvalidInput for a field that an engine of this `dialect` would ignore; a provider has none, and judges for itself.
    """
    body = request.body | {"model": target.model}
    if dialect is not None:
        dialect.check_request(body)
        body |= dialect.tells_tokens
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
