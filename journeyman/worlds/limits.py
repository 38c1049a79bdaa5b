"""Limits on totals: what is there and what a call would add, beyond which a tool refuses."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from journeyman.worlds.expressions import Expression, Scene, Unknown, evaluate

_MOST = 1e15
"""Sums beyond it, and what is no number at all, are no amounts of anything."""


def of_limits(
    cell: Expression, names: Sequence[str], scenes: Sequence[Scene], refused: Sequence[bool]
) -> Iterator[Expression]:
    """For each argument: that the cell and it come to more than a limit, where that tells refusals apart."""
    for name in names:
        total: Expression = ["sum", cell, ["arg", name], 1]
        found = [
            (value, is_refused)
            for scene, is_refused in zip(scenes, refused, strict=True)
            if (value := _number(total, scene)) is not None
        ]
        limit = limit_of(found)
        if limit is not None:
            yield ["less", ["const", limit], total]


def limit_of(found: Sequence[tuple[float, bool]]) -> float | None:
    """The limit above which refusals are told apart best (Gini); None where no limit tells any.

    Anywhere between the last value below it and the first above it is as good for these calls. Limits are round, so
    the roundest number there is taken.
    """
    values = sorted(found)
    above = sum(is_refused for _, is_refused in values)
    below, best, least = 0, None, _mixed(above, len(values)) - 1e-9
    for place, ((value, is_refused), (after, _)) in enumerate(pairwise(values), 1):
        below += is_refused
        if value == after:
            continue
        mixed = _mixed(below, place) + _mixed(above - below, len(values) - place)
        if mixed < least and below * (len(values) - place) < (above - below) * place:
            best, least = (value, after), mixed
    return None if best is None else roundest(*best)


def roundest(least: float, less: float) -> float:
    """The number from `least` up to, but not, `less` with the fewest digits."""
    power = math.floor(math.log10(max(abs(least), abs(less), 1e-9)))
    for exponent in range(power + 1, power - 12, -1):
        number = float(f"{math.ceil(float(f'{least / 10.0**exponent:.9f}')) * 10.0**exponent:.12g}")
        if least <= number < less:
            return int(number) if number.is_integer() else number
    return least


def _number(expression: Expression, scene: Scene) -> float | None:
    try:
        value = evaluate(expression, scene)
    except Unknown:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and -_MOST < value < _MOST else None


def _mixed(refused: int, total: int) -> float:
    return 2 * refused * (total - refused) / total if total else 0.0
