"""The matrix of models and cases: every model meets the same scenarios, and each cell is one case's result.

A conversation that ended in an error is a failed case: it stays in the denominator and is counted beside the rate.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean

from journeyman.engines.engine import Engine
from journeyman.environments.environment import Suite
from journeyman.errors import InvalidInput
from journeyman.evals.cases import CaseSuite
from journeyman.evals.journal import Finished, Journal
from journeyman.evals.judge import Judge
from journeyman.evals.metering import Ceiling
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
from journeyman.machine import describe_machine
from journeyman.prices import AS_OF, Price, PriceList
from journeyman.records import EvalReport, Interval, ModelReport, Sampling, Scenario
from journeyman.statistics import clustered_mean, compare, proportion, quantile

FEWEST_FOR_RESAMPLING = 10
"""With fewer cases, an interval from resampling promises more than it holds."""


async def evaluate(
    suite: Suite,
    models: Sequence[str],
    engine: Engine,
    *,
    count: int = 100,
    seed: int = 0,
    split: str = "held-out",
    concurrency: int = 8,
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
    evaluation before it costs more, judge included. A `journal` with a folder lets an interrupted evaluation go on;
    `stands_for` says what each name answers as now: an alias that has moved on is not taken for the same model.
    """
    check_request(models, count, concurrency, priced_as or {})
    found = find_prices(prices or PriceList(), models, priced_as or {}, ceiling_usd)
    journal, ceiling = journal or Journal(), Ceiling(ceiling_usd)
    suite = _with_judge(suite, judge, ceiling)
    scenarios = _checked(suite, suite.scenarios(split, count, seed))
    cases, names = suite_hash(scenarios), {model: (stands_for or {}).get(model) for model in models}
    identity = [suite.name, cases, split, seed, sampling.wire(), judge and judge.model, names]
    journal.open(f"{suite.name}-eval", identity)
    play = Play(suite, engine, sampling, concurrency, journal, ceiling, found, retries, on_progress or _nobody)
    await play.all(models, scenarios)
    reports = _measured(journal, models, scenarios, ceiling)
    pairs = [(one, base) for base, one in combinations(reports, 2) if every_pair or base is reports[0]]
    return EvalReport(
        at=journal.at,  # an alias or a name that moves on later does not change what was measured
        suite=suite.name,
        suite_hash=cases,
        seed=seed,
        split=split,
        sampling=sampling,
        concurrency=concurrency,
        models=tuple(reports),
        differences=tuple(compare(*pair) for pair in pairs),
        slices=tuple(each for pair in pairs for each in compare_slices(*pair)),
        judge=judge.use() if judge else None,
        machine=describe_machine(),
        prices_as_of=AS_OF,
        prices=_prices(found, judge),
        ceiling_usd=ceiling_usd,
        spent_usd=None if None in found.values() or (judge and judge.price is None) else ceiling.spent,
        left=play.left,
        resumed=journal.resumed,
    )


def _measured(
    journal: Journal, models: Sequence[str], scenarios: Sequence[Scenario], ceiling: Ceiling
) -> list[ModelReport]:
    """Each model over the cases that all of them have met."""
    common = [scenario for scenario in scenarios if all(journal.of(model, scenario.id) for model in models)]
    if not common:
        raise InvalidInput(
            f"the ceiling of ${ceiling.usd or 0:g} was reached before every model had met one case "
            f"(${ceiling.spent:.4f} spent); what was finished is kept. Raise it and run the same command to go on"
        )
    return [_summary(model, _finished(journal, model, common)) for model in models]


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


def _finished(journal: Journal, model: str, scenarios: Sequence[Scenario]) -> list[Finished]:
    return [each for scenario in scenarios if (each := journal.of(model, scenario.id))]


def _summary(model: str, finished: Sequence[Finished]) -> ModelReport:
    cases = tuple(each.result for each in finished)
    latencies = [seconds for each in finished for seconds in each.latencies]
    costs = [case.cost_usd for case in cases if case.cost_usd is not None]
    priced = len(costs) == len(cases)
    return ModelReport(
        model=model,
        success=proportion(sum(case.success for case in cases), len(cases)),
        turns=fmean(case.turns for case in cases),
        prompt_tokens=fmean(case.prompt_tokens for case in cases),
        completion_tokens=fmean(case.completion_tokens for case in cases),
        cost_usd_per_thousand=1000 * fmean(costs) if priced else None,
        latency_p50=quantile(latencies, 0.5) if latencies else None,
        latency_p95=quantile(latencies, 0.95) if latencies else None,
        errors=sum(case.error is not None for case in cases),
        cases=cases,
        cost=_resampled([[1000 * cost] for cost in costs]) if priced else None,
        latency=_resampled([each.latencies for each in finished if each.latencies]),
        retries=sum(case.retries for case in cases),
    )


def _resampled(clusters: Sequence[Sequence[float]]) -> Interval | None:
    return clustered_mean(clusters) if len(clusters) >= FEWEST_FOR_RESAMPLING else None
