"""How far raters agree beyond chance: a judge with people, or people among themselves."""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from itertools import permutations
from typing import Any

from journeyman.errors import InvalidInput


def cohens_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """Agreement of two raters beyond what their habits alone would give; 1 is complete, 0 is chance.

    J. Cohen (1960), Educational and Psychological Measurement 20:37–46.
    """
    if len(first) != len(second) or not first:
        raise InvalidInput(f"needs two ratings of the same cases, not {len(first)} and {len(second)}")
    total = len(first)
    seen = sum(one == other for one, other in zip(first, second, strict=True)) / total
    counts, others = Counter(first), Counter(second)
    expected = sum(counts[label] * others[label] for label in counts) / total**2
    return 1.0 if expected == 1 else (seen - expected) / (1 - expected)


def krippendorffs_alpha(
    cases: Sequence[Sequence[float | str | None]], distance: Callable[[float, float], float] | None = None
) -> float:
    """Agreement of any number of raters, who may leave cases out (None): 1 is complete, 0 is chance.

    `cases` holds the ratings of each case; `distance` compares two of them: `squared` for numbers, by default the
    same or not. K. Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability".
    """
    apart: Callable[[Any, Any], float] = distance or _differ
    rated = [[value for value in case if value is not None] for case in cases]
    rated = [case for case in rated if len(case) > 1]
    values = [value for case in rated for value in case]
    if len(values) < 2:
        raise InvalidInput("agreement needs at least one case that two raters rated")
    seen = sum(
        sum(apart(one, other) for one, other in permutations(case, 2)) / (len(case) - 1) for case in rated
    ) / len(values)
    counts = Counter(values)
    expected = sum(counts[one] * counts[other] * apart(one, other) for one in counts for other in counts) / (
        len(values) * (len(values) - 1)
    )
    return 1.0 if expected == 0 else 1 - seen / expected


def _differ(one: object, other: object) -> float:
    return float(one != other)


def squared(one: float, other: float) -> float:
    """The distance of numbers in `krippendorffs_alpha`."""
    return (one - other) ** 2
