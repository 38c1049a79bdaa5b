"""Does reinforcement learning learn, on a real model, before one's eyes? Every number over seeds, with its interval.

python benchmarks/learning.py                      every task, 5 seeds each: hours
python benchmarks/learning.py --only price         one of them; the rows of the others stay as they were measured
python benchmarks/learning.py --seeds 1 --quick    a first look: 2 steps; not kept

Each seed is one `journeyman train rl` in a home and a process of its own. Held-out scenarios are never among those of
training; they are attempted four times at temperature 1 and once greedily, before and after. Results are written after
each seed, so that a run that is cut short leaves what it found.
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

from learning_parts.tasks import TASKS, Bar, LearningTask
from record import RESULTS, Row, row, write_results

from journeyman.config import Settings
from journeyman.demos.rl import BASE
from journeyman.records import Point
from journeyman.statistics.intervals import clustered_mean
from journeyman.store.sql import open_store

MODELS = Settings().models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help=f"tasks, separated by commas: {', '.join(TASKS)}")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="2 steps; not kept")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(TASKS)
    if unknown := set(names) - set(TASKS):
        parser.error(f"--only: there is no task {', '.join(sorted(unknown))}; there are: {', '.join(TASKS)}")
    for name in names:
        task, found = TASKS[name], list[dict[str, Any]]()
        for seed in range(options.seeds):
            found.append(learn(task, seed, options.threads, quick=options.quick))
            print(f"{task.called}, seed {seed}: {json.dumps(found[-1])}", flush=True)
            rows = rows_of(task, found, options.threads)
            write_results("learning", rows if options.quick else in_place(task, rows), 0, quick=options.quick)


def in_place(task: LearningTask, rows: list[Row]) -> list[Row]:
    """All rows that are kept, those of this task replaced."""
    path = RESULTS / "learning.json"
    kept: list[Row] = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    return [each for each in kept if not each["what"].startswith((f"{task.called}:", f"{task.called},"))] + rows


def learn(task: LearningTask, seed: int, threads: int, *, quick: bool) -> dict[str, Any]:
    """One run of the task's training: what held-out scenarios earned before and after, and what it cost."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "JOURNEYMAN_HOME": folder, "JOURNEYMAN_MODELS": str(MODELS)}
        environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "journeyman", "train", "rl", task.suite, "--base", BASE, "--name", "learner"]
        command += ["--seed", str(seed), "--threads", str(threads), *task.arguments]
        command += ["--steps", "2"] if quick else []
        started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if ended.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with status {ended.returncode}:\n{ended.stdout[-3000:]}")
        after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - started
        with closing(open_store(Settings(home=Path(folder)))) as store:
            points = sorted(store.find(Point), key=lambda point: point.step)
    measured = [point.values for point in points if "held-out reward" in point.values]
    return {
        "steps": points[-1].step, "before": measured[0]["held-out reward"], "after": measured[-1]["held-out reward"],
        "greedy before": measured[0]["held-out greedy"], "greedy after": measured[-1]["held-out greedy"],
        "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, "wall": seconds,
        "gap": max(point.values.get("sampler gap", 0.0) for point in points),
        "curve": [round(point.values["reward"], 3) for point in points if "reward" in point.values],
    }  # fmt: skip


def rows_of(task: LearningTask, found: list[dict[str, Any]], threads: int) -> list[Row]:
    """Each seed, then all of them: intervals are over seeds."""
    called, rows = task.called, list[Row]()
    for seed, each in enumerate(found):
        rows.append(row(f"{called}, seed {seed}: held-out reward before", each["before"]))
        rows.append(row(f"{called}, seed {seed}: held-out reward after {each['steps']} steps", each["after"]))
    if len(found) < 2:
        return rows
    for name, bar in (("before", task.before), ("after", task.after), ("greedy before", None), ("greedy after", None)):
        over = clustered_mean([[each[name]] for each in found])
        what = f"{called}: held-out reward {name}, {len(found)} seeds"
        rows.append(row(what, over.estimate, interval=(over.low, over.high), **_judged(bar, over.estimate)))
    gain = clustered_mean([[each["after"] - each["before"]] for each in found])
    what, judged = f"{called}: gain, {len(found)} seeds", _judged(task.gain, gain.low)
    rows.append(row(what, gain.estimate, interval=(gain.low, gain.high), **judged))
    rows.append(row(f"{called}: CPU time of a run, measurements included", mean(e["cpu"] for e in found), "CPU-s"))
    rows.append(row(f"{called}: a run by the wall clock, {threads} threads", mean(each["wall"] for each in found), "s"))
    rows.append(row(f"{called}: largest difference of engine and trainer", max(e["gap"] for e in found), "nats"))
    return rows


def _judged(bar: Bar | None, value: float) -> dict[str, Any]:
    return {} if bar is None else {"bar": bar.text, "holds": bar.holds(value)}


if __name__ == "__main__":
    main()
