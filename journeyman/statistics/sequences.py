"""Intervals that may be looked at after every case: the truth stays inside all of them together, 95 times of 100.

Dashboards are peeked at. An ordinary interval that is looked at again and again excludes the truth in the end.
"""

import math
from collections.abc import Iterable

from journeyman.errors import InvalidInput
from journeyman.records import Interval, ModelReport, PairedDifference
from journeyman.statistics.intervals import compare

_POINTS = 400
"""Candidate means of the betting sequence; its edges are exact to half a step."""


class AsymptoticSequence:
    """For many observations of any kind, such as paired differences: narrow, valid from some fifty cases on.

    I. Waudby-Smith, D. Arbour, R. Sinha, E. H. Kennedy and A. Ramdas (2024), Annals of Statistics 52:2613–2640,
    proposition 2.5. `tuned_for` is the number of cases at which it is narrowest.
    """

    def __init__(self, *, level: float = 0.05, tuned_for: int = 100) -> None:
        if not 0 < level < 1 or tuned_for < 1:
            raise InvalidInput(f"a level lies between 0 and 1, and a number of cases is positive: {level}, {tuned_for}")
        self._level = level
        gain = -2 * math.log(level) + math.log(-2 * math.log(level)) + 1
        self._rho2 = gain / tuned_for
        self._count, self._mean, self._squares = 0, 0.0, 0.0

    def add(self, value: float) -> None:
        """One more observation."""
        self._count += 1
        change = value - self._mean
        self._mean += change / self._count
        self._squares += change * (value - self._mean)

    def add_all(self, values: Iterable[float]) -> "AsymptoticSequence":
        """More observations, in order; itself."""
        for value in values:
            self.add(value)
        return self

    @property
    def interval(self) -> Interval:
        """The interval now; without bounds before the second observation."""
        if self._count < 2:
            return Interval(estimate=self._mean, low=-math.inf, high=math.inf)
        n, variance = self._count, self._squares / self._count
        scale = n * variance * self._rho2 + 1
        half = math.sqrt(scale / (n**2 * self._rho2) * math.log(scale / self._level**2))
        return Interval(estimate=self._mean, low=self._mean - half, high=self._mean + half)


class BettingSequence:
    """For values between two bounds, valid from the first observation on, however few there are.

    Capital that is bet against a candidate mean grows where the candidate is wrong; those against which it has grown
    twentyfold are out. The hedged capital process with the predictable plug-in bets of I. Waudby-Smith and A. Ramdas
    (2024), Journal of the Royal Statistical Society B 86:1–27, section 4.
    """

    def __init__(self, low: float = 0.0, high: float = 1.0, *, level: float = 0.05) -> None:
        if not low < high or not 0 < level < 1:
            raise InvalidInput(f"needs low < high and a level between 0 and 1, not {low}, {high} and {level}")
        self._low, self._width, self._level = low, high - low, level
        self._candidates = [number / _POINTS for number in range(_POINTS + 1)]
        self._up = [0.0] * (_POINTS + 1)
        self._down = [0.0] * (_POINTS + 1)
        self._out = [False] * (_POINTS + 1)
        self._count, self._sum, self._squares = 0, 0.5, 0.25

    def add(self, value: float) -> None:
        """One more observation, within the bounds."""
        x = (value - self._low) / self._width
        if not 0 <= x <= 1:
            raise InvalidInput(f"{value} is outside of {self._low} … {self._low + self._width}")
        n = self._count + 1
        bet = math.sqrt(2 * math.log(2 / self._level) / (self._squares / n * n * math.log(n + 1)))
        barrier = math.log(1 / self._level)
        for at, candidate in enumerate(self._candidates):
            if self._out[at]:
                continue
            up = min(bet, 0.5 / candidate if candidate else math.inf)
            down = min(bet, 0.5 / (1 - candidate) if candidate < 1 else math.inf)
            self._up[at] += math.log1p(up * (x - candidate))
            self._down[at] += math.log1p(-down * (x - candidate))
            # Half of the capital on each side.
            capital = max(self._up[at], self._down[at]) + math.log(0.5)
            self._out[at] = capital >= barrier
        self._count = n
        self._sum += x
        mean = self._sum / (n + 1)
        self._squares += (x - mean) ** 2

    def add_all(self, values: Iterable[float]) -> "BettingSequence":
        """More observations, in order; itself."""
        for value in values:
            self.add(value)
        return self

    @property
    def interval(self) -> Interval:
        """The interval now."""
        inside = [at for at, out in enumerate(self._out) if not out]
        mean = (self._sum - 0.5) / self._count if self._count else 0.5
        if not inside:
            return self._scaled(mean, mean, mean)
        step = 1 / _POINTS
        low, high = max(inside[0] * step - step / 2, 0.0), min(inside[-1] * step + step / 2, 1.0)
        return self._scaled(mean, min(low, mean), max(high, mean))

    def _scaled(self, mean: float, low: float, high: float) -> Interval:
        return Interval(**{
            name: self._low + self._width * value for name, value in (("estimate", mean), ("low", low), ("high", high))
        })  # fmt: skip


class PairedSequence:
    """For paired differences in [−1, 1], such as win − loss: narrow for many cases, and valid from the first on.

    Before the fiftieth case it is a betting sequence, then an asymptotic one; a fifth of the doubt is spent on the
    first and the rest on the second, so that both together keep the level.
    """

    _SWITCH = 50

    def __init__(self, *, level: float = 0.05) -> None:
        self._early = BettingSequence(-1.0, 1.0, level=0.2 * level)
        self._late = AsymptoticSequence(level=0.8 * level)
        self._count = 0

    def add(self, difference: float) -> None:
        """One more case."""
        if not -1 <= difference <= 1:
            raise InvalidInput(f"a paired difference lies between −1 and 1, unlike {difference}")
        self._count += 1
        self._late.add(difference)
        if self._count < self._SWITCH:
            self._early.add(difference)

    def add_all(self, differences: Iterable[float]) -> "PairedSequence":
        """More cases, in order; itself."""
        for difference in differences:
            self.add(difference)
        return self

    @property
    def interval(self) -> Interval:
        """The interval now."""
        if self._count < self._SWITCH:
            return self._early.interval
        found = self._late.interval
        return Interval(estimate=found.estimate, low=max(-1.0, found.low), high=min(1.0, found.high))


def excludes_zero(interval: Interval) -> bool:
    """Whether it is known on which side of 0 the truth lies."""
    return not interval.low <= 0 <= interval.high


def compare_anytime(model: ModelReport, baseline: ModelReport) -> PairedDifference:
    """`compare`, for an evaluation that stopped when it knew; the cases are in the order in which they were met."""
    found = compare(model, baseline)
    before = {case.scenario_id: case.rate for case in baseline.cases}
    sequence = PairedSequence().add_all(case.rate - before[case.scenario_id] for case in model.cases)
    return found.model_copy(update={"difference": sequence.interval, "detectable": None, "anytime": True})
