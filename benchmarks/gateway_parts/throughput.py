"""Calls a second on one core: our gateway, which captures, against proxies that keep nothing."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

from gateway_parts.plan import Plan
from gateway_parts.processes import output_of
from gateway_parts.rows import GatewayRow, count_lost, figure, lost_row, median_row
from gateway_parts.sides import Ours, Side, litellm_proxy, naive_proxy, our_gateway, upstreams

_CONNECTIONS = 32
_KINDS = {"whole answer": False, "stream of 52 events": True}
_OURS, _UPSTREAM = "journeyman", "the upstream itself"

Open = Callable[[Plan, Side], AbstractContextManager[Side]]


class _Peer(NamedTuple):
    """A proxy that we are compared with. `bar`: how many times its whole answers a second ours must be."""

    package: str
    variable: str
    bar: float
    open: Open


_PEERS = {
    "FastAPI + httpx": _Peer("fastapi", "JOURNEYMAN_FASTAPI_PYTHON", 10.0, naive_proxy),
    "LiteLLM": _Peer("litellm", "JOURNEYMAN_LITELLM_PYTHON", 30.0, litellm_proxy),
}


def measure(plan: Plan) -> list[GatewayRow]:
    """Each server alone, started anew in every round; the rounds go through all of them."""
    present = {name: peer for name, peer in _PEERS.items() if os.environ.get(peer.variable)}
    sides: dict[str, Open] = {
        _UPSTREAM: lambda plan, fast: nullcontext(fast),
        _OURS: our_gateway,
        f"{_OURS}, its ingester on the same core": partial(our_gateway, one_core=True),
        **{name: peer.open for name, peer in present.items()},
    }
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    ended = []
    for _ in range(plan.rounds):
        for name, open_side in sides.items():
            with upstreams(plan) as (fast, _paced), open_side(plan, fast) as side:
                for kind, stream in _KINDS.items():
                    found.setdefault((name, kind), []).append(_load(plan, side, stream))
                if isinstance(side, Ours):
                    ended.append(count_lost(side))
    rows = [row for kind in _KINDS for name in sides for row in _speed_rows(name, kind, found[name, kind])]
    for name, peer in _PEERS.items():
        if name not in present:
            rows.append(figure(f"whole answer: times {name}", f"not run: {peer.variable} is not set"))
            continue
        for kind, stream in _KINDS.items():
            what, version = f"{kind}: times {name}", _version(plan, peer)
            bar = None if stream else peer.bar
            rows += _ratio_rows(what, version, found[_OURS, kind], found[name, kind], bar)
    return [*rows, lost_row("throughput", ended)]


def _load(plan: Plan, side: Side, stream: bool) -> dict[str, Any]:
    found = side.load(plan, connections=_CONNECTIONS, seconds=plan.of(8, 1), stream=stream)
    if isinstance(side, Ours):
        side.settle()
    return found


def _speed_rows(name: str, kind: str, results: list[dict[str, Any]]) -> list[GatewayRow]:
    rows = [median_row(f"{kind}, {name}", [each["per_second"] for each in results], "calls/s", spent=results)]
    if name != _UPSTREAM:
        rows.append(median_row(f"{kind}, {name}: CPU of the server", [each["cpu_us"] for each in results], "µs a call"))
        rows.append(median_row(f"{kind}, {name}: memory", [each["resident_mb"] for each in results], "MB"))
    return rows


def _ratio_rows(
    what: str, version: str, ours: list[dict[str, Any]], theirs: list[dict[str, Any]], bar: float | None
) -> list[GatewayRow]:
    pairs = list(zip(ours, theirs, strict=True))
    speed = [one["per_second"] / other["per_second"] for one, other in pairs]
    cpu = [other["cpu_us"] / one["cpu_us"] for one, other in pairs]
    return [
        median_row(what, speed, "×", note=version, at_least=bar),
        median_row(f"{what}, by CPU for a call", cpu, "×", note=version),
    ]


def _version(plan: Plan, peer: _Peer) -> str:
    """The peer's version, and that of the client it sends with, as they are installed."""
    packages = (peer.package, "httpx", "uvicorn")
    script = f"from importlib.metadata import version\nprint(', '.join(f'{{p}} {{version(p)}}' for p in {packages}))"
    return output_of([os.environ[peer.variable], "-c", script], plan.other_cores, {"PYTHONPATH": ""}).strip()
