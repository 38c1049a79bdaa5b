"""Whether a judge's words and its number say the same.

A grader whose text said "correct" while its number was 0 has been seen in the wild (inspect_evals, pull request 1362).
This finds only plain cases, words of full praise or of failure beside the opposite number; it counts them, it does not
correct them.
"""

import re

PRAISE = re.compile(
    r"\b(?:(?:fully|entirely|completely|perfectly) (?:correct|right|solves?|reaches|achieves|meets|answers)|perfect"
    r"|flawless|(?:is|was) (?:entirely |quite )?correct|(?:reaches|reached|achieves|achieved|meets|met) the goal"
    r"|solves? the task|no (?:errors|mistakes|faults))\b",
    re.IGNORECASE,
)
BLAME = re.compile(
    r"\b(?:(?:completely|entirely|totally) (?:wrong|fails|failed|incorrect)|incorrect|(?:is|was) wrong"
    r"|(?:fails|failed|unable|never manages) to|(?:does|did) not (?:reach|achieve|meet|solve|answer)"
    r"|useless|worthless|nonsense)\b",
    re.IGNORECASE,
)
_NEGATED = re.compile(
    r"\b(?:not|never|no|hardly|far from|n't|neither|nor|without|instead of)\W+(?:\w+\W+){0,2}\Z", re.I
)
LOW, HIGH = 0.3, 0.7
"""Praise beside a score below LOW, and blame beside one above HIGH, do not fit."""


def contradicts(reason: str, score: float) -> bool:
    """Whether a reason has only praise beside a low score from 0 to 1, or only blame beside a high one."""
    praised, blamed = _says(PRAISE, reason), _says(BLAME, reason)
    if praised == blamed:
        return False
    return score < LOW if praised else score > HIGH


def _says(words: re.Pattern[str], reason: str) -> bool:
    return any(not _NEGATED.search(reason[: found.start()]) for found in words.finditer(reason))
