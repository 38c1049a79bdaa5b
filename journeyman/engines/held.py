"""A running engine and the adapters that it is to hold, which it is given again after every start."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from journeyman.engines.engine import Reply, RunningEngine
from journeyman.engines.provider import ProviderEngine
from journeyman.errors import InvalidInput, NotFound, UpstreamFailed
from journeyman.records import Message, Sampling, Tool


class HeldEngine:
    """A running engine, asked over HTTP, which keeps its adapters; use it as `async with HeldEngine(running)`.

    What was loaded is loaded again, when it is next asked for, after the engine was started again: so an adapter that
    is wanted answers, or the call fails, and a restart with hundreds of them takes no longer than one with none.
    """

    def __init__(self, running: RunningEngine, timeout: float = 600.0) -> None:
        self._running = running
        self._http = ProviderEngine(running.url, timeout=timeout)
        self._wanted: dict[str, Path] = {}
        self._held: dict[str, int] = {}
        """The epoch in which each was loaded."""
        self._loading = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    @property
    def url(self) -> str:
        """Where the engine listens now, without `/v1`."""
        return self._running.url

    @property
    def base(self) -> str:
        """The base model's name."""
        return self._running.name

    @property
    def ends_with_us(self) -> bool:
        """Whether the engine was started here, and listens here alone."""
        return self._running.ends_with_us

    def holds(self, name: str) -> bool:
        """Whether the engine, as it runs now, was given the adapter."""
        return self._held.get(name) == self._running.epoch

    def forget(self, name: str) -> None:
        """The engine turned out not to hold the adapter (any more); it stays wanted."""
        self._held.pop(name, None)

    async def load(self, name: str, folder: Path) -> None:
        """Answer under the adapter in `folder` when asked for `name`, now and after every restart."""
        async with self._loading:
            known = self._wanted.get(name)
            if known not in (None, folder):
                raise InvalidInput(
                    f"the adapter {name} is the one in {known}, and weights never change under a name; nothing was "
                    f"loaded. Load {folder} under a name of its own"
                )
            if not self.holds(name):
                await asyncio.to_thread(self._running.dialect.check_adapter, name, folder)
                http, epoch = self._reached(), self._running.epoch
                await http.load(name, folder)
                self._wanted[name], self._held[name] = folder, epoch

    async def unload(self, name: str) -> None:
        """Forget the adapter; replies under way are finished under it."""
        async with self._loading:
            if name not in self._wanted:
                raise NotFound("adapter", name, self._wanted)
            if self.holds(name):
                await self._http_unload(name)
            del self._wanted[name]
            self.forget(name)

    async def reply(
        self,
        model: str,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        sampling: Sampling = Sampling(),
        *,
        session: str | None = None,
        tags: dict[str, str] | None = None,
    ) -> Reply:
        """The model's reply, with the tokens that were sampled; NotFound for a name that stands for nothing."""
        dialect = self._running.dialect
        dialect.check_request(sampling.wire())
        told = Sampling.model_validate(sampling.wire() | dialect.tells_tokens)
        await self.ready(model)
        try:
            return await self._reached().reply(model, messages, tools, told, session=session, tags=tags)
        except NotFound:
            if model not in self._wanted:
                raise
            # Somebody unloaded it behind our back, or the server was replaced by another one.
            self.forget(model)
            await self.ready(model)
            return await self._reached().reply(model, messages, tools, told, session=session, tags=tags)

    async def ready(self, name: str) -> None:
        """Load an adapter that is wanted again, if the engine was started anew since."""
        if name in self._wanted and not self.holds(name):
            await self.load(name, self._wanted[name])

    async def _http_unload(self, name: str) -> None:
        try:
            await self._reached().unload(name)
        except NotFound:
            self.forget(name)

    def _reached(self) -> ProviderEngine:
        """The way to the engine, which may listen elsewhere after a restart; UpstreamFailed while it is down."""
        if self._running.failure:
            raise UpstreamFailed(self._running.failure, 503, self._running.retry_after)
        self._http.base_url = f"{self._running.url}/v1"
        return self._http
