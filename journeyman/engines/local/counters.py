"""What the engine has served, counted where it happens: in the step loop, whatever becomes of the client's stream."""

import threading
from collections import deque
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from typing import Any

from journeyman.records import new_id

KEPT = 100_000
"""Entries held for whoever meters; each is some hundred bytes."""
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the histogram of times to first token."""


@dataclass(frozen=True, slots=True)
class Served:
    """One ended choice of a call: who asked for it, under which adapter, and its tokens.

    `number` counts from 1 without gaps; `prompt` is 0 for every choice of a call but its first, which share one prompt;
    `cached` are those of `prompt` that were not computed. `ended` is `stop`, `length`, `cancelled` or `failed`.
    """

    number: int
    request: str
    adapter: str | None
    prompt: int
    cached: int
    completion: int
    ended: str


_FIELDS = tuple(each.name for each in fields(Served))


@dataclass(slots=True)
class Totals:
    """Sums over what was served; one for each adapter and one for the base model."""

    requests: int = 0
    prompt: int = 0
    cached: int = 0
    completion: int = 0

    def add(self, served: Served) -> None:
        """Count one more."""
        self.requests += 1
        self.prompt += served.prompt
        self.cached += served.cached
        self.completion += served.completion


@dataclass(slots=True)
class Gauges:
    """The engine at this moment, and how fast it has been. Written by the engine's thread alone."""

    waiting: int = 0
    running: int = 0
    batch: int = 0
    steps: int = 0
    busy_seconds: float = 0.0
    generated: int = 0
    computed_prompt: int = 0
    cached_prompt: int = 0
    pages_used: int = 0
    pages: int = 0
    adapters_registered: int = 0
    adapters_resident: int = 0
    adapter_bytes: int = 0
    adapter_loads: int = 0
    adapter_evictions: int = 0
    rejected: int = 0
    expired: int = 0
    failed_steps: int = 0


@dataclass(slots=True)
class Counters:
    """All of it. `epoch` is new for every start of the engine, so that a reader knows when numbers began again."""

    epoch: str = field(default_factory=new_id)
    gauges: Gauges = field(default_factory=Gauges)
    ended: dict[str, int] = field(default_factory=dict)
    first_token: list[int] = field(default_factory=lambda: [0] * (len(SECONDS) + 1))
    first_token_seconds: float = 0.0
    _totals: dict[str | None, Totals] = field(default_factory=dict)
    _served: deque[Served] = field(default_factory=lambda: deque(maxlen=KEPT))
    _last: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, request: str, adapter: str | None, prompt: int, cached: int, completion: int, ended: str) -> None:
        """Count an ended choice."""
        with self._lock:
            self._last += 1
            served = Served(self._last, request, adapter, prompt, cached, completion, ended)
            self._served.append(served)
            self._totals.setdefault(adapter, Totals()).add(served)
            self.ended[ended] = self.ended.get(ended, 0) + 1

    def time_first_token(self, seconds: float) -> None:
        """Count the time from a request's arrival to its first token."""
        place = next((at for at, bound in enumerate(SECONDS) if seconds <= bound), len(SECONDS))
        with self._lock:
            self.first_token[place] += 1
            self.first_token_seconds += seconds

    def totals(self) -> dict[str | None, Totals]:
        """A copy of the sums, by adapter (None: the base model)."""
        with self._lock:
            return {name: replace(total) for name, total in self._totals.items()}

    def served_after(self, number: int, limit: int = 1000) -> dict[str, Any]:
        """Entries numbered above `number`, oldest first, for `/v1/served`.

        `missed` says how many of them were dropped before anybody read them; `last` the newest number there is.
        """
        with self._lock:
            first, last = self._served[0].number if self._served else self._last + 1, self._last
            start = max(0, number + 1 - first)
            entries = list(islice(self._served, start, start + limit)) if start < len(self._served) else []
        # They never change: what follows need not keep the engine waiting.
        return {
            "epoch": self.epoch,
            "last": last,
            "missed": max(0, first - number - 1),
            "entries": [{name: getattr(entry, name) for name in _FIELDS} for entry in entries],
        }
