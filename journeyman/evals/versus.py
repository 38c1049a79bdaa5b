"""Head to head: two models answer the same cases, and a judge compares the answers, in both orders.

A judge that prefers whatever stands first contradicts itself when the order is turned round: that counts as a tie.
"""

import asyncio
import math
import random
from collections.abc import Callable, Mapping, Sequence
from itertools import count as count_from
from typing import Any

from journeyman.engines.engine import Engine
from journeyman.environments.environment import Suite
from journeyman.errors import InvalidInput, Overloaded, UpstreamFailed
from journeyman.evals.cases import CaseSuite
from journeyman.evals.journal import Finished, Journal
from journeyman.evals.playing import Names, Play, Progress, check_request, describe_price, find_prices, suite_hash
from journeyman.evals.slices import slice_differences
from journeyman.machine import describe_machine
from journeyman.prices import AS_OF, PriceList
from journeyman.records import Interval, Message, Sampling, Scenario
from journeyman.records.evaluation import Duel, VersusReport
from journeyman.rewards.judge import Judge, rubric_hash, said, transcript
from journeyman.rewards.metering import Ceiling
from journeyman.statistics import PairedSequence, excludes_zero, mcnemar, paired_difference, proportion, quantile

RUBRIC = "The better answer does what the user asked: it is correct, complete and to the point, and invents nothing."
"""What counts where no rubric is given."""
FEWEST_FOR_LENGTHS = 20
"""Judged pairs below which a curve over lengths says nothing."""


async def versus(
    suite: Suite,
    model: str,
    opponent: str,
    engine: Engine,
    judge: Judge,
    *,
    rubric: str = RUBRIC,
    count: int = 100,
    seed: int = 0,
    split: str = "held-out",
    concurrency: int = 8,
    sampling: Sampling = Sampling(temperature=0.0),
    prices: PriceList | None = None,
    priced_as: Names | None = None,
    retries: int = 2,
    stop_early: bool = False,
    journal: Journal | None = None,
    stands_for: Mapping[str, str] | None = None,
    on_progress: Progress | None = None,
) -> VersusReport:
    """Compare the answers of two models; `net` is the share of cases that `model` won minus that which it lost.

    `stop_early` meets the cases in a random order until it is known who is better, or no case is left; the interval of
    `net` then holds although it was looked at all the time.
    """
    models, listener = (model, opponent), on_progress or (lambda *_: None)
    check_request(models, count, concurrency, priced_as or {})
    if judge.model in models:
        raise InvalidInput(f"{judge.model} cannot judge its own answers: judges prefer their own. Name another judge")
    suite = suite.without_checks() if isinstance(suite, CaseSuite) else suite
    found = find_prices(prices or PriceList(), models, priced_as or {}, None)
    scenarios, journal, ceiling = suite.scenarios(split, count, seed), journal or Journal(), Ceiling(None)
    cases, names = suite_hash(scenarios), {each: (stands_for or {}).get(each) for each in models}
    identity = [suite.name, cases, split, seed, sampling.wire(), list(names.items()), judge.model, rubric_hash(rubric)]
    journal.open(f"{suite.name}-versus", [*identity, *(["stop early"] if stop_early else [])])
    judge.on_cost = ceiling.judged
    play = Play(suite, engine, sampling, concurrency, journal, ceiling, found, retries, listener)
    order = random.Random(seed).sample(scenarios, len(scenarios)) if stop_early else scenarios
    duels = await _duels(play, order, models, judge, rubric, stop_early)
    judge.rubrics.add(rubric_hash(rubric))
    return VersusReport(
        at=journal.at,
        model=model,
        opponent=opponent,
        suite=suite.name,
        suite_hash=cases,
        seed=seed,
        split=split,
        sampling=sampling,
        concurrency=concurrency,
        judge=judge.use(),
        machine=describe_machine(),
        prices_as_of=AS_OF,
        prices={name: describe_price(price) for name, price in {**found, f"judge {judge.model}": judge.price}.items()},
        cost_usd=_cost(journal),
        duels=tuple(duels),
        planned=len(scenarios) if stop_early else None,
        **_counts(duels, model, opponent, stop_early),
    )


def _cost(journal: Journal) -> float | None:
    """US dollars of all answers; None when one of them has no price."""
    costs = [each.result.cost_usd for each in journal.finished.values()]
    return None if None in costs else math.fsum(cost for cost in costs if cost is not None)


async def _duels(
    play: Play, scenarios: Sequence[Scenario], models: tuple[str, str], judge: Judge, rubric: str, stop_early: bool
) -> list[Duel]:
    """Every case's duel, or those that it took to know who is better."""
    duels, numbers = list[Duel](), count_from(1)

    def tell() -> None:
        play.on_progress("judged", next(numbers), len(scenarios))

    async def judge_more(played: Sequence[Scenario]) -> bool:
        duels.extend(
            await _judge_all(played[len(duels) :], models, play.journal, judge, rubric, play.concurrency, tell)
        )
        return excludes_zero(_sequence(duels))

    if stop_early:
        play.enough = judge_more
    await play.all(models, scenarios)
    if not stop_early:
        await judge_more(scenarios)
    return duels


async def _judge_all(
    scenarios: Sequence[Scenario],
    models: tuple[str, str],
    journal: Journal,
    judge: Judge,
    rubric: str,
    concurrency: int,
    on_judged: Callable[[], None],
) -> list[Duel]:
    places = asyncio.Semaphore(concurrency)

    async def one(scenario: Scenario) -> Duel:
        async with places:
            duel = journal.duels.get(scenario.id)
            if duel is None:
                first, second = (journal.finished[model, scenario.id] for model in models)
                duel = await _duel(first, second, judge, rubric)
                if duel.won is not None:  # what the judge failed at is asked again when this evaluation goes on
                    journal.add_duel(duel)
        on_judged()
        return duel

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(scenario)) for scenario in scenarios]
    return [task.result() for task in tasks]


