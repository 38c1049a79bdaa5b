"""What the gateway counts of itself, as Prometheus reads it."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from journeyman.records import Api, State

_BOUNDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
"""Seconds."""


class Histogram:
    """How often something took how long."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BOUNDS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """It took so long."""
        self._counts[bisect_left(_BOUNDS, seconds)] += 1
        self._sum += seconds

    def lines(self, name: str) -> Iterator[str]:
        """As text."""
        total = 0
        for bound, count in zip((*map(str, _BOUNDS), "+Inf"), self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self._sum:.6f}"
        yield f"{name}_count {total}"


class Metrics:
    """The gateway's counters. No name of a model, a key or a person becomes a label: their number has no bound."""

    def __init__(self) -> None:
        self._calls: Counter[tuple[Api, State]] = Counter()
        self._retries: Counter[Api] = Counter()
        self._refused: Counter[str] = Counter()
        self._added, self._upstream = Histogram(), Histogram()
        self._bytes_in = 0

    def received(self, size: int) -> None:
        """A request's body of so many bytes is in hand."""
        self._bytes_in += size

    def refused(self, code: str) -> None:
        """A request came to nothing before it was a call: no key, a limit, an unknown model, a bad body."""
        self._refused[code] += 1

    def retried(self, api: Api) -> None:
        """A try at an upstream came to nothing, and another is made."""
        self._retries[api] += 1

    def ended(self, api: Api, state: State, seconds: float, upstream: float) -> None:
        """A call ended; `upstream` are the seconds of it that its upstream took, 0 when none answered."""
        self._calls[api, state] += 1
        if upstream:
            self._upstream.add(upstream)
            self._added.add(max(0.0, seconds - upstream))

    def text(self, under_way: int, reports: Mapping[str, Mapping[str, Any]]) -> str:
        """All of it, with the numbers of `reports` (spool, ingester, ledger) under their names."""
        lines = [
            *_typed("journeyman_calls_total", "counter", "Calls that ended, by API and state."),
            *(f'journeyman_calls_total{{api="{a}",state="{s}"}} {n}' for (a, s), n in sorted(self._calls.items())),
            *_typed("journeyman_retries_total", "counter", "Tries at an upstream that came to nothing."),
            *(f'journeyman_retries_total{{api="{api}"}} {n}' for api, n in sorted(self._retries.items())),
            *_typed("journeyman_refused_total", "counter", "Requests that were refused, by the error's code."),
            *(f'journeyman_refused_total{{code="{code}"}} {n}' for code, n in sorted(self._refused.items())),
            *_typed("journeyman_request_bytes_total", "counter", "Bytes of requests' bodies."),
            f"journeyman_request_bytes_total {self._bytes_in}",
            *_typed("journeyman_calls_under_way", "gauge", "Calls under way."),
            f"journeyman_calls_under_way {under_way}",
            *_typed("journeyman_added_seconds", "histogram", "What the gateway added to a call."),
            *self._added.lines("journeyman_added_seconds"),
            *_typed("journeyman_upstream_seconds", "histogram", "What the upstream took for a call."),
            *self._upstream.lines("journeyman_upstream_seconds"),
        ]
        for part, report in reports.items():
            for name, value in report.items():
                if isinstance(value, int | float):
                    lines += _typed(f"journeyman_{part}_{name}", "gauge", f"`{name}` of the {part}, as in /healthz.")
                    lines.append(f"journeyman_{part}_{name} {value + 0}")
        return "\n".join(lines) + "\n"


def _typed(name: str, kind: str, help: str) -> tuple[str, str]:
    return f"# HELP {name} {help}", f"# TYPE {name} {kind}"
