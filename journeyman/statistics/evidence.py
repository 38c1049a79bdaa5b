"""Evidence that may be looked at after every case: its chance of a false alarm holds for a run of any length."""

import math
from functools import lru_cache

from journeyman.errors import InvalidInput

_POINTS = 2000


@lru_cache(1 << 16)
def evidence_below(successes: int, total: int, share: float) -> float:
    """How strongly so many successes speak for a true share below `share`: an e-value.

    While the true share is `share` or more, whatever it is and however it changes from case to case, the chance that
    this ever reaches 1/α is at most α. It is the likelihood of the cases averaged over all lower shares, as likely as
    each other, over that of `share` itself: a non-negative supermartingale (Ville's inequality; A. Ramdas, P. Grünwald,
    V. Vovk and G. Shafer (2023), Statistical Science 38:576–601, section 3). InvalidInput for counts that are none.
    """
    if not 0 <= successes <= total or not 0 < share < 1:
        raise InvalidInput(f"{successes} of {total} is no count, or {share} no share between 0 and 1")
    failures = total - successes

    def ratio(lower: float) -> float:
        return math.exp(successes * math.log(lower / share) + failures * math.log((1 - lower) / (1 - share)))

    # The midpoint rule: the ends, where a logarithm may be infinite, are never touched.
    return sum(ratio(share * (at + 0.5) / _POINTS) for at in range(_POINTS)) / _POINTS
