"""How something moved over the steps of a run, with an interval."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from journeyman.records import Interval
from journeyman.statistics.normal import students_quantile


class Rise(NamedTuple):
    """The change of a fitted line over so many steps, its standard error, and the degrees of freedom."""

    change: float
    error: float
    freedom: int

    def interval(self, level: float = 0.05) -> Interval:
        """Between these ends the true change lies, but for a chance of `level`, shared by both sides."""
        if self.freedom < 1:
            return Interval(estimate=self.change, low=-math.inf, high=math.inf)
        half = students_quantile(1 - level / 2, self.freedom) * self.error
        return Interval(estimate=self.change, low=self.change - half, high=self.change + half)

    def beyond(self, other: "Rise") -> "Rise":
        """How much more this rose than the other did; degrees of freedom by Welch and Satterthwaite."""
        ours, theirs = self.error**2, other.error**2
        both = ours + theirs
        if self.freedom < 1 or other.freedom < 1:
            freedom = 0
        elif both == 0:
            freedom = self.freedom + other.freedom
        else:
            freedom = math.floor(both**2 / (ours**2 / self.freedom + theirs**2 / other.freedom))
        return Rise(self.change - other.change, math.sqrt(both), freedom)


def rise(points: Sequence[tuple[float, float]], span: float) -> Rise:
    """The change over `span` of the least-squares line through (step, value); of no freedom below three points, or
    where all are of one step."""
    count = len(points)
    if count < 3 or len({at for at, _ in points}) < 2:
        return Rise(0.0, math.inf, 0)
    middle = sum(at for at, _ in points) / count
    mean = sum(value for _, value in points) / count
    spread = sum((at - middle) ** 2 for at, _ in points)
    slope = sum((at - middle) * (value - mean) for at, value in points) / spread
    rest = sum((value - mean - slope * (at - middle)) ** 2 for at, value in points)
    return Rise(slope * span, span * math.sqrt(rest / (count - 2) / spread), count - 2)
