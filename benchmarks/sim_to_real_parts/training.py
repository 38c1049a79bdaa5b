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
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learning_parts.runs import MODELS

from journeyman.config import Settings
from journeyman.demos.rl import BASE
from journeyman.errors import NotFound
from journeyman.records import Point, Run, Trajectory
from journeyman.registry.adapters import find_adapter
from journeyman.store.sql import open_store
from sim_to_real_parts.captures import captured_in_pairs
from sim_to_real_parts.games import smallest_world
from sim_to_real_parts.trained_game import suite as game

LEARNER, SUITES = "learner", {"world": "world/coin", "real": "sim_to_real_parts.trained_game:suite"}
EVERY = 2
SIZES = {
    "small": ("--learning-rate", "5e-4", "--steps", "10", "--scenarios", "6", "--attempts", "4"),
    "usual": ("--learning-rate", "3e-4", "--steps", "8", "--scenarios", "8", "--attempts", "8"),
}
"""How large a step is, alike for both arms: as few calls as teach anything, and what `train rl` takes when it is told
nothing, with the learning rate that it names for short runs. Of fewer scenarios than these, a step is now and then of
those alone in which the coin lies in the first room."""
_ARGUMENTS = (
    "--new-tokens", "8", "--max-calls", "4", "--evaluate-every", "0", "--evaluate-scenarios", "4",
)  # fmt: skip
_MOST_SCENARIOS, _LEAST_STARTS = 60, 4
_CAPTURED_APART = 1000
"""Added to the seed, so that captured games are not those that the real arm trains on."""
_SECONDS = 0.5
_KEPT = Path("adapters", "kept")
"""Below the folder that an engine takes adapters from."""


@dataclass(frozen=True)
class Arm:
    """What one run left: its success where it trained, by measured step, and what it cost in calls of the real system.

    `calls` are those up to each step: of a world's arm always those that were captured for its world, in so many
    `traces`. `abstained` is the share of attempts that the world did not follow to their end, `silent` of steps in
    which no attempt differed from others at its scenario.
    """

    within: dict[int, float]
    calls: dict[int, int]
    traces: int
    abstained: float
    silent: float

    @property
    def steps(self) -> int:
        """The last step that was done."""
        return max(self.calls)


def home_of(homes: Path, size: str, arm: str, seed: int) -> Path:
    """Where an arm's run is kept."""
    return homes / f"{size}-{arm}-{seed}"


def steps_of(size: str) -> int:
    """How many steps a whole run has."""
    arguments = SIZES[size]
    return int(arguments[arguments.index("--steps") + 1])


def run(size: str, arm: str, seed: int, homes: Path, threads: int) -> None:
    """Carry an arm out in its home, unless it is finished.

    The world's is built of real games there before: of the fewest attempts that its card admits.
    """
    home = home_of(homes, size, arm, seed)
    if finished(home):
        return
    home.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(home / _KEPT, ignore_errors=True)  # of a run that was cut short
    if arm == "world" and not (home / "worlds").is_dir():
        captured = captured_in_pairs(game, _MOST_SCENARIOS, _CAPTURED_APART + seed)
        world, attempts = smallest_world(captured, _LEAST_STARTS, seed)
        with closing(open_store(Settings(home=home))) as store:
            store.put(*attempts)
        world.save(home / "worlds")
    _journeyman(home, "train", "rl", SUITES[arm], "--name", LEARNER, "--base", BASE, "--seed", str(seed),
                "--threads", str(threads), *SIZES[size], *_ARGUMENTS)  # fmt: skip


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
    """What a run left in its store, up to where it was cut short; None where there is no step of it."""
    if not (home / "journeyman.db").is_file():
        return None
    with closing(open_store(Settings(home=home))) as store:
        attempts = list(store.find(Trajectory, limit=1_000_000))
        runs = {each.id for each in store.find(Run)}
        points = list(store.find(Point, limit=10_000))
    by_run = Counter(each.id.partition("-")[0] for each in attempts)
    longest = max(runs, key=lambda run: by_run[run], default=None)
    steps = sorted({each.step for each in points if each.run_id == longest and "reward" in each.values})
    if not steps:
        return None
    values = [each for each in points if each.run_id == longest]
    traces = [each for each in attempts if each.id.partition("-")[0] not in runs]
    trained = [each for each in attempts if each.id.startswith(f"{longest}-")]
    spent = {0: 0} | {step: _turns_before(trained, step) for step in steps}
    return Arm(
        {each.step: each.values["held-out reward"] for each in values if "held-out reward" in each.values},
        {step: sum(each.turns for each in traces) if arm == "world" else calls for step, calls in spent.items()},
        len(traces),
        _share(each.score("abstained") == 1 for each in trained),
        _share(each.values["silent groups"] == each.values["groups"] for each in values if "groups" in each.values),
    )


def kept_steps(home: Path) -> dict[int, Path]:
    """The adapters that were kept of a run, by the steps after which they were: the untrained one, too."""
    found = {int(each.name): each for each in (home / _KEPT).glob("[0-9]*") if each.name.isdigit()}
    return {step: found[step] for step in sorted(found)}


def _turns_before(trained: Sequence[Trajectory], step: int) -> int:
    return sum(each.turns for each in trained if int(each.tags["step"]) < step)


def _share(found: Any) -> float:
    every = list(found)
    return sum(every) / len(every) if every else 0.0


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
