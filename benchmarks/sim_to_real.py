"""Does what an agent does, and learns, in a world hold in the real system? F7, F9, F10 and F13 of the fidelity card.

    python benchmarks/sim_to_real.py                    scripted policies in worlds and in the real systems: minutes
    python benchmarks/sim_to_real.py --only training    a model trained in the world alone, and in the real game: hours
    python benchmarks/sim_to_real.py --only "bank trained"    the bank's agent, likewise: hours
    python benchmarks/sim_to_real.py --quick            a first look, not kept

Needs the extra `environments` (TextWorldExpress, and Java). Rows of parts that are left out stay as they were measured.
"""

from itertools import product
from pathlib import Path
from typing import Annotated

import typer
from record import RESULTS, Row, kept_rows, write_results
from sim_to_real_parts import bank_training, drawing, scripted, training, transfer
from sim_to_real_parts.options import BANK, GAME, TRAINED, refuse_unused

SEED = 0


def main(
    context: typer.Context,
    only: Annotated[str | None, typer.Option(help=f"One of {', '.join((*scripted.PARTS, *TRAINED))}.")] = None,
    seeds: Annotated[int, typer.Option(help="Runs of training, of both arms.")] = 3,
    threads: Annotated[int, typer.Option(help="Of each run.")] = 2,
    homes: Annotated[Path, typer.Option(help="Where runs are kept; what is finished there is not run again.")] = Path(
        "sim-to-real-homes"
    ),
    measured_only: Annotated[
        bool, typer.Option("--measured-only", help="Train nothing: rows of what the homes hold, cut short or not.")
    ] = False,
    quick: Annotated[bool, typer.Option(help="Few attempts; results go to sim_to_real.quick.json.")] = False,
) -> None:
    """Measure, print and keep."""
    parts = [*scripted.PARTS, *TRAINED]
    if only is not None and only not in parts:
        raise typer.BadParameter(f"there is no {only}; there are: {', '.join(parts)}")
    refuse_unused(context, only)
    for part in scripted.PARTS if only is None else [only]:
        if part == GAME:
            _train_in_the_game(seeds, homes.resolve(), threads, measured_only=measured_only, quick=quick)
        elif part == BANK:
            _write(part, bank_training.rows((homes / "bank").resolve(), threads, seeds, quick=quick), quick)
        else:
            _write(f"{part}, ", scripted.measure(part, SEED, quick=quick), quick)


def _train_in_the_game(seeds: int, homes: Path, threads: int, *, measured_only: bool, quick: bool) -> None:
    for size, seed in product(training.SIZES, range(seeds)):
        for arm in () if measured_only else training.SUITES:
            training.run(size, arm, seed, homes, threads)
        _write(GAME, transfer.rows(homes, seeds, threads), quick)


def _write(prefix: str, rows: list[Row], quick: bool) -> None:
    """Keep the rows of other parts, and draw what there is."""
    others = [] if quick else [each for each in kept_rows("sim_to_real") if not each["what"].startswith(prefix)]
    write_results("sim_to_real", [*others, *rows], SEED, quick=quick)
    if not quick:
        drawing.draw(kept_rows("sim_to_real"), RESULTS)


if __name__ == "__main__":
    typer.run(main)
