"""Whether the gateway's memory grows with the calls that it captures, and the ingester's with those it stores."""

from gateway_parts.load import resident_bytes
from gateway_parts.plan import Plan
from gateway_parts.rows import GatewayRow, count_lost, figure, lost_row
from gateway_parts.sides import Ours, our_gateway, upstreams

_STEPS = 20
_BEGUN = _STEPS // 10
"""The steps after which memory is compared: caches and pools have their size by then."""
_STREAMS = 0.1
"""Of the calls, so many are streams."""
_MOST_MB = 20.0


def measure(plan: Plan) -> list[GatewayRow]:
    """Memory in use after each of `_STEPS` equal parts of the calls."""
    calls = 20_000 if plan.quick else plan.calls
    gateway: list[float] = []
    ingester: list[float] = []
    spent = []
    with upstreams(plan) as (fast, _paced), our_gateway(plan, fast) as side:
        for _ in range(_STEPS):
            spent += _step(plan, side, calls // _STEPS)
            gateway.append(resident_bytes(side.pid) / 1e6)
            ingester.append(resident_bytes(side.ingester) / 1e6)
        ended = count_lost(side)
    return [
        *_rows("gateway", calls, gateway, spent),
        *_rows("ingester", calls, ingester, spent),
        lost_row("memory", [ended]),
    ]


def _step(plan: Plan, side: Ours, calls: int) -> list[dict[str, float]]:
    streams = int(calls * _STREAMS)
    return [
        side.load(plan, connections=32, calls=calls - streams),
        side.load(plan, connections=32, calls=streams, stream=True),
    ]


def _rows(what: str, calls: int, used: list[float], spent: list[dict[str, float]]) -> list[GatewayRow]:
    begun, most = used[_BEGUN - 1], max(used[_BEGUN:])
    whole = {name: sum(each[name] for each in spent) for name in ("wall", "cpu")}
    course = ", ".join(f"{each:.0f}" for each in used[_BEGUN - 1 :: _BEGUN])
    return [
        figure(
            f"memory of the {what}: growth over {calls:,} captured calls, the first tenth left out",
            round(most - begun, 1), "MB", note=f"after each tenth: {course} MB", at_most=_MOST_MB, spent=[whole],
        ),
        figure(f"memory of the {what} at the end", round(used[-1], 1), "MB"),
    ]  # fmt: skip
