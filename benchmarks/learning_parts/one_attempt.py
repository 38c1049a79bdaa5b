"""One attempt at each scenario, as production makes them: what compares attempts has nothing to compare there."""

import asyncio
import json
from collections.abc import Iterator, Sequence

from record import Row, row

from journeyman.errors import InvalidInput
from journeyman.records.algorithm import ALGORITHMS
from journeyman.statistics.intervals import clustered_mean, paired_mean
from learning_parts import miniature
from learning_parts.runs import learn, refusal
from learning_parts.tasks import TASKS
from tests.training.reinforcement.conftest import make_rl_config

MINIATURE, REAL = "One attempt each, in miniature", "One attempt each, on the price tool"
ALONE = {"scenarios": 32, "attempts": 1}
KINDS = {
    "ppo, 4 × 8": {"algorithm": ALGORITHMS["ppo"]},
    "grpo, 4 × 8": {"algorithm": ALGORITHMS["grpo"]},
    "ppo, 32 × 1": {"algorithm": ALGORITHMS["ppo"], **ALONE},
    "reinforce_pp, 32 × 1": {"algorithm": ALGORITHMS["reinforce_pp"], **ALONE},
}  # fmt: skip
"""Scenarios × attempts; GRPO with one attempt is refused."""


def in_miniature(seeds: int, threads: int, kept: Sequence[Row], *, quick: bool) -> Iterator[list[Row]]:
    """PPO with its critic beside what compares groups, where there are groups and where there are none."""

    seeds = 2 if quick else seeds

    async def all_runs() -> list[Row]:
        found: dict[str, list[miniature.Learned]] = {kind: [] for kind in KINDS}
        async with miniature.tiny_place() as place:
            for seed in range(seeds):
                for number, (kind, changes) in enumerate(KINDS.items()):
                    found[kind].append(await miniature.learn(place, f"alone{number}", seed, **changes))
                print(f"seed {seed}: {', '.join(f'{kind} {runs[-1].gain:+.3f}' for kind, runs in found.items())}")
        return _rows(found, seeds)

    yield asyncio.run(all_runs())


def _rows(found: dict[str, list[miniature.Learned]], seeds: int) -> list[Row]:
    rows = []
    for kind, runs in found.items():
        gain = clustered_mean([[each.gain] for each in runs])
        what = f"{MINIATURE}, {kind}: gain on held-out scenarios, {seeds} seeds"
        judged = {"bar": "> 0, interval clear", "holds": gain.low > 0} if kind.startswith("ppo") else {}
        rows.append(row(what, gain.estimate, interval=(gain.low, gain.high), **judged))  # type: ignore[arg-type]
    gains = {kind: [each.gain for each in runs] for kind, runs in found.items()}
    for kind, other in (("ppo, 4 × 8", "grpo, 4 × 8"), ("ppo, 32 × 1", "reinforce_pp, 32 × 1")):
        less = paired_mean(gains[kind], gains[other])
        what = f"{MINIATURE}, {kind} less {other}, paired by seed"
        rows.append(row(what, less.estimate, interval=(less.low, less.high)))
    try:
        make_rl_config(algorithm=ALGORITHMS["grpo"], **ALONE)
    except (InvalidInput, ValueError):
        rows.append(row(f"{MINIATURE}, grpo, 32 × 1", "refused: nothing to compare an attempt with"))
    return rows


def on_the_price_tool(seeds: int, threads: int, kept: Sequence[Row], *, quick: bool) -> Iterator[list[Row]]:
    """PPO on the real model: 32 scenarios in a step, one attempt at each; GRPO is asked for the same."""
    alone = ("--scenarios", "32", "--attempts", "1")
    rows = [row(f"{REAL}, grpo", f"refused: {refusal(TASKS['price'], '--algorithm', 'grpo', *alone)}")]
    gains = []
    for seed in range(seeds):
        found, _ = learn(TASKS["price"], seed, threads, "--algorithm", "ppo", *alone, quick=quick)
        print(f"PPO, seed {seed}: {json.dumps(found)}", flush=True)
        gains.append(found["after"] - found["before"])
        rows += [
            row(f"{REAL}, ppo, seed {seed}: held-out reward before", found["before"]),
            row(f"{REAL}, ppo, seed {seed}: held-out reward after 10 steps", found["after"]),
            row(f"{REAL}, ppo, seed {seed}: greedy before", found["greedy before"]),
            row(f"{REAL}, ppo, seed {seed}: greedy after", found["greedy after"]),
            row(f"{REAL}, ppo, seed {seed}: CPU time", found["cpu"], "CPU-s"),
        ]
        yield [*rows, _gain(gains)]


def _gain(gains: Sequence[float]) -> Row:
    what = f"{REAL}, ppo: gain over the base, which GRPO leaves as it is, {len(gains)} seeds"
    if len(gains) == 1:
        return row(what, gains[0], bar="> 0", holds=gains[0] > 0)
    over = clustered_mean([[each] for each in gains])
    return row(what, over.estimate, interval=(over.low, over.high), bar="> 0, interval clear", holds=over.low > 0)
