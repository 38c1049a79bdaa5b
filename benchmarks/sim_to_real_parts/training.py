"""F10 and F13: an agent trained in the coin world alone beside one trained in the real game, both measured in that.

Each arm of a seed is one `journeyman train rl` in a home of its own, which is kept: what is finished is not run again.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learning_parts.coin import suite as coin
from learning_parts.gains import share_of
from learning_parts.runs import MODELS
from record import Row, row

from journeyman.config import Settings
from journeyman.demos.rl import BASE
from journeyman.engines.attached import AttachedEngine
from journeyman.engines.held import HeldEngine
from journeyman.engines.process import EngineProcess
from journeyman.engines.supervisor import SupervisedEngine
from journeyman.environments.environment import Suite
from journeyman.records import Point, Run, Trajectory
from journeyman.records.reinforcement import RLConfig
from journeyman.registry.adapters import find_adapter
from journeyman.rewards.rules import own_score
from journeyman.store.sql import open_store
from journeyman.training.reinforcement.held_out import measure
from journeyman.training.reinforcement.task import Task
from sim_to_real_parts.captures import captured

LEARNER, SUITES = "learner", {"world": "world/coin", "real": "learning_parts.coin:suite"}
ARGUMENTS = (
    "--learning-rate", "5e-4", "--steps", "4", "--scenarios", "3", "--attempts", "8", "--new-tokens", "8",
    "--max-calls", "4", "--evaluate-every", "0", "--evaluate-scenarios", "6", "--concurrency", "8",
)  # fmt: skip
"""Lighter than the task `coin` of benchmarks/learning.py, alike for both arms."""
CAPTURED = (32, 2)
"""Scenarios captured for a world, and policies that played each."""
SHARE, SAVING = 0.8, 5.0


@dataclass(frozen=True)
class Arm:
    """What one run came to: held-out success where it trained, before and after, reward by step, and real calls."""

    before: float
    after: float
    curve: tuple[float, ...]
    steps: int
    real_calls: int


def run(arm: str, seed: int, homes: Path, threads: int) -> None:
    """Carry an arm out in its home, unless it is finished; the world's is built of real games there before."""
    home = homes / f"{arm}-{seed}"
    if finished(home):
        return
    home.mkdir(parents=True, exist_ok=True)
    if arm == "world" and not (home / "worlds").is_dir():
        with closing(open_store(Settings(home=home))) as store:
            store.put(*captured(coin, CAPTURED[0], 1000 + seed, CAPTURED[1]))
        _journeyman(home, "world", "build", "coin", "--attempts", coin.name, "--words",
                    "--success", "You take the coin")  # fmt: skip
    _journeyman(home, "train", "rl", SUITES[arm], "--name", LEARNER, "--base", BASE, "--seed", str(seed),
                "--threads", str(threads), *ARGUMENTS)  # fmt: skip


def finished(home: Path) -> bool:
    """Whether the home holds a trained adapter."""
    if not (home / "journeyman.db").is_file():
        return False
    with closing(open_store(Settings(home=home))) as store:
        return any(point.id.endswith("-after") for point in store.find(Point, limit=10_000))


def read(home: Path, arm: str) -> Arm:
    """What a finished run left in its store. Real calls are those of its attempts, or of the traces of its world."""
    with closing(open_store(Settings(home=home))) as store:
        points = sorted(store.find(Point, limit=10_000), key=lambda point: point.step)
        runs = {each.id for each in store.find(Run)}
        attempts = list(store.find(Trajectory, limit=1_000_000))
    done = next(point.run_id for point in points if point.id.endswith("-after"))
    points = [point for point in points if point.run_id == done]
    trained = [each for each in attempts if each.id.startswith(done)]
    traces = [each for each in attempts if each.id.partition("-")[0] not in runs]
    held = [point.values["held-out reward"] for point in points if "held-out reward" in point.values]
    curve = tuple(point.values["reward"] for point in points if "reward" in point.values)
    calls = sum(each.turns for each in (traces if arm == "world" else trained))
    return Arm(held[0], held[-1], curve, points[-1].step, calls)


