"""A few labels by people correct many by a judge: prediction-powered inference.

The usual interval (`estimate ± 1.96 standard errors`) is made for large numbers of labels. With twenty labels that a
judge happens to agree with it shrinks to nothing, and holds the truth as rarely as every second time. Rates therefore
get a score interval, means a jackknife and Student's quantile: `docs/decisions/0015-few-labels.md` has the coverage.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from journeyman.errors import InvalidInput
from journeyman.records import Interval
from journeyman.statistics.normal import students_quantile
from journeyman.statistics.shares import score_interval, variance_with_doubt

Values = Sequence[float]


@dataclass(frozen=True, slots=True)
class _Powered:
    """An estimate with what it is made of; `weight` is how far the judge is trusted, from 0 to 1."""

    estimate: float
    weight: float
    variance_of_rest: float


def prediction_powered_rate(labels: Values, judged: Values, judged_only: Values, *, level: float = 0.05) -> Interval:
    """The share of cases that people would pass, from their `labels`, the judge's on the same cases, and on others.

    All values lie between 0 and 1. The estimate is PPI++'s (`prediction_powered_mean`), the interval Wilson's at the
    number of labels that would be as sure. The variance counts half a case of each way to disagree with the judge
    beside those that were seen: few labels without a disagreement do not show that there are none.
    """
    if any(not 0 <= value <= 1 for values in (labels, judged, judged_only) for value in values):
        raise InvalidInput("the labels of a rate lie between 0 and 1; prediction_powered_mean takes any numbers")
    _check(labels, judged, judged_only)
    count = len(labels)
    found = _estimate(labels, judged, judged_only)
    residuals = [y - found.weight * f for y, f in zip(labels, judged, strict=True)]
    variance = found.variance_of_rest + variance_with_doubt(residuals, (-found.weight, 1.0), 0.5) / count
    return score_interval(found.estimate, variance, count, level=level)


def prediction_powered_mean(labels: Values, judged: Values, judged_only: Values, *, level: float = 0.05) -> Interval:
    """The mean of what people would say, from their `labels`, the judge's on the same cases, and its on all others.

    As valid as from the labels alone, and never wider for long: the judge's weight is tuned (PPI++).
    A. N. Angelopoulos, J. C. Duchi and T. Zrnic (2023), arXiv 2311.01453; A. N. Angelopoulos et al. (2023), Science
    382:669–674. The plain mean of a judge's labels is biased by what the judge gets wrong. The interval is the
    jackknife's, which leaves out one label at a time and tunes the weight again: B. Efron and C. Stein (1981), Annals
    of Statistics 9:586–596.
    """
    _check(labels, judged, judged_only)
    count = len(labels)
    found = _estimate(labels, judged, judged_only)
    without = _leaving_one_out(labels, judged, judged_only)
    middle = math.fsum(without) / count
    spread = math.fsum((each - middle) ** 2 for each in without) * (count - 1) / count
    half = students_quantile(1 - level / 2, count - 1) * math.sqrt(spread + found.variance_of_rest)
    return Interval(estimate=found.estimate, low=found.estimate - half, high=found.estimate + half)


def _check(labels: Values, judged: Values, judged_only: Values) -> None:
    n, rest = len(labels), len(judged_only)
    if n != len(judged) or n < 3 or rest < 2:
        raise InvalidInput(
            f"needs at least three cases with both labels and two judged alone; there are {n}, {len(judged)} and {rest}"
        )
    if not all(math.isfinite(value) for values in (labels, judged, judged_only) for value in values):
        raise InvalidInput("a label is no finite number; leave out the cases that have none")


def _estimate(labels: Values, judged: Values, judged_only: Values) -> _Powered:
    n, rest = len(labels), len(judged_only)
    mean_label, mean_both, mean_rest = (math.fsum(each) / len(each) for each in (labels, judged, judged_only))
    shared = math.fsum((y - mean_label) * (f - mean_both) for y, f in zip(labels, judged, strict=True)) / n
    weight = _weight(shared, _variance([*judged, *judged_only]), n, rest)
    estimate = mean_label + weight * (mean_rest - mean_both)
    return _Powered(estimate, weight, weight**2 * _variance(judged_only) / rest)


def _weight(shared: float, spread: float, n: int, rest: int) -> float:
    return 0.0 if spread <= 0 else max(0.0, min(1.0, shared / ((1 + n / rest) * spread)))


def _leaving_one_out(labels: Values, judged: Values, judged_only: Values) -> list[float]:
    """The estimate without each of the labels, from sums that are taken once."""
    n, rest = len(labels), len(judged_only)
    middle_y, middle_f = math.fsum(labels) / n, math.fsum([*judged, *judged_only]) / (n + rest)
    # Around the middle, the sums of squares lose no digits to large means.
    ys, fs = [y - middle_y for y in labels], [f - middle_f for f in judged]
    others = [f - middle_f for f in judged_only]
    sum_y, sum_f, sum_yf = math.fsum(ys), math.fsum(fs), math.fsum(y * f for y, f in zip(ys, fs, strict=True))
    sum_all = sum_f + math.fsum(others)
    squares = math.fsum(f * f for f in (*fs, *others))
    mean_rest, found = math.fsum(others) / rest, []
    for y, f in zip(ys, fs, strict=True):
        mean_label, mean_both = (sum_y - y) / (n - 1), (sum_f - f) / (n - 1)
        shared = (sum_yf - y * f) / (n - 1) - mean_label * mean_both
        everyone = n - 1 + rest
        spread = (squares - f * f - (sum_all - f) ** 2 / everyone) / (everyone - 1)
        weight = _weight(shared, spread, n - 1, rest)
        found.append(middle_y + mean_label + weight * (mean_rest - mean_both))
    return found


def _variance(values: Values) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
