"""What the gateway adds to a call's time at a steady rate, against the direct line of the same moment.

Beside it what the gateway adds while its ingester, which shares the cores of upstream and load, is paused; and what
other proxies add that capture nothing: uvicorn and our transport alone, the least that this machine allows; and FastAPI
with httpx, where JOURNEYMAN_FASTAPI_PYTHON names its interpreter.
"""

import os
from typing import Any, NamedTuple

from gateway_parts.load import MODEL
from gateway_parts.plan import Plan
from gateway_parts.rows import GatewayRow, count_lost, lost_row, median_row
from gateway_parts.sides import PACE_SECONDS, PACED, Side, bare_proxy, naive_proxy, our_gateway, upstreams

_P50, _P99 = 0.5, 1.5


class _Case(NamedTuple):
    what: str
    rate: float
    model: str
    stream: bool
    bars: tuple[float, float] | None
    """Milliseconds, of the median and of the 99th percentile."""


_CASES = (
    _Case("whole answer, 100 calls/s", 100.0, MODEL, False, (_P50, _P99)),
    _Case("stream of 52 events at once, 100 calls/s", 100.0, MODEL, True, None),
    _Case(f"stream of 52 events {PACE_SECONDS * 1e3:g} ms apart, 20 calls/s", 20.0, PACED, True, None),
)


def measure(plan: Plan) -> list[GatewayRow]:
    """Calls due at even distances, whatever became of those before; times count from when each was due."""
    direct: dict[str, list[dict[str, Any]]] = {case.what: [] for case in _CASES}
    through: dict[str, list[dict[str, Any]]] = {case.what: [] for case in _CASES}
    with upstreams(plan) as (fast, paced), our_gateway(plan, fast, paced) as gateway:
        for number in range(plan.rounds):
            for case in _CASES:
                upstream = paced if case.model == PACED else fast
                order: list[tuple[Side, dict[str, list[dict[str, Any]]]]] = [(upstream, direct), (gateway, through)]
                for side, found in order if number % 2 == 0 else reversed(order):
                    found[case.what].append(_load(plan, side, case))
        with gateway.ingester_paused():
            others = _added(plan, fast, gateway, "the gateway, its ingester paused")
        ended = count_lost(gateway)
        others += _others(plan, fast)
    rows: list[GatewayRow] = []
    for case in _CASES:
        rows += _rows(case, direct[case.what], through[case.what])
    return [*rows, *others, lost_row("latency", [ended])]


def _others(plan: Plan, upstream: Side) -> list[GatewayRow]:
    """What other proxies add to whole answers."""
    proxies = {"uvicorn and our transport alone": bare_proxy}
    if os.environ.get("JOURNEYMAN_FASTAPI_PYTHON"):
        proxies["FastAPI + httpx"] = naive_proxy
    rows = []
    for name, proxy in proxies.items():
        with proxy(plan, upstream) as side:
            rows += _added(plan, upstream, side, name)
    return rows


def _added(plan: Plan, upstream: Side, side: Side, name: str) -> list[GatewayRow]:
    """What a server adds to whole answers."""
    case = _CASES[0]
    pairs = [(_load(plan, upstream, case), _load(plan, side, case)) for _ in range(plan.rounds)]
    return [
        median_row(
            f"{case.what}: {words}, added by {name}", [theirs[found] - own[found] for own, theirs in pairs], "ms"
        )
        for found, words in (("p50_ms", "p50"), ("p99_ms", "p99"))
    ]


def _load(plan: Plan, side: Side, case: _Case) -> dict[str, Any]:
    return side.load(plan, rate=case.rate, seconds=plan.of(20, 2), model=case.model, stream=case.stream)


def _rows(case: _Case, direct: list[dict[str, Any]], through: list[dict[str, Any]]) -> list[GatewayRow]:
    rows = []
    shown = [("p50_ms", "p50"), ("p99_ms", "p99")]
    if case.stream:
        shown += [("first_p50_ms", "p50 of the first byte"), ("first_p99_ms", "p99 of the first byte")]
    for place, (name, words) in enumerate(shown):
        added = [ours[name] - theirs[name] for ours, theirs in zip(through, direct, strict=True)]
        bar = case.bars[place] if case.bars else None
        rows += [
            median_row(f"{case.what}: {words}, direct", [each[name] for each in direct], "ms"),
            median_row(f"{case.what}: {words}, gateway", [each[name] for each in through], "ms"),
            median_row(f"{case.what}: {words}, added", added, "ms", at_most=bar, spent=through),
        ]
    return rows
