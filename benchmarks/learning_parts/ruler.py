"""How much of the true reward's gain is left when a noisy judge of known quality takes its place, through RULER."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

from record import Row, row

from journeyman.records import TrajectoryGroup
from journeyman.statistics.intervals import clustered_mean
from learning_parts import miniature
from learning_parts.gains import share_of
from learning_parts.noisy_judge import (
    LETTER_JUDGE,
    PRICE_JUDGE,
    NoisyJudge,
    pairs_in_order,
    ruler_over,
    single_verdicts,
)
from learning_parts.runs import learn
from learning_parts.tasks import TASKS

BAR = 0.9
MINIATURE, REAL = "RULER in miniature", "RULER on the price tool"
Groups = Sequence[tuple[TrajectoryGroup, Sequence[float]]]


def in_miniature(seeds: int, threads: int, kept: Sequence[Row], *, quick: bool) -> Iterator[list[Row]]:
    """The same runs of the tiny model with the truth and with RULER, many seeds."""

    async def all_runs() -> list[Row]:
        true, judged, asked = [], [], []
        async with miniature.tiny_place() as place:
            for seed in range(2 if quick else seeds):
                true.append(await miniature.learn(place, "truth", seed))
                judged.append(await miniature.learn(place, "ruler", seed, ruler_over(LETTER_JUDGE)))
                asked += judged[-1].groups()
                print(f"seed {seed}: truth {true[-1].gain:+.3f}, RULER {judged[-1].gain:+.3f}", flush=True)
        rows = await quality(MINIATURE, LETTER_JUDGE, asked)
        return rows + shares(MINIATURE, [each.gain for each in true], [each.gain for each in judged])

    yield asyncio.run(all_runs())


def on_the_price_tool(seeds: int, threads: int, kept: Sequence[Row], *, quick: bool) -> Iterator[list[Row]]:
    """Runs of the real model with RULER; those with the truth are the kept ones where they began alike.

    Rows after each seed, of all seeds so far.
    """
    true, judged, asked, rows = [], [], [], []
    judge = ("--reward", "learning_parts.noisy_judge:price_ruler", "--truth", "reward")
    for seed in range(seeds):
        found, attempts = learn(TASKS["price"], seed, threads, *judge, quick=quick)
        print(f"RULER, seed {seed}: {json.dumps(found)}", flush=True)
        asked += miniature.groups_of(attempts, "price-tool", "price")
        judged.append(found["after"] - found["before"])
        true.append(true_gain(seed, threads, kept, found, quick=quick))
        rows += [
            row(f"{REAL}, seed {seed}: held-out true reward before", found["before"]),
            row(f"{REAL}, seed {seed}: held-out true reward after 10 steps", found["after"]),
            row(f"{REAL}, seed {seed}: gain of a run that is paid the truth", true[-1]),
        ]
        yield [*rows, *asyncio.run(quality(REAL, PRICE_JUDGE, asked)), *shares(REAL, true, judged)]


def true_gain(seed: int, threads: int, kept: Sequence[Row], found: dict[str, Any], *, quick: bool) -> float:
    """The gain of the same run with the truth: kept from before if that began exactly alike, else made now."""
    named = f"{TASKS['price'].called}, seed {seed}: held-out reward"
    before, after = (
        next((each["value"] for each in kept if each["what"].startswith(f"{named} {when}")), None)
        for when in ("before", f"after {found['steps']} steps")
    )
    if before == found["before"] and isinstance(before, float) and isinstance(after, float):
        return after - before
    print(f"seed {seed}: no kept run of the true reward began alike; running it", flush=True)
    run = learn(TASKS["price"], seed, threads, quick=quick).figures
    return float(run["after"] - run["before"])


async def quality(what: str, judge: NoisyJudge, groups: Groups) -> list[Row]:
    """How often one verdict of the judge, and RULER's scores, order two attempts as the truth does."""
    by_group = [await single_verdicts(judge, [each]) for each in groups]
    single = clustered_mean([each for each in by_group if each])
    scored = [pairs_in_order([each.score("ruler") for each in group.trajectories], truth) for group, truth in groups]
    ruled = clustered_mean([each for each in scored if each])
    return [
        row(f"{what}: pairs that one verdict of the judge orders rightly", 100 * single.estimate, "%",
            interval=(100 * single.low, 100 * single.high)),
        row(f"{what}: pairs that RULER's scores order rightly", 100 * ruled.estimate, "%",
            interval=(100 * ruled.low, 100 * ruled.high)),
    ]  # fmt: skip


def shares(what: str, true: Sequence[float], judged: Sequence[float]) -> list[Row]:
    """Both gains and their ratio, over seeds."""
    rows = []
    for name, gains in (("the truth", true), ("RULER", judged)):
        over = clustered_mean([[each] for each in gains]) if len(gains) > 1 else None
        rows.append(row(f"{what}: gain of the true reward, paid by {name}, {len(gains)} seeds", fmean(gains),
                        interval=over and (over.low, over.high)))  # fmt: skip
    found = share_of(judged, true)
    interval = (found.low, found.high) if len(true) > 1 else None
    rows.append(row(f"{what}: share of the gain, {len(true)} seeds", found.estimate, interval=interval,
                    bar=f"≥ {BAR:g}", holds=found.estimate >= BAR))  # fmt: skip
    return rows
