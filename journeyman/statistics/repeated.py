"""Success within several attempts at the same case: pass@k (at least one of k) and pass^k (all of k)."""

import math
from collections.abc import Sequence

from journeyman.errors import InvalidInput
from journeyman.records import Interval
from journeyman.statistics.shares import mean_share

Attempts = Sequence[tuple[int, int]]
"""(successes, attempts) of each case."""


def pass_at_k(cases: Attempts, k: int) -> Interval:
    """The chance that at least one of `k` attempts at a case succeeds, averaged over cases.

    Unbiased for each case: 1 − C(n − c, k) / C(n, k). M. Chen et al. (2021), arXiv 2107.03374.
    """
    _check(cases, k)
    return mean_share([1 - math.comb(n - c, k) / math.comb(n, k) for c, n in cases])


def pass_power_k(cases: Attempts, k: int) -> Interval:
    """The chance that all of `k` attempts at a case succeed, averaged over cases.

    Unbiased for each case: C(c, k) / C(n, k). S. Yao et al. (2024), arXiv 2406.12045.
    """
    _check(cases, k)
    return mean_share([math.comb(c, k) / math.comb(n, k) for c, n in cases])


def rule_of_three(attempts: int, confidence: float = 0.95) -> float:
    """The highest failure rate that is compatible with no failure in so many attempts: about 3 / n at 95%.

    Exact: 1 − (1 − confidence)^(1/n). J. A. Hanley and A. Lippman-Hand (1983), JAMA 249:1743–1745.
    """
    if attempts < 1:
        raise InvalidInput("a bound needs at least one attempt")
    return float(1 - (1 - confidence) ** (1 / attempts))


def _check(cases: Attempts, k: int) -> None:
    if k < 1 or not cases:
        raise InvalidInput(f"success in k attempts needs k ≥ 1 and at least one case, not k = {k} and {len(cases)}")
    for successes, attempts in cases:
        if not 0 <= successes <= attempts or attempts < k:
            raise InvalidInput(f"a case has {successes} successes in {attempts} attempts; it takes at least k = {k}")
