"""How true worlds built from traces are, on calls that they never saw, beside the baselines that any world must beat.

    python benchmarks/fidelity.py            every system that is installed, four splits, about five minutes
    python benchmarks/fidelity.py --quick    fewer tasks, within a minute

BFCL needs `pip install --no-deps bfcl-eval` and `pip install mpmath`; without them its rows say so. No model is used.
"""

from typing import Annotated, Any

import typer
from fidelity_parts import bfcl, bfcl_traces
from record import Row, row, write_results

SEED = 0


def main(
    quick: Annotated[bool, typer.Option(help="Fewer tasks; results go to fidelity.quick.json.")] = False,
    seed: Annotated[int, typer.Option(help="Which sessions are held out, and what policies change.")] = SEED,
) -> None:
    """Measure, print and keep."""
    rows: list[Row] = []
    extra: dict[str, Any] = {}
    if bfcl_traces.available():
        measured = bfcl.measure(seed, quick=quick)
        rows += bfcl.rows(measured)
        extra["bfcl"] = bfcl.details(measured)
    else:
        rows.append(row("BFCL multi-turn", "not measured: bfcl-eval is not installed"))
    write_results("fidelity", rows, seed, extra, quick=quick)


if __name__ == "__main__":
    typer.run(main)
