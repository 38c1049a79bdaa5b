"""CPU that a captured call costs the gateway, and beside it the ingester; with virtual keys and without.

Beside them what uvicorn and our transport cost alone, with nothing captured, on the same core in the same round.
"""

from collections import defaultdict
from typing import Any, NamedTuple

from gateway_parts.load import MODEL
from gateway_parts.plan import Plan
from gateway_parts.rows import GatewayRow, count_lost, lost_row, median_row
from gateway_parts.sides import PACE_SECONDS, PACED, bare_proxy, our_gateway, upstreams

_WHOLE, _STREAM = 200.0, 300.0


class _Case(NamedTuple):
    what: str
    options: dict[str, Any]
    bar: float | None


_CASES = (
    _Case("whole answer of 0.6 KB, 32 at once", {"connections": 32}, _WHOLE),
    _Case("whole answer of 0.6 KB, one at a time", {"connections": 1}, _WHOLE),
    _Case("stream of 52 events, 32 at once", {"connections": 32, "stream": True}, _STREAM),
    _Case("stream of 52 events, one at a time", {"connections": 1, "stream": True}, _STREAM),
    _Case(
        f"stream of 52 events, {PACE_SECONDS * 1e3:g} ms apart, 32 at once",
        {"connections": 32, "stream": True, "model": PACED}, None,
    ),
)  # fmt: skip
"""In the bar's streams the upstream sends all events at once; apart, each is a read and a write of its own."""


def measure(plan: Plan) -> list[GatewayRow]:
    """A fresh gateway for each round, by turns with keys and without."""
    found: dict[tuple[bool, str], list[dict[str, Any]]] = defaultdict(list)
    bare: dict[str, list[dict[str, Any]]] = defaultdict(list)
    ended = []
    for _ in range(plan.rounds):
        with upstreams(plan) as (fast, _), bare_proxy(plan, fast) as proxy:
            for case in _CASES:
                if case.bar is not None:
                    bare[case.what].append(proxy.load(plan, seconds=plan.of(6, 0.7), **case.options))
        for keys in (False, True):
            with upstreams(plan) as (fast, paced), our_gateway(plan, fast, paced, keys=keys) as gateway:
                for case in _CASES[::2] if plan.quick else _CASES:
                    before = gateway.ingester_cpu()
                    result = gateway.load(plan, seconds=plan.of(6, 0.7), **{"model": MODEL, **case.options})
                    gateway.settle()
                    result["ingester_us"] = (gateway.ingester_cpu() - before) / result["calls"] * 1e6
                    found[keys, case.what].append(result)
                ended.append(count_lost(gateway))
    rows = [
        median_row(f"CPU of uvicorn and our transport alone, {what}", [each["cpu_us"] for each in results], "µs")
        for what, results in bare.items()
    ]
    for (keys, what), results in found.items():
        bar = next(case.bar for case in _CASES if case.what == what)
        rows += _rows(f"{what}, virtual keys" if keys else what, results, bar)
    return [*rows, lost_row("CPU", ended)]


def _rows(what: str, results: list[dict[str, Any]], bar: float | None) -> list[GatewayRow]:
    gateway = [each["cpu_us"] for each in results]
    ingester = [each["ingester_us"] for each in results]
    return [
        median_row(f"CPU of the gateway for a captured call, {what}", gateway, "µs", at_most=bar, spent=results),
        median_row(f"CPU of the ingester for it, {what}", ingester, "µs"),
    ]
