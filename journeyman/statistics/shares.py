"""Intervals for shares that are no plain count of independent cases: averages of shares, and corrected ones.

Wilson's interval, at the number of cases that would be as sure (the effective sample size of survey statistics). It
stays between 0 and 1 and does not collapse where all cases agree. N. Dean and M. Pagano (2015), "Evaluating Confidence
Interval Methods for Binomial Proportions in Clustered Surveys", Journal of Survey Statistics and Methodology 3:484–503.
"""

import math
from collections.abc import Sequence

from journeyman.errors import InvalidInput
from journeyman.records import Interval
from journeyman.statistics.normal import normal_quantile


def mean_share(values: Sequence[float], *, level: float = 0.05) -> Interval:
    """The mean of independent shares, such as the success rates of cases that were tried several times.

    The variance counts a quarter of a case at 0 and one at 1 beside those that were seen: that all cases agree does
    not show that all would.
    """
    if not values or any(not 0 <= value <= 1 for value in values):
        raise InvalidInput("the mean of shares needs at least one value, and all of them between 0 and 1")
    total, part = math.fsum(values), 0.25
    variance = variance_with_doubt(values, (0.0, 1.0), part) / len(values)
    # The share with the same doubt in it: plain successes and failures then count as the cases that they are.
    doubtful = (total + part) / (len(values) + 2 * part)
    return _wilson(total / len(values), doubtful * (1 - doubtful) / variance, level)


def score_interval(share: float, variance: float, cases: int, *, level: float = 0.05) -> Interval:
    """Wilson's interval around a share from `cases` cases whose `variance` (of the estimate itself) is known."""
    inside = min(1 - 0.5 / cases, max(0.5 / cases, share))  # a variance at 0% or 100% says nothing of what is near
    return _wilson(min(1.0, max(0.0, share)), inside * (1 - inside) / variance, level)


def _wilson(share: float, effective: float, level: float) -> Interval:
    """Around a share of so many cases, a number that need not be whole."""
    z2 = normal_quantile(1 - level / 2) ** 2
    centre = (share + z2 / (2 * effective)) / (1 + z2 / effective)
    half = math.sqrt(z2 * (share * (1 - share) / effective + z2 / (4 * effective**2))) / (1 + z2 / effective)
    return Interval(estimate=share, low=max(0.0, min(share, centre - half)), high=min(1.0, max(share, centre + half)))


def variance_with_doubt(values: Sequence[float], doubts: Sequence[float], part: float) -> float:
    """The variance of the values, with each of the `doubts` beside them as such a part of a case.

    How large a part is needed was found by coverage: `docs/decisions/0015-few-labels.md`.
    """
    count = len(values) + part * len(doubts)
    middle = (math.fsum(values) + math.fsum(doubts) * part) / count
    around = math.fsum((value - middle) ** 2 for value in values)
    return (around + part * math.fsum((value - middle) ** 2 for value in doubts)) / (count - 1)
