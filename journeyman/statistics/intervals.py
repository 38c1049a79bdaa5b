"""How sure we are: 95% intervals for success rates, paired differences between them and means, and quantiles.

Wilson's score interval serves one proportion, Tango's score interval a paired difference. Both invert a score test,
so they stay inside the possible range and do not collapse to a point at 0% or 100%. Tango's was preferred to Newcombe's
"square and add" by exact coverage (`docs/decisions/0004-intervals.md`), and because it lies above 0 exactly when
McNemar's test says so.
"""

import math
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from journeyman.errors import InvalidInput
from journeyman.records import Interval, ModelReport, PairedDifference
from journeyman.statistics.normal import normal_share, students_quantile
from journeyman.statistics.planning import detectable_difference, detectable_mean_difference


class CaseDifference(NamedTuple):
    """A difference over cases: how many rose and fell, and the smallest that shows four times of five."""

    difference: Interval
    fixed: int
    broken: int
    detectable: float


Z95 = 1.959963984540054
"""The 97.5% quantile of the standard normal distribution."""


def proportion(successes: int, total: int) -> Interval:
    """The share of successes with Wilson's 95% interval.

    E. B. Wilson (1927), JASA 22:209–212; recommended by R. G. Newcombe (1998), Statistics in Medicine 17:857–872.
    """
    if not 0 <= successes <= total or total == 0:
        raise InvalidInput(f"a proportion needs 0 ≤ successes ≤ total and at least one case, not {successes}/{total}")
    share, z2 = successes / total, Z95**2
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = Z95 * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2)) / (1 + z2 / total)
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == total else centre + half
    return Interval(estimate=share, low=low, high=high)


def paired_difference(fixed: int, broken: int, total: int) -> Interval:
    """How much the first of two success rates on the same cases exceeds the second, with Tango's 95% interval.

    `fixed` counts the cases where only the first succeeded, `broken` those where only the second did.
    T. Tango (1998), Statistics in Medicine 17:891–908: every difference that the score test does not reject.
    """
    if min(fixed, broken) < 0 or fixed + broken > total or total == 0:
        raise InvalidInput(f"a paired difference needs fixed + broken ≤ total cases, not {fixed} + {broken} of {total}")
    estimate = (fixed - broken) / total

    def rejects(difference: float) -> bool:
        return _tango_z2(difference, fixed, broken, total) > Z95**2

    return Interval(
        estimate=estimate,
        low=-1.0 if broken == total else _edge(rejects, outside=-1.0, inside=estimate),
        high=1.0 if fixed == total else _edge(rejects, outside=1.0, inside=estimate),
    )


def compare(model: ModelReport, baseline: ModelReport) -> PairedDifference:
    """How much better `model` did than `baseline`, counted case by case; both must have met the same cases."""
    before = {case.scenario_id: case for case in baseline.cases}
    after = {case.scenario_id: case for case in model.cases}
    if before.keys() != after.keys():
        raise InvalidInput(
            f"{model.model} and {baseline.model} were not measured on the same cases "
            f"({len(before.keys() & after.keys())} in common of {len(after)} and {len(before)}); evaluate them together"
        )
    found = difference_of_rates([(case.rate, before[id].rate) for id, case in after.items()])
    return PairedDifference(model=model.model, baseline=baseline.model, **found._asdict())


