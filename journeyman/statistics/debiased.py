"""A few labels by people correct many by a judge: prediction-powered inference."""

import math
from collections.abc import Sequence

from journeyman.errors import InvalidInput
from journeyman.records import Interval
from journeyman.statistics.normal import normal_quantile


def prediction_powered_mean(
    labels: Sequence[float], judged: Sequence[float], judged_only: Sequence[float], *, level: float = 0.05
) -> Interval:
    """The mean of what people would say, from their `labels`, the judge's on the same cases, and its on all others.

    As valid as from the labels alone, and never wider for long: the judge's weight is tuned (PPI++).
    A. N. Angelopoulos, J. C. Duchi and T. Zrnic (2023), arXiv 2311.01453; A. N. Angelopoulos et al. (2023), Science
    382:669–674. The plain mean of a judge's labels is biased by what the judge gets wrong.
    """
    n, rest = len(labels), len(judged_only)
    if n != len(judged) or n < 2 or rest < 2:
        raise InvalidInput(
            f"needs at least two cases with both labels and two judged alone; there are {n}, {len(judged)} and {rest}"
        )
    mean_label, mean_both, mean_rest = (math.fsum(each) / len(each) for each in (labels, judged, judged_only))
    shared = sum((y - mean_label) * (f - mean_both) for y, f in zip(labels, judged, strict=True)) / (n - 1)
    spread = _variance([*judged, *judged_only])
    weight = 0.0 if spread == 0 else max(0.0, min(1.0, shared / ((1 + n / rest) * spread)))
    corrected = [y - weight * f for y, f in zip(labels, judged, strict=True)]
    estimate = weight * mean_rest + math.fsum(corrected) / n
    half = normal_quantile(1 - level / 2) * math.sqrt(
        weight**2 * _variance(judged_only) / rest + _variance(corrected) / n
    )
    return Interval(estimate=estimate, low=estimate - half, high=estimate + half)


def _variance(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
