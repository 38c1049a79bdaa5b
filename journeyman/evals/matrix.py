"""The matrix of models and cases: every model meets the same scenarios, and each cell is one case's result.

A conversation that ended in an error is a failed case: it stays in the denominator and is counted beside the rate.
"""

import random
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any

from journeyman.engines.engine import Engine
from journeyman.environments.environment import Suite
from journeyman.errors import InvalidInput
from journeyman.evals.cases import CaseSuite
from journeyman.evals.journal import Journal
from journeyman.evals.playing import (
    Names,
    Play,
    Progress,
    check_request,
    describe_price,
    find_prices,
    suite_hash,
)
from journeyman.evals.slices import compare_slices
from journeyman.evals.summaries import summarise
from journeyman.machine import describe_machine
from journeyman.prices import AS_OF, Price, PriceList
from journeyman.records import EvalReport, ModelReport, Sampling, Scenario
from journeyman.rewards.judge import Judge
from journeyman.rewards.metering import Ceiling
from journeyman.statistics import compare, compare_anytime, excludes_zero


async def evaluate(
    suite: Suite,
    models: Sequence[str],
    engine: Engine,
    *,
    count: int = 100,
    seed: int = 0,
    split: str = "held-out",
    concurrency: int = 8,
    attempts: int = 1,
    stop_early: bool = False,
    sampling: Sampling = Sampling(temperature=0.0),
    every_pair: bool = False,
    prices: PriceList | None = None,
    priced_as: Names | None = None,
    judge: Judge | None = None,
    ceiling_usd: float | None = None,
    retries: int = 2,
    journal: Journal | None = None,
    stands_for: Mapping[str, str] | None = None,
    on_progress: Progress | None = None,
) -> EvalReport:
    """Play `count` scenarios with each model and report how they compare.

    The first model is the baseline that the others are compared with; `every_pair` compares each with each.
    `priced_as` names, for models without a price of their own, those whose price applies (an adapter's base, then the
    adapter's own names). `judge` answers for the checks of a CaseSuite that need one. `ceiling_usd` ends the
    evaluation before it costs more, judge included. Each case is tried `attempts` times; the temperature must be above
    0 then. `stop_early` compares two models on the cases in a random order until their difference is known or no case
    is left; its interval then holds although it was looked at all the time.
    A `journal` with a folder lets an interrupted evaluation go on;
    `stands_for` says what each name answers as now: an alias that has moved on is not taken for the same model.
    """
    check_request(models, count, concurrency, priced_as or {})
    _check_ways(models, attempts, stop_early, sampling)
    found = find_prices(prices or PriceList(), models, priced_as or {}, ceiling_usd)
    journal, ceiling = journal or Journal(), Ceiling(ceiling_usd)
    suite = _with_judge(suite, judge, ceiling)
    scenarios = _checked(suite, suite.scenarios(split, count, seed))
    cases, names = suite_hash(scenarios), {model: (stands_for or {}).get(model) for model in models}
    identity = [suite.name, cases, split, seed, sampling.wire(), judge and judge.model, names, attempts, stop_early]
    journal.open(f"{suite.name}-eval", identity)
    play = Play(
        suite, engine, sampling, concurrency, journal, ceiling, found, retries, on_progress or _nobody, attempts
    )
    if stop_early:
        scenarios = random.Random(seed).sample(scenarios, len(scenarios))
        play.enough = partial(_is_known, play, models)
    await play.all(models, scenarios)
    reports = _measured(play, models, scenarios)
    return EvalReport(
        suite_hash=cases,
        seed=seed,
        split=split,
        models=tuple(reports),
        planned=len(scenarios) if stop_early else None,
        **_how_it_was_played(play, judge),
        **_compared(reports, every_pair, stop_early),
    )