def really(home: Path, seed: int, threads: int) -> tuple[float, float]:
    """The trained policy of a home on the real game's held-out scenarios: success as it samples, and at its surest."""
    return asyncio.run(_measured(home, coin, seed, threads))


async def _measured(home: Path, suite: Suite, seed: int, threads: int) -> tuple[float, float]:
    settings = Settings(home=home, models=MODELS)
    with closing(open_store(settings)) as store:
        done = {point.run_id for point in store.find(Point, limit=10_000) if point.id.endswith("-after")}
        run_of = next(each for each in store.find(Run) if each.id in done)
        config = RLConfig.model_validate(run_of.config).model_copy(update={"seed": seed})
        folder = Path(find_adapter(store, LEARNER).path)
    model = MODELS / BASE
    process = EngineProcess.local(
        model, model.name, home, threads=threads, precision="float32", arguments=("--rows", "32")
    )
    local = config.engine == "local"
    running = SupervisedEngine(process) if local else AttachedEngine(config.engine, settings, model.name)
    async with running as server, HeldEngine(server) as engine:
        name = f"{LEARNER}-{home.name}-trained"
        await engine.load(name, folder)
        found = await measure(config, Task(suite, own_score("success"), engine, home), name)
        await engine.unload(name)
    return found.mean, found.greedy


def rows(homes: Path, seeds: int, threads: int) -> list[Row]:
    """Both arms of every seed that is finished, and what share of the real gain the world's is."""
    found: list[Row] = []
    gains: dict[str, list[float]] = {"world": [], "real": []}
    calls: dict[str, list[int]] = {"world": [], "real": []}
    for seed in range(seeds):
        arms = {arm: read(homes / f"{arm}-{seed}", arm) for arm in SUITES if finished(homes / f"{arm}-{seed}")}
        if len(arms) < len(SUITES):
            found.append(row(f"training, seed {seed}", f"finished: {', '.join(arms) or 'no arm'}"))
            continue
        after, greedy = really(homes / f"world-{seed}", seed, threads)
        world, real = arms["world"], arms["real"]
        gains["world"].append(after - real.before)
        gains["real"].append(real.after - real.before)
        for arm, each in arms.items():
            calls[arm].append(each.real_calls)
        what = f"training, seed {seed}"
        found += [
            row(f"{what}: real held-out success before", real.before),
            row(f"{what}: after {real.steps} steps in the real game", real.after),
            row(f"{what}: after {world.steps} steps in the world alone", after),
            row(f"{what}: the same, greedy replies", greedy),
            row(f"{what}: held-out success in the world before", world.before),
            row(f"{what}: held-out success in the world after", world.after),
            row(f"{what}: F13 world minus real, before", world.before - real.before),
            row(f"{what}: F13 world minus real, after", world.after - after,
                bar="≤ 0.1", holds=world.after - after <= 0.1),
            row(f"{what}: real calls of training in the real game", real.real_calls, "calls"),
            row(f"{what}: real calls captured for the world", world.real_calls, "calls"),
        ]  # fmt: skip
    return found + _summary(gains, calls)


def _summary(gains: Mapping[str, list[float]], calls: Mapping[str, list[int]]) -> list[Row]:
    if not gains["real"]:
        return []
    saving = sum(calls["real"]) / sum(calls["world"])
    rows = [row("training: real calls saved", saving, "times fewer", bar="≥ 5", holds=saving >= SAVING)]
    if sum(gains["real"]) > 0:
        share = share_of(gains["world"], gains["real"])
        interval = None if len(gains["real"]) < 2 else (share.low, share.high)
        rows.append(row(f"training: share of the real gain, {len(gains['real'])} seeds", share.estimate,
                        interval=interval, bar="≥ 0.8", holds=share.estimate >= SHARE))  # fmt: skip
    return rows


def _journeyman(home: Path, *arguments: str) -> None:
    path = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    environment: dict[str, Any] = {
        **os.environ, "JOURNEYMAN_HOME": str(home), "JOURNEYMAN_MODELS": str(MODELS), "PYTHONPATH": path,
    }  # fmt: skip
    with (home / "out").open("a", encoding="utf-8") as out:
        subprocess.run(
            [sys.executable, "-m", "journeyman", *arguments], env=environment, stdout=out, stderr=out, check=True
        )
