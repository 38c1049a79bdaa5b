"""The demo's bars: how long it takes, how much memory, and what the distilled model reaches.

python benchmarks/demo.py            the demo as `make demo` runs it
python benchmarks/demo.py --quick    a first look: few customers, few cases; its results are not kept
"""

import asyncio
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from record import RESULTS, Row, row, write_results
from rich.console import Console

from journeyman.demos.bank.players import gold, null, play, random_calls
from journeyman.demos.loop import Demo
from journeyman.records import Interval
from journeyman.statistics import proportion

MINUTES, GIB, SUCCESS = 10.0, 6.0, 0.6
PLAYED = 200


def main(
    quick: Annotated[bool, typer.Option("--quick", help="A first look; nothing is kept.")] = False,
    seed: Annotated[int, typer.Option()] = 0,
    home: Annotated[Path | None, typer.Option(help="Where the demo keeps what it makes.")] = None,
) -> None:
    """Run the demo and hold it against its bars."""
    console = Console()
    folder = home or Path(tempfile.mkdtemp(prefix="journeyman-demo-"))
    demo = Demo(folder, console, customers=40 if quick else 264, cases=10 if quick else 100, seed=seed)
    started = time.monotonic()
    demo.run()
    minutes = (time.monotonic() - started) / 60
    assert demo.report is not None
    base, distilled, incumbent = demo.report.models
    gain = next(pair.difference for pair in demo.report.differences if pair.model == distilled.model)
    rows = [
        row("wall time, model pull included", minutes, "min", bar=f"<= {MINUTES:g}", holds=minutes <= MINUTES),
        row("peak memory of any process", _peak_gib(), "GiB", bar=f"<= {GIB:g}", holds=_peak_gib() <= GIB),
        row("held-out success, distilled", distilled.success.estimate, "share", interval=_ends(distilled.success),
            bar=f">= {SUCCESS:g}, clear of the base model's",
            holds=distilled.success.estimate >= SUCCESS and distilled.success.low > base.success.high),
        row("held-out success, base", base.success.estimate, "share", interval=_ends(base.success)),
        row("held-out success, incumbent (scripted expert)", incumbent.success.estimate, "share",
            interval=_ends(incumbent.success)),
        row("distilled minus base, paired", gain.estimate, "share", interval=_ends(gain),
            bar="> 0", holds=gain.low > 0),
        *_reference_players(seed),
        *(row(f"seconds: {name}", seconds, "s") for name, seconds in demo.seconds.items()),
        *(row(f"cost per 1,000 conversations: {model.model}", model.cost_usd_per_thousand, "USD")
          for model in demo.report.models if model.cost_usd_per_thousand is not None),
        *(row(f"latency p50 of a call: {model.model}", model.latency_p50, "s")
          for model in demo.report.models if model.latency_p50 is not None),
    ]  # fmt: skip
    write_results("demo", rows, seed, folder=Path(tempfile.gettempdir()) if quick else RESULTS)


def _reference_players(seed: int) -> list[Row]:
    rows = []
    for name, script in (("gold", gold), ("null", null), ("random", random_calls(seed))):
        played = asyncio.run(play(script, name, "held-out", PLAYED, seed))
        solved = sum(trajectory.score("success") == 1 for trajectory in played)
        rate = proportion(solved, PLAYED)
        bar, holds = ("= 1", solved == PLAYED) if name == "gold" else (None, None)
        what = f"reference player {name}, {PLAYED} held-out"
        rows.append(row(what, rate.estimate, "share", interval=_ends(rate), bar=bar, holds=holds))
    return rows


def _ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


def _peak_gib() -> float:
    """The largest resident size that this process or any that it waited for ever had."""
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return max(peaks) / (2**30 if sys.platform == "darwin" else 2**20)


if __name__ == "__main__":
    typer.run(main)
