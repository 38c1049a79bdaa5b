"""Waits that end: each is bounded, says what it waits for, and can be counted while it lasts."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

Answer = TypeVar("Answer")
_GRACE_SECONDS = 1.0
"""For what was given up to clean up after itself, before it is left behind."""
_left_behind: set[asyncio.Future[Any]] = set()
"""The event loop alone would forget them half-way."""


class Waiting(NamedTuple):
    """How many attempts wait for the same thing, and for how many seconds the first of them has."""

    what: str
    attempts: int
    longest: float


@dataclass
class RolloutProgress:
    """Where the attempts of a rollout stand: ask it at any time, for a line that lives.

    `failed` are those of `done` that ended in an error, `retried` the calls that were tried again.
    """

    total: int = 0
    done: int = 0
    failed: int = 0
    retried: int = 0
    _begun: dict[int, tuple[str, float]] = field(default_factory=dict, repr=False)
    _number: int = field(default=0, repr=False)

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Counts a wait for as long as it lasts."""
        self._number += 1
        number = self._number
        self._begun[number] = (what, time.monotonic())
        try:
            yield
        finally:
            del self._begun[number]

    @property
    def waits(self) -> list[Waiting]:
        """What is waited for now, that with the longest wait first."""
        now, waits = time.monotonic(), [*self._begun.values()]
        counts = Counter(what for what, _ in waits)
        first = {what: min(began for waited, began in waits if waited == what) for what in counts}
        return sorted(
            (Waiting(what, counts[what], now - first[what]) for what in counts), key=lambda each: -each.longest
        )

    def line(self) -> str:
        """All of it in one line."""
        waits = "; ".join(f"{each.attempts} wait for {each.what} ({each.longest:.0f} s)" for each in self.waits)
        failed = f", {self.failed} failed" if self.failed else ""
        retried = f", {self.retried} calls tried again" if self.retried else ""
        return f"{self.done} of {self.total} attempts done{failed}{retried}" + (f"; {waits}" if waits else "")


@asynccontextmanager
async def beating(progress: RolloutProgress, beat: Callable[[str], None], seconds: float) -> AsyncIterator[None]:
    """While inside, `beat` is told the line every so many seconds: a long wait never looks like a hang."""

    async def tell() -> None:
        while True:
            await asyncio.sleep(seconds)
            beat(progress.line())

    task = asyncio.create_task(tell())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def bounded(work: Awaitable[Answer], seconds: float, late: Callable[[], Exception]) -> Answer:
    """What `work` comes to; the error of `late` when that takes longer than `seconds`.

    Work that takes no notice of its cancellation is left behind. Work that cancels itself, or calls `sys.exit`, has
    failed like any other: RuntimeError.
    """
    task = asyncio.ensure_future(_contained(work))
    try:
        await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        await _give_up(task)
        raise
    if not task.done():
        await _give_up(task)
        raise late()
    if task.cancelled():
        raise RuntimeError("what was waited for cancelled itself")
    return task.result()


async def _contained(work: Awaitable[Answer]) -> Answer:
    try:
        return await work
    except SystemExit as problem:  # it would end the event loop, and every other attempt with it
        raise RuntimeError(f"it called sys.exit({problem.code!r})") from problem


async def _give_up(task: "asyncio.Future[Answer]") -> None:
    task.cancel()
    _left_behind.add(task)
    task.add_done_callback(_forget)
    await asyncio.wait({task}, timeout=_GRACE_SECONDS)


def _forget(task: "asyncio.Future[Answer]") -> None:
    _left_behind.discard(task)
    if not task.cancelled():
        task.exception()  # looked at: nobody else will, and the loop would complain
