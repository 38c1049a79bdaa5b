"""What a reward means: from a model's numbers to probabilities or scores, fitted on rows it did not learn from."""

import math
from bisect import bisect_right
from collections.abc import Sequence

from journeyman.errors import InvalidInput
from journeyman.records import Frozen

_STEPS = 100
_ENOUGH = 1e-12


class Platt(Frozen):
    """P(x) = 1 / (1 + exp(−(slope·x + shift))) (Platt, 1999)."""

    slope: float
    shift: float

    def __call__(self, value: float) -> float:
        """The probability of a value."""
        return _sigmoid(self.slope * value + self.shift)


class Isotonic(Frozen):
    """A rising step function: from `bounds[i]` on it is `levels[i]`, before the first bound `levels[0]`."""

    bounds: tuple[float, ...]
    levels: tuple[float, ...]

    def __call__(self, value: float) -> float:
        """The level of a value."""
        return self.levels[max(bisect_right(self.bounds, value) - 1, 0)]


def fit_platt(values: Sequence[float], labels: Sequence[bool], *, shifted: bool = True) -> Platt:
    """The logistic curve of greatest likelihood, by Newton's method, with Platt's smoothed targets (N + 1)/(N + 2).

    Smoothing keeps the slope finite where the values separate the labels. Without `shifted` the curve goes through ½
    at 0: for differences of rewards, of which each could as well be taken the other way around.
    """
    _check(values, labels)
    good = sum(labels)
    bad = len(labels) - good
    targets = [(good + 1) / (good + 2) if label else 1 / (bad + 2) for label in labels]
    slope, shift = 0.0, math.log((good + 1) / (bad + 1)) if shifted else 0.0
    loss = _cross_entropy(values, targets, slope, shift)
    for _ in range(_STEPS):
        steps = _newton_step(values, targets, slope, shift, shifted)
        scale = 1.0
        while True:
            tried = slope - scale * steps[0], shift - scale * steps[1]
            found = _cross_entropy(values, targets, *tried)
            if found <= loss or scale < _ENOUGH:
                break
            scale /= 2
        gained, loss, (slope, shift) = loss - found, found, tried
        if gained < _ENOUGH:
            break
    return Platt(slope=slope, shift=shift)


def fit_isotonic(values: Sequence[float], targets: Sequence[float]) -> Isotonic:
    """The rising step function of least squares, by pooling adjacent violators (Ayer et al., 1955)."""
    _check(values, targets)
    equal: dict[float, list[float]] = {}
    for value, target in zip(values, targets, strict=True):
        equal.setdefault(value, []).append(target)
    blocks: list[tuple[float, float, int]] = []  # Where it begins, the sum of its targets, and how many they are.
    for value, found in sorted(equal.items()):
        blocks.append((value, math.fsum(found), len(found)))
        while len(blocks) > 1 and blocks[-2][1] * blocks[-1][2] >= blocks[-1][1] * blocks[-2][2]:
            _, total, count = blocks.pop()
            bound, before, others = blocks.pop()
            blocks.append((bound, before + total, others + count))
    return Isotonic(bounds=tuple(block[0] for block in blocks), levels=tuple(block[1] / block[2] for block in blocks))


def _newton_step(
    values: Sequence[float], targets: Sequence[float], slope: float, shift: float, shifted: bool
) -> tuple[float, float]:
    first = [0.0, 0.0]
    second = [1e-12, 0.0, 1e-12]
    for value, target in zip(values, targets, strict=True):
        found = _sigmoid(slope * value + shift)
        error, spread = found - target, found * (1 - found)
        first[0] += error * value
        first[1] += error
        second[0] += spread * value * value
        second[1] += spread * value
        second[2] += spread
    if not shifted:
        return first[0] / second[0], 0.0
    determinant = second[0] * second[2] - second[1] ** 2
    if determinant <= 0:
        return 0.0, first[1] / second[2]
    return (
        (second[2] * first[0] - second[1] * first[1]) / determinant,
        (second[0] * first[1] - second[1] * first[0]) / determinant,
    )


def _cross_entropy(values: Sequence[float], targets: Sequence[float], slope: float, shift: float) -> float:
    total = 0.0
    for value, target in zip(values, targets, strict=True):
        at = slope * value + shift
        total += max(at, 0.0) - at * target + math.log1p(math.exp(-abs(at)))
    return total


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))


def _check(values: Sequence[float], others: Sequence[float]) -> None:
    if not values or len(values) != len(others):
        raise InvalidInput(
            f"{len(values)} values and {len(others)} labels: a calibration needs as many of each, and some"
        )
    if not all(math.isfinite(value) for value in (*values, *others)):
        raise InvalidInput("a value to calibrate is not a finite number; nothing was fitted")
