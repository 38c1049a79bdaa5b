"""Whole runs in miniature: a two-layer model of random weights learns to write one letter, sampled by the real engine.

Seconds a seed, so that there can be enough of them for an interval.
"""

import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from journeyman.engines.held import HeldEngine
from journeyman.engines.process import EngineProcess
from journeyman.engines.supervisor import SupervisedEngine
from journeyman.records import Scenario, Trajectory, TrajectoryGroup
from journeyman.rewards.reward import Reward
from journeyman.rewards.rules import own_score
from journeyman.training.reinforcement.trainer import ReinforcementTrainer, Task
from tests.tiny import write_model
from tests.training.reinforcement.conftest import LetterSuite, make_rl_config

SHAPE = {"steps": 12, "scenarios": 4, "attempts": 8, "learning_rate": 0.02, "evaluate_scenarios": 8}
TRUTH = "reward"
_START_SECONDS = 1200.0
"""On a machine that computes something else, too."""


@dataclass(frozen=True)
class Place:
    """The tiny model's folder, an engine that serves it, and room for runs."""

    home: Path
    model: Path
    engine: HeldEngine


@dataclass
class Learned:
    """The true reward on held-out scenarios before and after a run, and every attempt of it."""

    before: float
    after: float
    kept: list[Trajectory] = field(default_factory=list)

    @property
    def gain(self) -> float:
        """How much it rose."""
        return self.after - self.before

    def groups(self) -> list[tuple[TrajectoryGroup, list[float]]]:
        """The attempts by group, with their true rewards; those that failed are left out."""
        return groups_of(self.kept, LetterSuite.name, "word")


@asynccontextmanager
async def tiny_place() -> AsyncIterator[Place]:
    """The engine, for as long as the block lasts."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        model = write_model(home / "models" / "tiny")
        process = EngineProcess.local(
            model, "tiny", home, threads=1, precision="float32", start_timeout=_START_SECONDS
        )  # fmt: skip
        async with SupervisedEngine(process) as running, HeldEngine(running) as engine:
            yield Place(home, model, engine)


async def learn(
    place: Place, name: str, seed: int, reward: Reward | None = None, *, watched: bool = True, **changes: Any
) -> Learned:
    """One run; without a reward of its own it is paid the truth. Unless `watched` it may learn something else."""
    run = f"{name}-{seed}"
    weights = place.home / "adapters" / "steps" / run
    task = Task(LetterSuite(), reward or own_score(TRUTH), place.engine, weights, label=run)
    config = make_rl_config(name=run, seed=seed, truth=TRUTH if watched else None, **{**SHAPE, **changes})
    kept: list[Trajectory] = []
    trainer = ReinforcementTrainer(config, task, place.model, place.home / "runs" / run, keep=kept.extend)

    async def true_mean() -> float:
        trainer.task = replace(task, reward=own_score(TRUTH))
        try:
            return (await trainer.held_out()).mean
        finally:
            trainer.task = task

    try:
        before = await true_mean()
        await trainer.train(lambda report: None)
        return Learned(before, await true_mean(), kept)
    finally:
        await trainer.release()
        trainer.discard()


def groups_of(kept: list[Trajectory], environment: str, kind: str) -> list[tuple[TrajectoryGroup, list[float]]]:
    """Kept attempts by scenario, with their true rewards."""
    by_scenario: dict[str, list[Trajectory]] = {}
    for each in kept:
        if each.error is None:
            by_scenario.setdefault(each.scenario_id, []).append(each)
    return [
        (
            TrajectoryGroup(scenario=Scenario(id=id, environment=environment, kind=kind), trajectories=tuple(attempts)),
            [float(each.score(TRUTH)) for each in attempts],
        )
        for id, attempts in by_scenario.items()
    ]
