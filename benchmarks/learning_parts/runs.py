"""Runs of the real model, each one `journeyman train rl` in a home and a process of its own."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from journeyman.config import Settings
from journeyman.demos.rl import BASE
from journeyman.records import Point, Trajectory
from journeyman.store.sql import open_store
from learning_parts.tasks import LearningTask

MODELS = Settings().models


class Ran(NamedTuple):
    """What held-out scenarios earned before and after a run and what it cost, and the attempts that it learned from."""

    figures: dict[str, Any]
    attempts: list[Trajectory]


def learn(task: LearningTask, seed: int, threads: int, *changes: str, quick: bool = False) -> Ran:
    """One run of the task's training, perhaps with options changed: what it came to, and every attempt."""
    with tempfile.TemporaryDirectory() as folder:
        command, environment = _command(task, seed, threads, changes, quick), environment_of(folder)
        started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if ended.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with status {ended.returncode}:\n{ended.stdout[-3000:]}")
        after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - started
        with closing(open_store(Settings(home=Path(folder)))) as store:
            points = sorted(store.find(Point), key=lambda point: point.step)
            attempts = list(store.find(Trajectory, limit=1_000_000))
    measured = [point.values for point in points if "held-out reward" in point.values]
    return Ran({
        "steps": points[-1].step, "before": measured[0]["held-out reward"], "after": measured[-1]["held-out reward"],
        "greedy before": measured[0]["held-out greedy"], "greedy after": measured[-1]["held-out greedy"],
        "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, "wall": seconds,
        "gap": max(point.values.get("sampler gap", 0.0) for point in points),
        "curve": [round(point.values["reward"], 3) for point in points if "reward" in point.values],
    }, attempts)  # fmt: skip


def refusal(task: LearningTask, *changes: str) -> str:
    """What a run with these options is told instead of being started."""
    with tempfile.TemporaryDirectory() as folder:
        command = _command(task, 0, 1, changes, quick=False)
        ended = subprocess.run(command, env=environment_of(folder), capture_output=True, text=True)
    if ended.returncode == 0:
        raise RuntimeError(f"{' '.join(command)} was not refused")
    return ended.stderr.strip().splitlines()[-1]


def _command(task: LearningTask, seed: int, threads: int, changes: Sequence[str], quick: bool) -> list[str]:
    command = [sys.executable, "-m", "journeyman", "train", "rl", task.suite, "--base", BASE, "--name", "learner"]
    command += ["--seed", str(seed), "--threads", str(threads), *task.arguments, *changes]
    return [*command, "--steps", "2"] if quick else command


def environment_of(home: str) -> dict[str, str]:
    """What a command in that home is given: the models of here, and the suites and rewards of the benchmarks."""
    path = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "JOURNEYMAN_HOME": home, "JOURNEYMAN_MODELS": str(MODELS), "PYTHONPATH": path}
