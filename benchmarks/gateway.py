"""The gateway's bars: CPU for a captured call, added latency, throughput against other proxies, memory.

python benchmarks/gateway.py                     every part, one after the other: about half an hour
python benchmarks/gateway.py --only cpu,memory   some of them; the rows of the others stay as they were measured
python benchmarks/gateway.py --quick             a first look within a minute; its results are not kept

The upstream is a mock and all is on loopback. The server under test has the first core for itself; upstream, load and
ingester share the others. Everything is captured, into a home that is made for the occasion, and counted there. The
part `throughput` compares with proxies whose interpreters JOURNEYMAN_FASTAPI_PYTHON (fastapi, httpx,
uvicorn[standard]) and JOURNEYMAN_LITELLM_PYTHON (litellm[proxy]==1.80.5) name.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gateway_parts import cpu, in_process, latency, memory, throughput
from gateway_parts.plan import SEED, Plan
from gateway_parts.processes import measure_a_copy
from gateway_parts.rows import GatewayRow
from record import RESULTS, write_results
from rich.console import Console

from journeyman.machine import describe_machine

PARTS: dict[str, Callable[[Plan], list[GatewayRow]]] = {
    "cpu": cpu.measure,
    "latency": latency.measure,
    "throughput": throughput.measure,
    "memory": memory.measure,
    "inprocess": in_process.measure,
}
FIRST_LOOK = ("cpu", "latency")
"""What fits into a minute."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help=f"parts, separated by commas: {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, help="how often each figure is measured (default: 3)")
    parser.add_argument("--calls", type=int, default=1_000_000, help="over which the memory is watched")
    parser.add_argument("--quick", action="store_true", help="few and short; figures mean little then")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else FIRST_LOOK if options.quick else list(PARTS)
    if unknown := set(names) - set(PARTS):
        parser.error(f"--only: there is no part {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    console = Console(stderr=True)
    rounds = options.rounds or (1 if options.quick else 3)
    measured: dict[str, list[GatewayRow]] = {}
    with tempfile.TemporaryDirectory(prefix="journeyman-gateway-") as scratch:
        measure_a_copy(Path(scratch) / "source")
        plan = Plan(Path(scratch), rounds, options.quick, options.calls)
        try:
            for name in names:
                console.print(f"{name} …")
                begun = time.monotonic()
                measured[name] = [{**each, "part": name, "cpu": _processor()} for each in PARTS[name](plan)]
                console.print(f"{name}: {time.monotonic() - begun:.0f} s")
        finally:
            # What was measured before something failed is kept.
            if measured:
                keep(measured, plan)


def keep(measured: dict[str, list[GatewayRow]], plan: Plan) -> None:
    """Write the parts' rows, in the place of their older ones and beside those of the other parts."""
    known = {} if plan.quick else _known()
    known |= measured
    merged = [each for name in PARTS for each in known.get(name, [])]
    write_results("gateway", merged, SEED, {"cores": len(plan.cores)}, RESULTS, quick=plan.quick)


def _known() -> dict[str, list[GatewayRow]]:
    """The rows by part that are kept already; each names its own processor."""
    path = RESULTS / "gateway.json"
    found: dict[str, list[GatewayRow]] = {}
    for each in json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else ():
        found.setdefault(each["part"], []).append(each)
    return found


def _processor() -> str:
    return str(describe_machine()["cpu"])


if __name__ == "__main__":
    main()
