"""Group against batch normalisation of rewards: which is stable, and when? One task in miniature, many seeds.

python benchmarks/normalization.py               8 seeds of every estimator, three kinds: about 20 CPU-minutes
python benchmarks/normalization.py --only rare   one kind; the rows of the others stay as they were measured
python benchmarks/normalization.py --quick       2 seeds; not kept

A two-layer model of random weights learns to write one letter (the reward is the letter's share of the reply), sampled
by the real engine. Three kinds of rewards: *plain*; *uneven*, where each scenario adds a constant of its own, as tasks
of different difficulty do; *rare*, where one attempt in ten earns anything, as hard tasks have it. What is compared is
how much the true share of the letter on held-out scenarios rose. Differences to `grpo` are paired by seed.
"""

import argparse
import asyncio
import hashlib
from collections.abc import Callable, Iterator

import torch
from learning_parts import miniature
from record import Row, kept_rows, row, write_results

from journeyman.records import Trajectory
from journeyman.records.algorithm import Algorithm, Estimator
from journeyman.rewards.reward import each
from journeyman.statistics.intervals import clustered_mean, paired_mean

ESTIMATORS: tuple[Estimator, ...] = ("grpo", "dr_grpo", "batch_std", "reinforce_pp", "reinforce_pp_baseline", "rloo")


def share(trajectory: Trajectory) -> float:
    """The letter's share of the reply: the truth."""
    return trajectory.score(miniature.TRUTH)


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
    parser.add_argument("--only", nargs="+", choices=KINDS, help="some kinds of rewards")
    parser.add_argument("--quick", action="store_true", help="2 seeds; not kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    asyncio.run(_all(options.only or [*KINDS], 2 if options.quick else options.seeds, quick=options.quick))


async def _all(kinds: list[str], seeds: int, *, quick: bool) -> None:
    anew = tuple(f"{kind} rewards," for kind in kinds)
    rows = [] if quick else [each for each in kept_rows("normalization") if not each["what"].startswith(anew)]
    async with miniature.tiny_place() as place:
        for kind in kinds:
            rule = KINDS[kind]
            reward, gains = each(rule, name="paid"), dict[str, list[float]]()
            for estimator in ESTIMATORS:
                algorithm = Algorithm(estimator=estimator, loss="cispo", reduction="token")
                name = f"{estimator}-{kind}".replace("_", "-")
                # Not watched: what is paid is not the truth here, on purpose.
                runs = [
                    await miniature.learn(place, name, seed, reward, watched=False, algorithm=algorithm)
                    for seed in range(seeds)
                ]
                gains[estimator] = [run.gain for run in runs]
                print(f"{kind}, {estimator}: {[round(gain, 3) for gain in gains[estimator]]}", flush=True)
            rows += _rows(kind, gains)
            # Written after each kind: a run that is cut short leaves what it found.
            write_results("normalization", rows, 0, quick=quick)


def _rows(kind: str, found: dict[str, list[float]]) -> Iterator[Row]:
    for estimator, values in found.items():
        over = clustered_mean([[value] for value in values])
        steps = miniature.SHAPE["steps"]
        what = f"{kind} rewards, {estimator}: gain of the letter's share in {steps} steps, {len(values)} seeds"
        yield row(what, over.estimate, interval=(over.low, over.high))
        yield row(f"{kind} rewards, {estimator}: gain of the worst seed", min(values))
        if estimator != "grpo":
            gain = paired_mean(values, found["grpo"])
            what = f"{kind} rewards, {estimator} less grpo, paired by seed"
            yield row(what, gain.estimate, interval=(gain.low, gain.high))


if __name__ == "__main__":
    main()
