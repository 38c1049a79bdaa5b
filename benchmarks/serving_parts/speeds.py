"""How fast a batch was, worked out from when its tokens came: the same for every engine. Standard library only."""

import random
from collections.abc import Sequence
from typing import Any

VOCABULARY = range(100, 49_000)
"""Ids that random prompts are made of."""


def random_prompts(batch: int, tokens: int, seed: str) -> list[list[int]]:
    """Prompts of random ids; another seed gives others, so that no cache of prefixes helps."""
    draw = random.Random(seed)
    return [[draw.choice(VOCABULARY) for _ in range(tokens)] for _ in range(batch)]


def speed(case: dict[str, Any], spent: dict[str, Any], tokens: int, decoding: float | None) -> dict[str, Any]:
    """A measured case: `spent` is a closed window, `decoding` the tokens per second without the prompts' time."""
    return {**case, **spent, "tokens": tokens, "tokens_per_second": tokens / spent["wall"], "decoding": decoding}


def decoding_speed(times: Sequence[Sequence[float]]) -> float | None:
    """Tokens per second once every row has its first token; `times` are when each row's tokens came."""
    begun, ended = max(row[0] for row in times), max(row[-1] for row in times)
    after = sum(time > begun for row in times for time in row)
    return after / (ended - begun) if ended > begun else None