def _how_it_was_played(play: Play, judge: Judge | None) -> dict[str, Any]:
    unpriced = None in play.prices.values() or (judge is not None and judge.price is None)
    return {
        "at": play.journal.at,  # an alias or a name that moves on later does not change what was measured
        "suite": play.suite.name,
        "sampling": play.sampling,
        "concurrency": play.concurrency,
        "attempts": play.attempts,
        "judge": judge.use() if judge else None,
        "machine": describe_machine(),
        "prices_as_of": AS_OF,
        "prices": _prices(play.prices, judge),
        "ceiling_usd": play.ceiling.usd,
        "spent_usd": None if unpriced else play.ceiling.spent,
        "left": play.left,
        "resumed": play.journal.resumed,
    }


def _compared(reports: Sequence[ModelReport], every_pair: bool, stop_early: bool) -> dict[str, Any]:
    """The differences of the pairs that were asked for, as a whole and by slice."""
    pairs = [(one, base) for base, one in combinations(reports, 2) if every_pair or base is reports[0]]
    return {
        "differences": tuple((compare_anytime if stop_early else compare)(*pair) for pair in pairs),
        # Slices of an evaluation that stopped early were looked at all the time, without an interval for that.
        "slices": () if stop_early else tuple(each for pair in pairs for each in compare_slices(*pair)),
    }


def _check_ways(models: Sequence[str], attempts: int, stop_early: bool, sampling: Sampling) -> None:
    if attempts < 1:
        raise InvalidInput(f"each case is tried at least once, not {attempts} times")
    if attempts > 1 and sampling.temperature == 0:
        raise InvalidInput(
            f"{attempts} attempts at temperature 0 are the same attempt; give a temperature, or one attempt"
        )
    if stop_early and len(models) != 2:
        raise InvalidInput(f"stopping early compares two models, not {len(models)}; name two, or leave it out")


def _measured(play: Play, models: Sequence[str], scenarios: Sequence[Scenario]) -> list[ModelReport]:
    """Each model over the cases that all of them have met."""
    common = [scenario for scenario in scenarios if all(play.met(model, scenario.id) for model in models)]
    if not common:
        raise InvalidInput(
            f"the ceiling of ${play.ceiling.usd or 0:g} was reached before every model had met one case "
            f"(${play.ceiling.spent:.4f} spent); what was finished is kept. Raise it and run the same command to go on"
        )
    return [summarise(model, [play.of(model, scenario.id) for scenario in common]) for model in models]


async def _is_known(play: Play, models: Sequence[str], played: Sequence[Scenario]) -> bool:
    """Which of two models is better, on the cases that were played."""
    return excludes_zero(compare_anytime(*reversed(_measured(play, models, played))).difference)


def _nobody(model: str, done: int, total: int) -> None:
    """Listens to progress where nobody does."""


def _with_judge(suite: Suite, judge: Judge | None, ceiling: Ceiling) -> Suite:
    """The suite with the judge that its cases need; a judge that nobody would ask is refused."""
    needed = isinstance(suite, CaseSuite) and suite.needs_judge
    if judge is None:
        if needed:
            raise InvalidInput(f"cases of {suite.name} have a rubric for a judge: name one (--judge MODEL)")
        return suite
    if not isinstance(suite, CaseSuite) or not needed:
        raise InvalidInput(f"no case of {suite.name} asks for a judge; leave it out (--judge)")
    if ceiling.usd is not None and judge.price is None:
        raise InvalidInput(
            f"a cost ceiling needs prices, and the judge {judge.model} has none; give one in the settings"
        )
    judge.rubrics |= suite.rubrics
    judge.on_cost = ceiling.judged
    return suite.judged_by(judge)


def _checked(suite: Suite, scenarios: Sequence[Scenario]) -> Sequence[Scenario]:
    """The same scenarios, if each of them can be passed or failed."""
    unchecked = set(suite.unchecked if isinstance(suite, CaseSuite) else ()) & {each.id for each in scenarios}
    if unchecked:
        raise InvalidInput(
            f"{len(unchecked)} cases of suite {suite.name} have no check, such as {min(unchecked)}; give them one, or "
            "compare two models with `journeyman versus`, which needs none. Nothing was evaluated"
        )
    return scenarios


def _prices(found: Mapping[str, Price | None], judge: Judge | None) -> dict[str, str]:
    told = {model: describe_price(price) for model, price in found.items()}
    return told | ({f"judge {judge.model}": describe_price(judge.price)} if judge else {})
