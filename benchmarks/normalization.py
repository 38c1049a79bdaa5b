"""Group against batch normalisation of rewards: which is stable, and when? One task in miniature, many seeds.

python benchmarks/normalization.py           8 seeds of every estimator, three kinds of rewards: about 25 CPU-minutes
python benchmarks/normalization.py --quick   2 seeds; not kept

A two-layer model of random weights learns to write one letter (the reward is the letter's share of the reply), sampled
by the real engine. Three kinds of rewards: *plain*; *uneven*, where each scenario adds a constant of its own, as tasks
of different difficulty do; *rare*, where one attempt in ten earns anything, as hard tasks have it. What is compared is
the true share of the letter on held-out scenarios at the end. Differences to `grpo` are paired by seed.
"""

import argparse
import asyncio
import hashlib
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from record import Row, row, write_results

sys.path.insert(0, str(Path(__file__).parent.parent))

from journeyman.engines.held import HeldEngine
from journeyman.engines.process import EngineProcess
from journeyman.engines.supervisor import SupervisedEngine
from journeyman.records import Trajectory
from journeyman.records.algorithm import Algorithm, Estimator
from journeyman.rewards.reward import each
from journeyman.statistics.intervals import clustered_mean, paired_mean
from journeyman.training.reinforcement.trainer import ReinforcementTrainer, Task
from tests.tiny import write_model
from tests.training.reinforcement.conftest import LetterSuite, make_rl_config

ESTIMATORS: tuple[Estimator, ...] = ("grpo", "dr_grpo", "batch_std", "reinforce_pp", "reinforce_pp_baseline", "rloo")
STEPS = 10


def share(trajectory: Trajectory) -> float:
    """The letter's share of the reply: the truth."""
    return trajectory.score("reward")


def uneven(trajectory: Trajectory) -> float:
    """The truth, and a constant of the scenario between 0 and 3."""
    offset = int(hashlib.sha256(trajectory.scenario_id.encode()).hexdigest()[:4], 16) / 0xFFFF
    return share(trajectory) + 3 * offset


def rare(trajectory: Trajectory) -> float:
    """1 where the letter is clearly more frequent than chance has it."""
    return float(share(trajectory) > 0.2)


KINDS: dict[str, Callable[[Trajectory], float]] = {"plain": share, "uneven": uneven, "rare": rare}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--quick", action="store_true", help="2 seeds; not kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    seeds = 2 if options.quick else options.seeds
    with tempfile.TemporaryDirectory() as folder:
        model = write_model(Path(folder) / "models" / "tiny")
        rows = asyncio.run(_all(Path(folder), model, seeds, quick=options.quick))
    write_results("normalization", rows, 0, quick=options.quick)


async def _all(home: Path, model: Path, seeds: int, *, quick: bool) -> list[Row]:
    rows: list[Row] = []
    process = EngineProcess.local(model, "tiny", home, threads=1, precision="float32")
    async with SupervisedEngine(process) as running, HeldEngine(running) as engine:
        for kind, rule in KINDS.items():
            found: dict[str, list[float]] = {}
            for estimator in ESTIMATORS:
                found[estimator] = [
                    await _learned(home, model, engine, estimator, kind, rule, seed) for seed in range(seeds)
                ]
            rows += _rows(kind, found)
            if not quick:
                write_results("normalization", rows, 0)
    return rows


async def _learned(
    home: Path, model: Path, engine: HeldEngine, estimator: Estimator, kind: str, rule: Callable[[Trajectory], float],
    seed: int,
) -> float:  # fmt: skip
    """The true share of the letter on held-out scenarios after a run."""
    name = f"{estimator}-{kind}-{seed}".replace("_", "-")
    task = Task(LetterSuite(), each(rule, name="paid"), engine, home / "adapters" / "steps" / name)
    config = make_rl_config(
        name=name, steps=STEPS, scenarios=4, attempts=8, learning_rate=0.01, seed=seed, evaluate_scenarios=8,
        algorithm=Algorithm(estimator=estimator, loss="cispo", reduction="token"),
    )  # fmt: skip
    trainer = ReinforcementTrainer(config, task, model, home / "runs" / name)
    await trainer.train(lambda report: None)
    trainer.task = Task(task.suite, each(share, name="share"), engine, task.weights)
    held_out = await trainer.held_out()
    await trainer.release()
    trainer.discard()
    return held_out.mean


def _rows(kind: str, found: dict[str, Sequence[float]]) -> list[Row]:
    rows = []
    for estimator, values in found.items():
        over = clustered_mean([[value] for value in values])
        what = f"{kind} rewards, {estimator}: share of the letter after {STEPS} steps, {len(values)} seeds"
        rows.append(row(what, over.estimate, interval=(over.low, over.high)))
        rows.append(row(f"{kind} rewards, {estimator}: worst seed", min(values)))
        if estimator != "grpo":
            gain = paired_mean(values, found["grpo"])
            what = f"{kind} rewards, {estimator} less grpo, paired by seed"
            rows.append(row(what, gain.estimate, interval=(gain.low, gain.high)))
    return rows


if __name__ == "__main__":
    main()
