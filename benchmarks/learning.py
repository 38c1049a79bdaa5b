"""Does reinforcement learning learn, on a real model, before one's eyes? Every number over seeds, with its interval.

python benchmarks/learning.py                      the price tool, 5 seeds: about 7 CPU-minutes each
python benchmarks/learning.py --seeds 1 --quick    a first look: 2 steps; not kept

Each seed is one `journeyman train rl` in a home and a process of its own. Held-out scenarios share no item and no price
with training; they are attempted four times at temperature 1 and once greedily, before and after. Results are written
after each seed, so that a run that is cut short leaves what it found.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import mean
from typing import Any

from record import Row, row, write_results

from journeyman.config import Settings
from journeyman.demos.rl import ADAPTER, BASE, SUITE, TRAINING
from journeyman.records import Point
from journeyman.statistics.intervals import clustered_mean
from journeyman.store.sql import open_store

MODELS = Settings().models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="2 steps; not kept")
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        found.append(learn(seed, options.threads, quick=options.quick))
        print(f"seed {seed}: {json.dumps(found[-1])}", flush=True)
        write_results("learning", rows_of(found, options.threads), 0, quick=options.quick)


def learn(seed: int, threads: int, *, quick: bool) -> dict[str, Any]:
    """One run of the demo's training: what held-out scenarios earned before and after, and what it cost."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "JOURNEYMAN_HOME": folder, "JOURNEYMAN_MODELS": str(MODELS)}
        command = [sys.executable, "-m", "journeyman", "train", "rl", SUITE, "--base", BASE, "--name", ADAPTER]
        command += ["--seed", str(seed), "--threads", str(threads), *TRAINING, *(("--steps", "2") if quick else ())]
        started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - started
        with closing(open_store(Settings(home=Path(folder)))) as store:
            points = sorted(store.find(Point), key=lambda point: point.step)
    measured = [point.values for point in points if "held-out reward" in point.values]
    return {
        "before": measured[0]["held-out reward"], "after": measured[-1]["held-out reward"],
        "greedy before": measured[0]["held-out greedy"], "greedy after": measured[-1]["held-out greedy"],
        "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, "wall": seconds,
        "gap": max(point.values.get("sampler gap", 0.0) for point in points),
        "curve": [round(point.values["reward"], 3) for point in points if "reward" in point.values],
    }  # fmt: skip


def rows_of(found: list[dict[str, Any]], threads: int) -> list[Row]:
    """Each seed, then all of them: intervals are over seeds."""
    rows: list[Row] = []
    for seed, each in enumerate(found):
        rows.append(row(f"price tool, seed {seed}: held-out reward before", each["before"]))
        rows.append(row(f"price tool, seed {seed}: held-out reward after 10 steps, rank 1", each["after"]))
    if len(found) < 2:
        return rows
    for name, bar, holds in (
        ("before", "≤ 0.45", lambda value: value <= 0.45), ("after", "≥ 0.80", lambda value: value >= 0.80),
        ("greedy before", None, None), ("greedy after", None, None),
    ):  # fmt: skip
        over = clustered_mean([[each[name]] for each in found])
        judged = {} if bar is None or holds is None else {"bar": bar, "holds": holds(over.estimate)}
        what = f"price tool: held-out reward {name}, {len(found)} seeds"
        rows.append(row(what, over.estimate, interval=(over.low, over.high), **judged))
    gain = clustered_mean([[each["after"] - each["before"]] for each in found])
    rows.append(row(f"price tool: gain, {len(found)} seeds", gain.estimate, interval=(gain.low, gain.high)))
    rows.append(
        row("price tool: CPU time of a run, measurements included", mean(each["cpu"] for each in found), "CPU-s")
    )
    wall = mean(each["wall"] for each in found)
    rows.append(row(f"price tool: a run by the wall clock, {threads} threads", wall, "s"))
    rows.append(row("price tool: largest difference of engine and trainer", max(e["gap"] for e in found), "nats"))
    return rows


if __name__ == "__main__":
    main()