def difference_of_rates(cases: Sequence[tuple[float, float]]) -> CaseDifference:
    """How much the first of two rates exceeds the second over the same cases.

    Tango's interval where each case was tried once. Rates of several attempts are resampled by their cases; with a
    single case nothing is known.
    """
    fixed, broken = sum(one > other for one, other in cases), sum(one < other for one, other in cases)
    changes = [one - other for one, other in cases]
    if all(change in (-1, 0, 1) for change in changes):
        # One disagreement more than seen: with none at all, the formula would promise that anything shows.
        detectable = detectable_difference(len(cases), min(1.0, (fixed + broken + 1) / len(cases)))
        return CaseDifference(paired_difference(fixed, broken, len(cases)), fixed, broken, detectable)
    mean = math.fsum(changes) / len(cases)
    if len(cases) == 1:
        return CaseDifference(Interval(estimate=mean, low=-1.0, high=1.0), fixed, broken, 1.0)
    deviation = math.sqrt(math.fsum((change - mean) ** 2 for change in changes) / (len(cases) - 1))
    detectable = min(1.0, detectable_mean_difference(len(cases), deviation))
    interval = clustered_mean([[change] for change in changes])
    return CaseDifference(interval, fixed, broken, detectable)


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie, interpolated linearly between neighbours.

    Type 7 of R. J. Hyndman and Y. Fan (1996), The American Statistician 50:361–365.
    """
    if not values or not 0 <= share <= 1:
        raise InvalidInput(f"a quantile needs at least one value and a share in [0, 1], not {len(values)} and {share}")
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def clustered_mean(clusters: Sequence[Sequence[float]], draws: int = 1000, seed: int = 0) -> Interval:
    """The mean over all values, with a 95% percentile interval from resampling whole clusters.

    Values of one cluster, such as the calls of one conversation, resemble each other: taken one by one they would
    promise too narrow an interval. B. Efron and R. J. Tibshirani (1993), An Introduction to the Bootstrap, chapter 13.
    The percentiles are those of T. C. Hesterberg (2015), The American Statistician 69:371–386, section 5.3: resampling
    few clusters shows too little of how they differ, which Student's quantile makes up for.
    """
    means, outside = _resampled_means(clusters, draws, seed), _expanded(len(clusters))
    return Interval(estimate=_mean(clusters), low=quantile(means, outside), high=quantile(means, 1 - outside))


def paired_mean(
    first: Sequence[float],
    second: Sequence[float],
    clusters: Sequence[object] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """How much the mean of `first` exceeds that of `second` on the same cases, by resampling the cases.

    `clusters` names what each case belongs to, where cases resemble each other: those are resampled whole.
    """
    if len(first) != len(second):
        raise InvalidInput(f"paired values come from the same cases; there are {len(first)} and {len(second)}")
    groups: dict[object, list[float]] = {}
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        groups.setdefault(number if clusters is None else clusters[number], []).append(one - other)
    return clustered_mean(list(groups.values()), draws, seed)


def ratio_of_clustered_means(
    above: Sequence[Sequence[float]], below: Sequence[Sequence[float]], draws: int = 1000, seed: int = 0
) -> Interval:
    """One mean over another of independent clusters, with a 95% interval as in `clustered_mean`; both above 0."""
    pairs = zip(_resampled_means(above, draws, seed), _resampled_means(below, draws, seed + 1), strict=True)
    ratios = [one / other for one, other in pairs]
    estimate, outside = _mean(above) / _mean(below), _expanded(min(len(above), len(below)))
    return Interval(estimate=estimate, low=quantile(ratios, outside), high=quantile(ratios, 1 - outside))


def _expanded(clusters: int) -> float:
    """The share to leave out on either side of so many resampled clusters; 2.5% of very many."""
    return normal_share(-math.sqrt(clusters / (clusters - 1)) * students_quantile(0.975, clusters - 1))


def _mean(clusters: Sequence[Sequence[float]]) -> float:
    values = [value for cluster in clusters for value in cluster]
    return math.fsum(values) / len(values)


def _resampled_means(clusters: Sequence[Sequence[float]], draws: int, seed: int) -> list[float]:
    if len(clusters) < 2 or not all(clusters):
        raise InvalidInput(f"resampling needs at least two clusters, none of them empty; there are {len(clusters)}")
    generator = random.Random(seed)
    sums = [(math.fsum(cluster), len(cluster)) for cluster in clusters]
    means = []
    for _ in range(draws):
        drawn = generator.choices(sums, k=len(sums))
        means.append(math.fsum(total for total, _ in drawn) / sum(count for _, count in drawn))
    return means


def _tango_z2(difference: float, fixed: int, broken: int, total: int) -> float:
    """The squared score statistic of `difference`; its variance uses the likeliest rate of broken cases given it."""
    linear = (2 * total - fixed + broken) * difference - fixed - broken
    constant = -broken * difference * (1 - difference)
    rate_broken = (math.sqrt(max(linear**2 - 8 * total * constant, 0.0)) - linear) / (4 * total)
    variance = total * (2 * rate_broken + difference * (1 - difference))
    surprise = fixed - broken - total * difference
    if variance <= 0:
        return math.inf if surprise else 0.0
    return surprise**2 / variance


def _edge(rejects: Callable[[float], bool], outside: float, inside: float) -> float:
    """Bisect for the last difference that is not rejected; 60 halvings reach the precision of a float."""
    for _ in range(60):
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if rejects(middle) else (outside, middle)
    return inside
