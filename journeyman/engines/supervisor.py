"""Keeps an engine's process running: starts it again when it crashed or hangs, and gives up when that does not help."""

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from journeyman.engines.dialect import Dialect
from journeyman.engines.health import Health
from journeyman.engines.process import EngineProcess
from journeyman.errors import UpstreamFailed

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RestartRules:
    """How long to wait before a restart, and when to leave it; seconds.

    Each further failure doubles the pause, up to `longest_pause`. After `most` failures `within` that time the engine
    stays down. One that answers no health check for `hung_after` is killed, and started again like one that crashed.
    """

    first_pause: float = 1.0
    longest_pause: float = 30.0
    most: int = 5
    within: float = 600.0
    check_every: float = 10.0
    hung_after: float = 60.0


class SupervisedEngine:
    """An engine's process that is started again when it ends; use it as `async with SupervisedEngine(process)`.

    Those who call while it is down are told so at once, with the time after which to try again.
    """

    def __init__(self, process: EngineProcess, rules: RestartRules = RestartRules()) -> None:
        self._process, self._rules = process, rules
        self._epoch = 0
        self._failure: str | None = None
        self._back_at: float | None = None
        self._start_seconds = 0.0
        self._failed_at: deque[float] = deque()
        self._watching: asyncio.Task[None] | None = None
        self.ends_with_us = True

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def name(self) -> str:
        """The base model's name."""
        return self._process.name

    @property
    def url(self) -> str:
        """Where it listens; another port after each start."""
        return self._process.url

    @property
    def dialect(self) -> Dialect:
        """What it has to be asked differently."""
        return self._process.dialect

    @property
    def epoch(self) -> int:
        """How often it was started."""
        return self._epoch

    @property
    def pid(self) -> int | None:
        """The process id of the engine that runs now."""
        return self._process.pid

    @property
    def failure(self) -> str | None:
        """Why it cannot answer now; None while it runs."""
        if self._failure is None and self._watching is not None and self._process.failure:
            return f"the engine of {self.name} has just ended and is being started again; try again in a moment"
        return self._failure or self._process.failure

    @property
    def retry_after(self) -> float | None:
        """Seconds until it is likely to be back; None while it runs, and when it stays down."""
        if self.failure is None or self._watching is None or self._watching.done():
            return None
        back_at = self._back_at or time.monotonic() + self._rules.first_pause + self._start_seconds
        return max(1.0, back_at - time.monotonic())

    async def start(self) -> None:
        """Start it for the first time: UpstreamFailed, with its last words, when it does not come up."""
        await self._start()
        self._watching = asyncio.create_task(self._keep_running())

    async def stop(self) -> None:
        """End the watch, then the engine, which may finish what it is doing."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
            self._watching = None
        await self._process.stop()

    async def _start(self) -> None:
        begun = time.monotonic()
        await self._process.start()
        self._start_seconds = time.monotonic() - begun
        self._epoch += 1
        self._failure = self._back_at = None

    async def _keep_running(self) -> None:
        while True:
            why: str | None = await self._until_it_fails()
            while why is not None:
                if self._give_up(why):
                    await self._process.stop()
                    return
                why = await self._start_again(why)

    async def _until_it_fails(self) -> str:
        """Why the engine no longer runs, or has to be ended."""
        ended = asyncio.create_task(self._process.ended())
        hung = asyncio.create_task(self._until_it_hangs())
        try:
            done, _ = await asyncio.wait({ended, hung}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            hung.cancel()
            await asyncio.gather(ended, hung, return_exceptions=True)
        if ended in done:
            return f"the engine of {self.name} ended unasked (exit status {self._process.exit_status})"
        self._process.kill()
        return f"the engine of {self.name} did not answer for {self._rules.hung_after:g} s and was ended"

    async def _until_it_hangs(self) -> None:
        most = max(1, round(self._rules.hung_after / self._rules.check_every))
        async with Health(self, self._rules.check_every) as health:
            await health.until(lambda failed: failed >= most)

    def _give_up(self, why: str) -> bool:
        """Count the failure; whether there were too many of them lately."""
        now, rules = time.monotonic(), self._rules
        self._failed_at.append(now)
        while now - self._failed_at[0] > rules.within:
            self._failed_at.popleft()
        if len(self._failed_at) <= rules.most:
            return False
        self._failure = (
            f"{why}, which makes {len(self._failed_at)} failures within {rules.within / 60:g} minutes: it stays down. "
            f"What was captured is safe. Look at its log, {self._process.log}, then restart `journeyman up`"
        )
        log.error("%s", self._failure)
        return True

    async def _start_again(self, why: str) -> str | None:
        """Wait, then start it; None when it runs, else why it does not."""
        rules = self._rules
        pause = min(rules.longest_pause, rules.first_pause * 2 ** (len(self._failed_at) - 1))
        self._back_at = time.monotonic() + pause + self._start_seconds
        self._failure = f"{why}; it is being started again, and what was captured is safe. Try again soon"
        log.warning("%s; starting it again in %g s. Its log: %s", why, pause, self._process.log)
        await self._process.stop()
        await asyncio.sleep(pause)
        try:
            await self._start()
        except (UpstreamFailed, OSError, ValueError) as error:
            log.warning("%s", error)
            return f"the engine of {self.name} could not be started again"
        log.warning("the engine of %s runs again", self.name)
        return None
