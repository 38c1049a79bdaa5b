"""What share of one gain another gain is, over seeds."""

import math
from collections.abc import Sequence
from statistics import fmean, variance

from journeyman.records import Interval
from journeyman.statistics.normal import students_quantile


def share_of(gains: Sequence[float], of: Sequence[float]) -> Interval:
    """Σ gains / Σ of, paired by seed, with Student's 95% interval of the ratio of two means.

    The standard error is that of the ratio estimator: W. G. Cochran (1977), Sampling Techniques, section 2.11.
    """
    count, mean = len(gains), fmean(of)
    share = fmean(gains) / mean
    if count < 2:
        return Interval(estimate=share, low=-math.inf, high=math.inf)
    rest = [gain - share * whole for gain, whole in zip(gains, of, strict=True)]
    # The residuals have mean 0 by construction.
    error = math.sqrt(variance(rest, 0.0) / count) / abs(mean)
    half = students_quantile(0.975, count - 1) * error
    return Interval(estimate=share, low=share - half, high=share + half)
