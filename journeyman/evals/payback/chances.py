"""The same plan many times over, with numbers drawn from their ranges: how likely it pays, and what decides it."""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from journeyman.errors import InvalidInput
from journeyman.evals.payback.model import Plan, break_even_calls, payback_months
from journeyman.evals.payback.ranges import Range
from journeyman.statistics import quantile

BOUNDS: dict[str, tuple[float, float]] = {
    "gap": (-1.0, 1.0),
    "fallback": (0.0, 1.0),
    "price_fall": (0.0, 0.99),
    "latency_gain": (-math.inf, math.inf),
}
"""What a number can be; those that are not named are 0 or more."""
ABOVE_ZERO = ("calls", "calls_per_conversation", "peak", "calls_per_gpu_hour")
LOW, HIGH = 0.05, 0.95


@dataclass(frozen=True, slots=True)
class Spread:
    """The 5%, 50% and 95% quantiles of what came out."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True, slots=True)
class Influence:
    """How the gain moves when one number goes from its 5% to its 95% quantile and the others stay as likely."""

    name: str
    at_low: float
    at_high: float

    @property
    def swing(self) -> float:
        """The distance between the two gains, in US dollars."""
        return abs(self.at_high - self.at_low)


@dataclass(frozen=True, slots=True)
class Chances:
    """`pays` is the share of the draws that leave a gain within the plan's months."""

    pays: float
    gain: Spread
    months: Spread
    break_even: Spread
    draws: int
    seed: int


def likely_plan(ranges: Mapping[str, Range], months: int) -> Plan:
    """The plan with every number at its likely value; InvalidInput names a number that cannot be."""
    known = {field.name for field in fields(Plan)} - {"months"}
    for name, each in ranges.items():
        if name not in known:
            raise InvalidInput(f"a plan has no number called {name}; it has {', '.join(sorted(known))}")
        least, most = BOUNDS.get(name, (0.0, math.inf))
        inside = least <= each.likely <= most and (each.shape == "normal" or least <= each.low <= each.high <= most)
        if not inside or (name in ABOVE_ZERO and each.low <= 0):
            wanted = "above 0" if name in ABOVE_ZERO else f"from {least:g} to {most:g}"
            raise InvalidInput(f"{name.replace('_', ' ')} is {each.low:g} to {each.high:g}; it must be {wanted}")
    if not 1 <= months <= 120:
        raise InvalidInput(f"a plan looks 1 to 120 months ahead, not {months}")
    return Plan(**{name: each.likely for name, each in ranges.items()}, months=months)


def simulate(ranges: Mapping[str, Range], months: int, draws: int = 5000, seed: int = 0) -> Chances:
    """Draw every number from its range, each on its own, `draws` times. The same seed draws the same."""
    if draws < 100:
        raise InvalidInput(f"{draws} draws say little; take 100 or more")
    generator = random.Random(seed)
    plan = likely_plan(ranges, months)
    unknown = {name: each for name, each in ranges.items() if each.shape != "fixed"}
    gains, paybacks, volumes = [], [], []
    for _ in range(draws if unknown else 1):
        once = _with(plan, {name: each.quantile(_inside(generator)) for name, each in unknown.items()})
        gains.append(once.gain())
        paybacks.append(payback_months(once))
        volumes.append(break_even_calls(once))
    return Chances(
        pays=sum(gain >= 0 for gain in gains) / len(gains),
        gain=_spread(gains),
        months=_spread(paybacks),
        break_even=_spread(volumes),
        draws=draws,
        seed=seed,
    )


def tornado(ranges: Mapping[str, Range], months: int) -> list[Influence]:
    """Every number that is not certain, the one that moves the gain most first."""
    plan = likely_plan(ranges, months)
    moved = []
    for name, each in ranges.items():
        if each.shape != "fixed":
            ends = [_with(plan, {name: each.quantile(share)}).gain() for share in (LOW, HIGH)]
            moved.append(Influence(name, *ends))
    return sorted(moved, key=lambda influence: influence.swing, reverse=True)


def _inside(generator: random.Random) -> float:
    """A uniform draw that is neither 0 nor 1, where a quantile may be infinite."""
    return min(max(generator.random(), 1e-12), 1 - 1e-12)


def _with(plan: Plan, drawn: Mapping[str, float]) -> Plan:
    numbers: dict[str, Any] = {name: _clipped(name, value) for name, value in drawn.items()}
    return replace(plan, **numbers)


def _clipped(name: str, value: float) -> float:
    least, most = BOUNDS.get(name, (0.0, math.inf))
    return min(max(value, least), most)


def _spread(values: list[float]) -> Spread:
    """Quantiles as elsewhere, but where one lies between a number and never, it is never."""
    low, middle, high = (_quantile(values, share) for share in (LOW, 0.5, HIGH))
    return Spread(low, middle, high)


def _quantile(values: list[float], share: float) -> float:
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) == len(values):
        return quantile(values, share)
    place = math.ceil(share * (len(values) - 1))
    return sorted(finite)[place] if place < len(finite) else math.inf
