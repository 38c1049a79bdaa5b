"""Numbers that nobody knows exactly: a likely value and how far it may be off."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from journeyman.errors import InvalidInput
from journeyman.records import Interval

Shape = Literal["fixed", "triangular", "lognormal", "normal"]
_STANDARD = NormalDist()
Z90, Z95 = _STANDARD.inv_cdf(0.95), _STANDARD.inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Range:
    """A value and its spread. `source` says where it is from: measured, given, or assumed.

    Triangular: from `low` to `high`, most often `likely`. Lognormal: 90% of it lies between `low` and `high`, and
    `likely` is its median. Normal: its 95% interval is `low` to `high`; where that is lopsided, each side has its own
    width.
    """

    likely: float
    low: float
    high: float
    shape: Shape = "fixed"
    source: str = "given"

    def quantile(self, share: float) -> float:
        """The value below which `share` of the distribution lies; 0 < share < 1 but for the bounded shapes."""
        if self.shape == "fixed":
            return self.likely
        if self.shape == "triangular":
            return self._triangular(share)
        z = _STANDARD.inv_cdf(share)
        if self.shape == "lognormal":
            width = (math.log(self.high) - math.log(self.low)) / (2 * Z90)
            return self.likely * math.exp(z * width)
        side = self.high - self.likely if z > 0 else self.likely - self.low
        return self.likely + z * side / Z95

    def _triangular(self, share: float) -> float:
        whole, rising = self.high - self.low, self.likely - self.low
        if share * whole < rising:
            return self.low + math.sqrt(share * whole * rising)
        return self.high - math.sqrt((1 - share) * whole * (self.high - self.likely))


def fixed(value: float, source: str = "given") -> Range:
    """A number that is taken as known."""
    return Range(value, value, value, "fixed", source)


def triangular(low: float, likely: float, high: float, source: str = "given") -> Range:
    """Somewhere from `low` to `high`; InvalidInput when `likely` is not between them."""
    if not (math.isfinite(low) and math.isfinite(high) and low <= likely <= high):
        raise InvalidInput(f"a range is LOW:LIKELY:HIGH in this order, not {low:g}:{likely:g}:{high:g}")
    return fixed(low, source) if low == high else Range(likely, low, high, "triangular", source)


def lognormal(low: float, high: float, source: str = "given") -> Range:
    """Nine times of ten from `low` to `high`, and skewed upwards; both must be above 0."""
    if not (0 < low <= high < math.inf):
        raise InvalidInput(f"a lognormal range is LOW~HIGH with 0 < LOW ≤ HIGH, not {low:g}~{high:g}")
    return fixed(low, source) if low == high else Range(math.sqrt(low * high), low, high, "lognormal", source)


def measured(interval: Interval) -> Range:
    """An estimate with its 95% interval, as our statistics give it."""
    return Range(interval.estimate, interval.low, interval.high, "normal", "measured")


def read_range(text: str, what: str) -> Range:
    """A range as people write it: `500`, `LOW:LIKELY:HIGH` (triangular) or `LOW~HIGH` (lognormal, 90% of it inside)."""
    try:
        if "~" in text:
            low, high = (float(part) for part in text.split("~"))
            return lognormal(low, high)
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        parts = []
    if len(parts) == 1 and math.isfinite(parts[0]):
        return fixed(parts[0])
    if len(parts) == 3:
        return triangular(parts[0], parts[1], parts[2])
    raise InvalidInput(f"{what}: {text!r} is no number and no range; write 500, 300:500:900 or 300~900")
