"""Who answers a target, what is sent there, and that the engine holds the adapter that was asked for."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import orjson

from journeyman.config import Provider
from journeyman.datasets.pruning import prune_request
from journeyman.engines.completion import error_message
from journeyman.engines.dialect import Dialect
from journeyman.engines.engine import RunningEngine
from journeyman.engines.headers import REQUEST
from journeyman.engines.held import HeldEngine
from journeyman.errors import InvalidInput, UpstreamFailed
from journeyman.gateway.body import Asked, edited
from journeyman.gateway.booking import ENGINE
from journeyman.gateway.plain import PlainTransport
from journeyman.gateway.transport import Address, Answer, Header, TlsTransport, Transport, Unreached
from journeyman.records import Adapter, Api
from journeyman.registry.adapters import check_adapter
from journeyman.registry.resolve import Target

PATHS: dict[Api, str] = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "responses": "/responses",
    "embeddings": "/embeddings",
    "messages": "/messages",
}
"""Where each API is served, behind the version in a provider's `base_url`, and behind `/v1` here."""
CREDENTIALS = frozenset({b"authorization", b"x-api-key"})
_NOT_FORWARDED = CREDENTIALS | {
    b"host", b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"te", b"trailer", b"upgrade",
    b"expect", b"proxy-authorization", b"proxy-connection", b"accept-encoding", b"cookie",
}  # fmt: skip
_SOON = 1.0
"""Seconds after which to try an engine again that has just broken off: whoever watches it knows more by then."""


class Sent(NamedTuple):
    """What a call's client sent that may go on: its headers, and apart from them those that tell who it is.

    `own` are None when the gateway knows its callers: their keys are for the gateway, and for nobody else.
    """

    headers: list[Header]
    own: list[Header] | None


class _Endpoint(NamedTuple):
    address: Address
    extra: list[Header]
    replaced: frozenset[bytes]
    has_key: bool


class Upstreams:
    """The engine of this installation, if it has one, and the configured providers; use it as `async with`."""

    def __init__(self, engine: RunningEngine | None, providers: Mapping[str, Provider]) -> None:
        self._plain, self._tls = PlainTransport(), TlsTransport()
        self._engine = engine
        self._held = HeldEngine(engine) if engine else None
        self._providers = providers
        self._loading = asyncio.Lock()
        self._endpoints: dict[tuple[str, Api], _Endpoint] = {}

    async def __aenter__(self) -> Self:
        if self._held is not None:
            await self._held.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._held is not None:
            await self._held.__aexit__(kind, error, trace)
        await self._plain.close()
        await self._tls.close()

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

    async def ask(self, target: Target, api: Api, asked: Asked, sent: Sent, call: str) -> Answer:
        """Send the request of the call `call` to its target; InvalidInput for what an engine would ignore."""
        if target.provider is not None:
            provider = self._providers[target.provider]
            endpoint = self._provider(target.provider, provider, api)
            body = _for_provider(asked, target, api, provider)
            headers = _without(sent.headers, endpoint.replaced)
            headers += endpoint.extra if endpoint.has_key or not sent.own else [*endpoint.extra, *sent.own]
        else:
            engine, _ = self._living_engine()
            endpoint = self._of_engine(engine, api)
            body = _for_engine(asked, target, api, engine.dialect)
            headers = _without(sent.headers, endpoint.replaced)
            headers.append((REQUEST.encode(), call.encode()))  # the engine counts what it serves under this name
        transport: Transport = self._tls if endpoint.address.tls else self._plain
        return await transport.post(endpoint.address, headers, body)

    def asks_for_usage(self, target: Target, api: Api, asked: Asked) -> bool:
        """Whether the gateway asks for a usage event that the client did not ask for, and must not see."""
        if not asked.stream or asked.include_usage or api not in ("chat", "completions"):
            return False
        return target.provider is None or self._providers[target.provider].stream_usage

    def explained(self, target: Target, error: UpstreamFailed) -> UpstreamFailed:
        """Who failed, how, and what to do."""
        if target.provider is not None:
            advice = f"check providers.{target.provider}.base_url in the settings, and that the service runs"
            return UpstreamFailed(f"the provider {target.provider} failed: {error}; {advice}", error.status)
        if not isinstance(error, Unreached) and error.status == 503:
            return error
        if self._engine is not None and self._engine.failure:
            return UpstreamFailed(self._engine.failure, 503, self._engine.retry_after)
        explained = f"the engine failed: {error}; try again, and look at its log if it fails again"
        if error.status == 504:
            return UpstreamFailed(explained, 504)
        return UpstreamFailed(explained, 503, _SOON)

    def _provider(self, name: str, provider: Provider, api: Api) -> _Endpoint:
        endpoint = self._endpoints.get((name, api))
        if endpoint is None:
            extra = [(key.lower().encode(), value.encode()) for key, value in provider.headers.items()]
            if provider.api_key is not None:
                key = provider.api_key.get_secret_value().encode()
                told = (b"x-api-key", key) if provider.api == "anthropic" else (b"authorization", b"Bearer " + key)
                extra.append(told)
            address = Address(provider.base_url.rstrip("/") + PATHS[api])
            replaced = frozenset(header for header, _ in extra) - CREDENTIALS
            endpoint = _Endpoint(address, extra, replaced, has_key=provider.api_key is not None)
            self._endpoints[name, api] = endpoint
        return endpoint

    def _of_engine(self, engine: RunningEngine, api: Api) -> _Endpoint:
        endpoint = self._endpoints.get((ENGINE, api))
        url = f"{engine.url}/v1{PATHS[api]}"
        if endpoint is None or endpoint.address.url != url:  # after a restart it may listen elsewhere
            endpoint = _Endpoint(Address(url), [], frozenset({REQUEST.encode()}), has_key=True)
            self._endpoints[ENGINE, api] = endpoint
        return endpoint

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


