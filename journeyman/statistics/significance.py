"""Is there a difference at all? P-values for paired outcomes, and what remains of many of them."""

import math
from collections.abc import Sequence

from journeyman.errors import InvalidInput


def mcnemar(fixed: int, broken: int, *, exact: bool = False) -> float:
    """Two-sided p-value that cases are fixed as often as they are broken; by default the mid-p version.

    The mid-p test keeps its level and is stronger than the exact one: M. W. Fagerland, S. Lydersen and P. Laake (2013),
    BMC Medical Research Methodology 13:91.
    """
    if min(fixed, broken) < 0:
        raise InvalidInput(f"counts are not negative: {fixed} fixed, {broken} broken")
    total, fewer = fixed + broken, min(fixed, broken)
    if total == 0:
        return 1.0
    tail: float = sum(math.comb(total, k) for k in range(fewer + 1)) / 2**total
    at: float = math.comb(total, fewer) / 2**total
    if exact:
        return min(1.0, 2 * tail)
    # With as many fixed as broken the two halves of the middle are counted once each.
    return 1 - at if fixed == broken else 2 * tail - at


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Each p-value adjusted for their number: those ≤ q are false discoveries in a share of q at most.

    Y. Benjamini and Y. Hochberg (1995), Journal of the Royal Statistical Society B 57:289–300.
    """
    if any(not 0 <= p <= 1 for p in p_values):
        raise InvalidInput("a p-value lies between 0 and 1")
    order = sorted(range(len(p_values)), key=lambda at: p_values[at], reverse=True)
    adjusted, least = [1.0] * len(p_values), 1.0
    for rank, at in zip(range(len(p_values), 0, -1), order, strict=True):
        least = min(least, p_values[at] * len(p_values) / rank)
        adjusted[at] = least
    return adjusted
