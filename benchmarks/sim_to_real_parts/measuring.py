"""What the policies that an arm kept do in the real game: the same held-out games for both arms of a seed."""

import asyncio
import json
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from learning_parts.runs import MODELS

from journeyman.config import Settings
from journeyman.demos.rl import BASE
from journeyman.engines.held import HeldEngine
from journeyman.engines.process import EngineProcess
from journeyman.engines.supervisor import SupervisedEngine
from journeyman.records import Run
from journeyman.records.reinforcement import RLConfig
from journeyman.rewards.rules import own_score
from journeyman.store.sql import open_store
from journeyman.training.reinforcement.held_out import measure
from journeyman.training.reinforcement.task import Task
from sim_to_real_parts.trained_game import suite as game
from sim_to_real_parts.training import LEARNER, SUITES, home_of, kept_steps

GAMES = 12
_PATIENCE = 600.0
"""Seconds for an engine to start beside whatever else the machine does."""
_FILE = "in-the-real-game.json"


@dataclass(frozen=True)
class Played:
    """Success of one policy by held-out game, as it samples (the mean of four attempts), and of its greedy replies."""

    by_game: list[float]
    greedy: float

    @property
    def mean(self) -> float:
        """Over the games."""
        return sum(self.by_game) / len(self.by_game)


def in_the_real_game(homes: Path, size: str, seed: int, threads: int) -> dict[str, dict[int, Played]]:
    """By arm and step; measured once, then read. What both arms begin with is measured once for both."""
    found: dict[str, dict[int, Played]] = {}
    for arm in SUITES:
        home = home_of(homes, size, arm, seed)
        known, kept = _kept(home), kept_steps(home)
        missing = [step for step in kept if step not in known and (step or arm == "real")]
        if missing:
            # What everything is held against comes first: a measurement may be cut short, too.
            missing.sort(key=lambda step, last=max(missing): (step not in (0, last), step))
            asyncio.run(_measure({step: kept[step] for step in missing}, home, seed, threads))
        found[arm] = _kept(home)
    if 0 in found["real"]:
        found["world"] = {0: found["real"][0]} | found["world"]
    return found


async def _measure(policies: dict[int, Path], home: Path, seed: int, threads: int) -> None:
    with closing(open_store(Settings(home=home, models=MODELS))) as store:
        config = RLConfig.model_validate(next(iter(store.find(Run))).config)
    config = config.model_copy(update={"seed": seed, "evaluate_scenarios": GAMES})
    model = MODELS / BASE
    process = EngineProcess.local(
        model, model.name, home, threads=threads, precision="float32", arguments=("--rows", "32"),
        start_timeout=_PATIENCE,
    )  # fmt: skip
    async with SupervisedEngine(process) as server, HeldEngine(server) as engine:
        for step, folder in policies.items():
            name = f"{LEARNER}-{home.name}-{step}"
            await engine.load(name, folder)
            each = await measure(config, Task(game, own_score("success"), engine, home), name)
            await engine.unload(name)
            _keep(home, step, Played(list(each.by_scenario), each.greedy))


def _kept(home: Path) -> dict[int, Played]:
    path = home / _FILE
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {int(step): Played(**each) for step, each in sorted(found.items(), key=lambda pair: int(pair[0]))}


def _keep(home: Path, step: int, played: Played) -> None:
    found = {str(at): asdict(each) for at, each in (_kept(home) | {step: played}).items()}
    partial = (home / _FILE).with_suffix(".partial")
    partial.write_text(json.dumps(found), encoding="utf-8")
    partial.replace(home / _FILE)
