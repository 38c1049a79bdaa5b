"""What one model did over all cases, from every attempt at them."""

from collections.abc import Sequence
from statistics import fmean

from journeyman.evals.journal import Finished
from journeyman.records import CaseResult, Interval, ModelReport
from journeyman.records.evaluation import WithinAttempts
from journeyman.statistics import clustered_mean, mean_share, pass_at_k, pass_power_k, proportion, quantile

FEWEST_FOR_RESAMPLING = 10
"""With fewer cases, an interval from resampling promises more than it holds."""


def summarise(model: str, cases: Sequence[Sequence[Finished]]) -> ModelReport:
    """The report on a model; `cases` hold all attempts at each, and as many of each."""
    together = tuple(_together([each.result for each in attempts]) for attempts in cases)
    results = [each.result for attempts in cases for each in attempts]
    latencies = [seconds for attempts in cases for each in attempts for seconds in each.latencies]
    costs = [[1000 * result.cost_usd for result in each if result.cost_usd is not None] for each in _results(cases)]
    priced = all(result.cost_usd is not None for result in results)
    clusters = [[seconds for each in attempts for seconds in each.latencies] for attempts in cases]
    return ModelReport(
        model=model,
        success=success_rate(together),
        turns=fmean(result.turns for result in results),
        prompt_tokens=fmean(result.prompt_tokens for result in results),
        completion_tokens=fmean(result.completion_tokens for result in results),
        cost_usd_per_thousand=fmean(cost for each in costs for cost in each) if priced else None,
        latency_p50=quantile(latencies, 0.5) if latencies else None,
        latency_p95=quantile(latencies, 0.95) if latencies else None,
        errors=sum(result.error is not None for result in results),
        cases=together,
        cost=_resampled(costs) if priced else None,
        latency=_resampled([each for each in clusters if each]),
        retries=sum(result.retries for result in results),
        within=_within(together),
    )


def success_rate(cases: Sequence[CaseResult]) -> Interval:
    """The success rate over cases, and over their attempts where there are several."""
    if all(case.attempts == 1 for case in cases):
        return proportion(sum(case.success for case in cases), len(cases))
    return mean_share([case.rate for case in cases])


def _within(cases: Sequence[CaseResult]) -> tuple[WithinAttempts, ...]:
    most = min(case.attempts for case in cases)
    counts = [(case.successes or 0, case.attempts) for case in cases]
    return tuple(
        WithinAttempts(k=k, at_least_one=pass_at_k(counts, k), all_of_them=pass_power_k(counts, k))
        for k in range(1, most + 1)
        if most > 1
    )


def _together(attempts: Sequence[CaseResult]) -> CaseResult:
    """A case as its first failed attempt, or its first, with how many of them succeeded."""
    shown = next((each for each in attempts if not each.success), attempts[0])
    if len(attempts) == 1:
        return shown
    successes = sum(each.success for each in attempts)
    return shown.model_copy(update={"attempts": len(attempts), "successes": successes})


def _results(cases: Sequence[Sequence[Finished]]) -> list[list[CaseResult]]:
    return [[each.result for each in attempts] for attempts in cases]


def _resampled(clusters: Sequence[Sequence[float]]) -> Interval | None:
    return clustered_mean(clusters) if len(clusters) >= FEWEST_FOR_RESAMPLING else None