async def _duel(first: Finished, second: Finished, judge: Judge, rubric: str) -> Duel:
    shared, one, other = split_common(first.messages, second.messages)
    known: dict[str, Any] = {
        "scenario_id": first.result.scenario_id,
        "kind": first.result.kind,
        "tags": first.result.tags,
        "lengths": (_length(one), _length(other)),
    }
    failed = first.result.error, second.result.error
    if any(failed):
        won = bool(failed[1]) - bool(failed[0])
        reason = "both ended in an error" if won == 0 else "the other ended in an error"
        return Duel(**known, won=won, forward=won, backward=won, reason=reason, error="; ".join(filter(None, failed)))
    if transcript(one) == transcript(other):
        return Duel(**known, won=0, forward=0, backward=0, reason="the answers are the same")
    try:
        forward = await judge.compare(shared, one, other, rubric)
        backward = await judge.compare(shared, other, one, rubric)
    except (UpstreamFailed, Overloaded) as problem:
        return Duel(**known, won=None, forward=None, backward=None, reason="unjudged", error=str(problem))
    said_first = {"A": 1, "tie": 0, "B": -1}[forward.word]
    said_second = {"A": -1, "tie": 0, "B": 1}[backward.word]
    agreed = said_first == said_second
    reason = forward.reason if agreed else f"the orders disagree: {forward.reason} / {backward.reason}"
    return Duel(**known, won=said_first if agreed else 0, forward=said_first, backward=said_second, reason=reason)


def split_common(
    first: Sequence[Message], second: Sequence[Message]
) -> tuple[Sequence[Message], Sequence[Message], Sequence[Message]]:
    """What two conversations share, up to where either model speaks differently, and how each goes on."""
    shared = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        shared += 1
    if shared == len(first) == len(second) and shared:
        shared -= 1
    return first[:shared], first[shared:], second[shared:]


def _length(messages: Sequence[Message]) -> int:
    return sum(len(said(message)) for message in messages if message.role == "assistant")


def _sequence(duels: Sequence[Duel]) -> Interval:
    """Wins minus losses, with an interval that may be looked at after every duel."""
    return PairedSequence().add_all(float(duel.won) for duel in duels if duel.won is not None).interval


def _counts(duels: Sequence[Duel], model: str, opponent: str, stopped: bool) -> dict[str, Any]:
    """What the report says of all duels together; of such as `stopped` when they knew, nothing by slice."""
    judged = [duel for duel in duels if duel.won is not None]
    wins, losses = (sum(duel.won == sign for duel in judged) for sign in (1, -1))
    asked = [duel for duel in judged if not duel.error]
    decided = [verdict for duel in asked for verdict in (duel.forward or 0, -(duel.backward or 0)) if verdict]
    return {
        "wins": wins,
        "ties": len(judged) - wins - losses,
        "losses": losses,
        "disagreements": sum(duel.forward != duel.backward for duel in judged),
        "unjudged": len(duels) - len(judged),
        "net": (_sequence(duels) if stopped else paired_difference(wins, losses, len(judged))) if judged else None,
        "p": mcnemar(wins, losses),
        "first_place": proportion(decided.count(1), len(decided)) if decided else None,
        "equal_length": length_controlled([((duel.won or 0) / 2 + 0.5, *duel.lengths) for duel in judged]),
        "slices": ()
        if stopped
        else slice_differences(
            model, opponent, [(duel.kind, duel.tags, float(duel.won == 1), float(duel.won == -1)) for duel in judged]
        ),
    }


def length_controlled(duels: Sequence[tuple[float, int, int]], draws: int = 200, seed: int = 0) -> Interval | None:
    """The share of wins that is expected where both answers are equally long; None below twenty duels.

    `duels` hold the share of the win (1, ½, 0) and both lengths. A logistic regression of the win on the difference of
    the logarithms of the lengths, read at 0; after Y. Dubois et al. (2024), arXiv 2404.04475. Duels are resampled.
    """
    if len(duels) < FEWEST_FOR_LENGTHS:
        return None
    points = [(math.log((one + 1) / (other + 1)), share) for share, one, other in duels]
    generator = random.Random(seed)
    samples = [_at_equal_length(generator.choices(points, k=len(points))) for _ in range(draws)]
    return Interval(estimate=_at_equal_length(points), low=quantile(samples, 0.025), high=quantile(samples, 0.975))


def _at_equal_length(points: Sequence[tuple[float, float]]) -> float:
    """Newton's method for intercept and slope; a weak prior (one duel of each outcome) keeps both finite."""
    points = [*points, (0.0, 1.0), (0.0, 0.0)]
    intercept = slope = 0.0
    for _ in range(25):
        g0 = g1 = h00 = h01 = 0.0
        h11 = 0.1
        g1 = -0.1 * slope
        for x, share in points:
            p = 1 / (1 + math.exp(-max(-30.0, min(30.0, intercept + slope * x))))
            g0 += share - p
            g1 += (share - p) * x
            h00 += p * (1 - p)
            h01 += p * (1 - p) * x
            h11 += p * (1 - p) * x * x
        determinant = h00 * h11 - h01 * h01
        if determinant <= 1e-12:
            break
        step0, step1 = (h11 * g0 - h01 * g1) / determinant, (h00 * g1 - h01 * g0) / determinant
        intercept, slope = intercept + step0, slope + step1
        if abs(step0) + abs(step1) < 1e-9:
            break
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, intercept))))
