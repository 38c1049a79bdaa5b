"""F10 and F13: an agent trained in the coin world alone beside one trained in the real game, both measured in that.

Each arm of a seed is one `journeyman train rl` in a home of its own, which is kept: what is finished is not run again.
The real calls of the world's arm are all that were captured for its world, those included that its card was measured
on. The real calls of the other arm are those of the attempts that it learned from. Measurements, and the canaries that
`train rl` plays in what it trains in, are counted for neither.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learning_parts.coin import suite as coin
from learning_parts.runs import MODELS

from journeyman.config import Settings
from journeyman.demos.rl import BASE
from journeyman.errors import NotFound
from journeyman.records import Point, Run, Trajectory
from journeyman.registry.adapters import find_adapter
from journeyman.store.sql import open_store
from sim_to_real_parts.games import SIZES, smallest_world

LEARNER, SUITES = "learner", {"world": "world/coin", "real": "learning_parts.coin:suite"}
STEPS, EVERY = 6, 2
ARGUMENTS = (
    "--learning-rate", "5e-4", "--steps", str(STEPS), "--scenarios", "3", "--attempts", "8", "--new-tokens", "8",
    "--max-calls", "4", "--evaluate-every", str(EVERY), "--evaluate-scenarios", "6", "--concurrency", "8",
)  # fmt: skip
"""Lighter than the task `coin` of benchmarks/learning.py, alike for both arms."""
_SECONDS = 0.5
_KEPT = Path("adapters", "kept")
"""Below the folder that an engine takes adapters from."""


@dataclass(frozen=True)
class Arm:
    """What one run came to: held-out success by step where it trained, and what it cost in calls of the real system.

    `calls` are those up to each measured step: of a world's arm always those that were captured for its world, in so
    many `traces`.
    """

    held_out: dict[int, float]
    calls: dict[int, int]
    traces: int

    @property
    def steps(self) -> int:
        """The last step that was measured."""
        return max(self.held_out)


def run(arm: str, seed: int, homes: Path, threads: int, sizes: Sequence[int] = SIZES) -> None:
    """Carry an arm out in its home, unless it is finished.

    The world's is built of real games there before: of the first of `sizes` attempts that its card admits.
    """
    home = homes / f"{arm}-{seed}"
    if finished(home):
        return
    home.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(home / _KEPT, ignore_errors=True)  # of a run that was cut short
    if arm == "world" and not (home / "worlds").is_dir():
        world, attempts = smallest_world(coin, seed, sizes)
        with closing(open_store(Settings(home=home))) as store:
            store.put(*attempts)
        world.save(home / "worlds")
    _journeyman(home, "train", "rl", SUITES[arm], "--name", LEARNER, "--base", BASE, "--seed", str(seed),
                "--threads", str(threads), *ARGUMENTS)  # fmt: skip


def finished(home: Path) -> bool:
    """Whether the home holds a trained adapter."""
    if not (home / "journeyman.db").is_file():
        return False
    with closing(open_store(Settings(home=home))) as store:
        try:
            find_adapter(store, LEARNER)
        except NotFound:
            return False
    return True


def read(home: Path, arm: str) -> Arm | None:
    """What a run left in its store, up to where it was cut short; None where nothing was measured after a step."""
    if not (home / "journeyman.db").is_file():
        return None
    with closing(open_store(Settings(home=home))) as store:
        points = [each for each in store.find(Point, limit=10_000) if "held-out reward" in each.values]
        runs = {each.id for each in store.find(Run)}
        attempts = list(store.find(Trajectory, limit=1_000_000))
    longest = max(points, key=lambda point: point.step, default=None)
    if longest is None or not longest.step:
        return None
    held = {each.step: each.values["held-out reward"] for each in points if each.run_id == longest.run_id}
    trained = [each for each in attempts if each.id.startswith(f"{longest.run_id}-")]
    traces = [each for each in attempts if each.id.partition("-")[0] not in runs]
    calls = {
        step: sum(e.turns for e in traces) if arm == "world" else _turns_before(trained, step) for step in sorted(held)
    }
    return Arm(dict(sorted(held.items())), calls, len(traces))


def kept_steps(home: Path) -> dict[int, Path]:
    """The adapters that were kept of a finished run, by the steps at which it was measured."""
    found = {int(each.name): each for each in (home / _KEPT).iterdir() if each.name.isdigit()}
    return {step: found[step] for step in sorted(found) if step}


def _turns_before(trained: list[Trajectory], step: int) -> int:
    return sum(each.turns for each in trained if int(each.tags["step"]) < step)


def _journeyman(home: Path, *arguments: str) -> None:
    path = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    environment: dict[str, Any] = {
        **os.environ, "JOURNEYMAN_HOME": str(home), "JOURNEYMAN_MODELS": str(MODELS), "PYTHONPATH": path,
    }  # fmt: skip
    command = [sys.executable, "-m", "journeyman", *arguments]
    with (home / "out").open("a", encoding="utf-8") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
        try:
            while process.poll() is None:
                _keep(home)
                time.sleep(_SECONDS)
        finally:
            process.terminate()
            process.wait()
    if process.returncode:
        raise RuntimeError(f"journeyman {' '.join(arguments)} ended with {process.returncode}; see {home / 'out'}")


def _keep(home: Path) -> None:
    """Copy the adapters that a run hands to its engine: it gives them up two steps later."""
    for folder in (home / "adapters" / "steps").glob("*/[0-9]*"):
        kept = home / _KEPT / folder.name
        if folder.name.isdigit() and int(folder.name) % EVERY == 0 and not kept.is_dir():
            partial = kept.with_name(f"{kept.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(folder, partial)
            partial.rename(kept)