def sent_on(headers: list[Header], known_callers: bool) -> Sent:
    """What of a request's headers may reach an upstream; `known_callers`: whether the gateway has keys of its own."""
    passed = [
        header for header in headers if header[0] not in _NOT_FORWARDED and not header[0].startswith(b"x-journeyman-")
    ]
    own = None if known_callers else [header for header in headers if header[0] in CREDENTIALS]
    return Sent(passed, own)


def _without(headers: list[Header], replaced: frozenset[bytes]) -> list[Header]:
    return [header for header in headers if header[0] not in replaced] if replaced else headers[:]


def _for_provider(asked: Asked, target: Target, api: Api, provider: Provider) -> bytes:
    if asked.stream and provider.stream_usage and api in ("chat", "completions") and not asked.include_usage:
        return edited(asked, target.model, _usage_too(asked))
    return edited(asked, target.model, {})


def _for_engine(asked: Asked, target: Target, api: Api, dialect: Dialect) -> bytes:
    """With what makes the engine tell its tokens; InvalidInput for a field that one of this dialect would ignore."""
    # What was pruned from the prompts that an adapter learned from is pruned from those it answers.
    rules = target.adapter.pruning if target.adapter else ()
    pruned = prune_request(asked.fields, rules) if rules and asked.fields else {}
    if asked.fields is None or api not in ("chat", "completions"):
        return edited(asked, target.model, pruned)
    dialect.check_request(asked.fields)
    tells = dialect.tells_tokens
    # In text completions `logprobs` is a number, and asks for another thing.
    more = tells if api == "chat" else {key: value for key, value in tells.items() if key != "logprobs"}
    return edited(asked, target.model, more | pruned | _usage_too(asked))


def _usage_too(asked: Asked) -> dict[str, Any]:
    if not asked.stream or asked.include_usage or asked.fields is None:
        return {}
    options = asked.fields.get("stream_options")
    return {"stream_options": (options if isinstance(options, dict) else {}) | {"include_usage": True}}


def error_text(body: bytes) -> str:
    """What an error's body says, in at most 2,000 characters."""
    try:
        said = error_message(orjson.loads(body))
    except ValueError:
        said = None
    return (said or body[:8000].decode(errors="replace"))[:2000] or "it said nothing"
