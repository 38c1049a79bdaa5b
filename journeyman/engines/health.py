"""Asks engines whether they are alive, and notices when one no longer answers."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

import aiohttp

from journeyman.engines.engine import RunningEngine


class Health:
    """Looks at an engine every so often, in seconds; use it as `async with Health(engine, every)`.

    Silence is counted in checks and not by the clock, so that a laptop which slept does not take its engine for hung.
    """

    def __init__(self, engine: RunningEngine, every: float) -> None:
        self._engine, self._every = engine, every
        self._client: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._client = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self._every))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

    async def until(self, holds: Callable[[int], bool]) -> None:
        """Check again and again until `holds(n)`, n being how many checks in a row have failed."""
        failed = 0
        while True:
            begun = asyncio.get_running_loop().time()
            failed = 0 if await self._is_well() else failed + 1
            if holds(failed):
                return
            await asyncio.sleep(max(0.0, begun + self._every - asyncio.get_running_loop().time()))

    async def _is_well(self) -> bool:
        assert self._client is not None
        try:
            async with self._client.get(self._engine.url + self._engine.dialect.health) as answer:
                await answer.read()
                return answer.status < 500
        except (TimeoutError, aiohttp.ClientError):
            return False
