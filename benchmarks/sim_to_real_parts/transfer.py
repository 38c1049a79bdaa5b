"""What training in the world came to in the real game, step by step, and how many real calls it saved."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from learning_parts.coin import suite as coin
from learning_parts.gains import share_of
from learning_parts.runs import MODELS
from record import Row, row

from journeyman.config import Settings
from journeyman.demos.rl import BASE
from journeyman.engines.held import HeldEngine
from journeyman.engines.process import EngineProcess
from journeyman.engines.supervisor import SupervisedEngine
from journeyman.records import Run
from journeyman.records.reinforcement import RLConfig
from journeyman.registry.adapters import find_adapter
from journeyman.rewards.rules import own_score
from journeyman.statistics.ranking import kendall_tau
from journeyman.store.sql import open_store
from journeyman.training.reinforcement.held_out import measure
from journeyman.training.reinforcement.task import Task
from sim_to_real_parts.training import LEARNER, STEPS, SUITES, Arm, finished, kept_steps, read

SHARE, SAVING, GAP = 0.8, 5.0, 0.1
_PATIENCE = 600.0
"""Seconds for an engine to start beside whatever else the machine does."""
_FILE = "in-the-real-game.json"


@dataclass(frozen=True)
class Seed:
    """Both arms of one seed, and the world's arm measured in the real game: success by step as it samples, greedy."""

    world: Arm
    real: Arm
    really: dict[int, float]
    greedy: dict[int, float]

    @property
    def before(self) -> float:
        """Success in the real game without training."""
        return self.real.held_out[0]

    @property
    def steps(self) -> int:
        """The last step at which both arms were measured."""
        return max(step for step in self.real.held_out if step in self.really)

    @property
    def reached(self) -> int | None:
        """The first measured step at which the real arm is as good as the world's in the end; None where none is."""
        goal = self.really[self.steps]
        return next((step for step, value in self.real.held_out.items() if value >= goal), None)

    @property
    def real_calls(self) -> int:
        """What the real arm spent until then, or to its end; nothing where the untrained policy is as good."""
        return self.real.calls[self.real.steps if self.reached is None else self.reached]


def rows(homes: Path, seeds: int, threads: int) -> list[Row]:
    """Every seed of which both arms were measured after a step, and what they come to together."""
    found: list[Row] = []
    done: list[Seed] = []
    for seed in range(seeds):
        arms = {arm: read(homes / f"{arm}-{seed}", arm) for arm in SUITES}
        world, real = arms["world"], arms["real"]
        what = f"training, seed {seed}"
        for arm, each in arms.items():
            if each is None or each.steps < STEPS:
                found.append(row(f"{what}: the {arm}'s arm", f"cut short after step {each.steps if each else 0}"))
        if world is not None and real is not None and finished(homes / f"world-{seed}"):
            really, greedy = _really(homes / f"world-{seed}", seed, threads)
            done.append(Seed(world, real, {0: real.held_out[0]} | really, greedy))
            found += _of_seed(what, done[-1])
    return found + (_summary(done) if done else [])


def _of_seed(what: str, one: Seed) -> list[Row]:
    found = [row(f"{what}: real held-out success before", one.before)]
    for step, value in one.real.held_out.items():
        found += [row(f"{what}: after {step} steps in the real game", value)] if step else []
    for step, value in one.really.items():
        found += [row(f"{what}: after {step} steps in the world alone", value)] if step else []
    found.append(row(f"{what}: the same, greedy replies", one.greedy[max(one.greedy)]))
    found += [
        row(f"{what}: held-out success in the world after {step} steps", value)
        for step, value in one.world.held_out.items()
    ]
    for step in one.really:
        gap = one.world.held_out[step] - one.really[step]
        bar = {"bar": f"≤ {GAP}", "holds": gap <= GAP} if step == one.world.steps else {}
        found.append(row(f"{what}: F13 world minus real, after {step} steps", gap, **bar))
    where = f"to its end, step {one.real.steps}, not as good" if one.reached is None else f"until step {one.reached}"
    return [
        *found,
        row(f"{what}: real calls captured for the world", one.world.calls[0], f"calls in {one.world.traces} attempts"),
        row(f"{what}: real calls of training in the real game", one.real.calls[one.real.steps],
            f"calls in {one.real.steps} steps"),
        row(f"{what}: of these, until it is as good as the world's arm", one.real_calls, f"calls {where}"),
    ]  # fmt: skip


def _summary(done: Sequence[Seed]) -> list[Row]:
    captured = sum(each.world.calls[0] for each in done)
    saving = sum(each.real_calls for each in done) / captured
    whole = sum(each.real.calls[each.real.steps] for each in done) / captured
    world = [each.really[each.steps] - each.before for each in done]
    real = [each.real.held_out[each.steps] - each.before for each in done]
    points = [(each.world.held_out[step], value) for each in done for step, value in each.really.items()]
    tau = kendall_tau([there for there, _ in points], [here for _, here in points])
    found = [
        row("training: real calls saved, until the real arm is as good", saving, "times fewer",
            bar="≥ 5", holds=saving >= SAVING),
        row("training: real calls saved, to the end of the real arm", whole, "times fewer"),
        row(f"training: Kendall τ of {len(points)} checkpoints, world against real", tau),
    ]  # fmt: skip
    if sum(real) <= 0:
        return [*found, row("training: share of the real gain", "none: training in the real game gained nothing")]
    share = share_of(world, real)
    interval = None if len(done) < 2 else (share.low, share.high)
    found.append(row(f"training: share of the real gain, {len(done)} seeds, as many steps", share.estimate,
                     interval=interval, bar=f"≥ {SHARE}", holds=share.estimate >= SHARE))  # fmt: skip
    return found


def _really(home: Path, seed: int, threads: int) -> tuple[dict[int, float], dict[int, float]]:
    """Success of a home's kept policies on the real game's held-out scenarios; measured once, then read."""
    path = home / _FILE
    if not path.is_file():
        found = asyncio.run(_measured(home, seed, threads))
        path.write_text(json.dumps(found), encoding="utf-8")
    kept: Mapping[str, list[float]] = json.loads(path.read_text(encoding="utf-8"))
    return {int(step): each[0] for step, each in kept.items()}, {int(step): each[1] for step, each in kept.items()}


async def _measured(home: Path, seed: int, threads: int) -> dict[str, tuple[float, float]]:
    with closing(open_store(Settings(home=home, models=MODELS))) as store:
        done = find_adapter(store, LEARNER).run_id
        run_of = next(each for each in store.find(Run) if each.id == done)
    config = RLConfig.model_validate(run_of.config).model_copy(update={"seed": seed})
    model = MODELS / BASE
    process = EngineProcess.local(
        model, model.name, home, threads=threads, precision="float32", arguments=("--rows", "32"),
        start_timeout=_PATIENCE,
    )  # fmt: skip
    found = {}
    async with SupervisedEngine(process) as server, HeldEngine(server) as engine:
        for step, folder in kept_steps(home).items():
            name = f"{LEARNER}-{home.name}-{step}"
            await engine.load(name, folder)
            each = await measure(config, Task(coin, own_score("success"), engine, home), name)
            await engine.unload(name)
            found[str(step)] = (each.mean, each.greedy)
    return found
