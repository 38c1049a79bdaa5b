"""One look at all calls under way, ten times a second: who waits too long, and whose client has gone.

A timer and a task for each call would cost more than the call itself.
"""

import asyncio
import time
from typing import Protocol

_EVERY_SECONDS = 0.1


class Watched(Protocol):
    """A call under way. `deadline` (of the monotonic clock) is when what it waits for now is overdue."""

    deadline: float

    def overdue(self) -> None:
        """The deadline has passed."""
        ...

    def seen(self) -> None:
        """The call has been under way for a while: now it pays to watch whether its client is still there."""
        ...


class Watch:
    """Looks at the calls that were added, for as long as there are any."""

    def __init__(self) -> None:
        self._calls: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: Watched) -> None:
        """Begin to look at a call."""
        self._calls.add(call)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_EVERY_SECONDS, self._look)

    def remove(self, call: Watched) -> None:
        """Leave a call alone."""
        self._calls.discard(call)

    def _look(self) -> None:
        self._timer = None
        now = time.monotonic()
        for call in tuple(self._calls):
            call.seen()
            if call.deadline <= now:
                call.overdue()
        if self._calls:
            self._timer = asyncio.get_running_loop().call_later(_EVERY_SECONDS, self._look)
