"""Draws scenarios: a seed, a split and a number always give the same one, and the two splits share nothing."""

import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from journeyman.errors import InvalidInput
from journeyman.records import Scenario

SPLITS = ("train", "held-out")
Thing = TypeVar("Thing")


class Drawn(NamedTuple):
    """What is in a scenario: its kind, for slices, and its data."""

    kind: str
    data: Mapping[str, Any]


def draw_scenarios(
    suite: str, split: str, count: int, seed: int, draw: Callable[[random.Random, int], Drawn]
) -> list[Scenario]:
    """The first `count` of a split and a seed; `draw` gets random numbers of its own for each, and its number."""
    require_split(split)
    if count < 1:
        raise InvalidInput(f"{count} scenarios were asked for; ask for at least 1")
    made = []
    for number in range(count):
        kind, data = draw(random.Random(f"{suite}/{split}/{seed}/{number}"), number)
        made.append(
            Scenario(
                id=f"{suite}-{split}-{seed}-{number}",
                # A scenario is a value of its seed: were the clock in it, the same seed would not give the same one.
                at=datetime(2026, 1, 1, tzinfo=UTC),
                environment=suite,
                kind=kind,
                data=dict(data),
            )
        )
    return made


def digest(of: object) -> str:
    """12 hex digits that tell things apart by what is in them."""
    return hashlib.sha256(json.dumps(of, sort_keys=True, default=str).encode()).hexdigest()[:12]


def share(things: Sequence[Thing], split: str) -> list[Thing]:
    """The things that a split may use: every fourth is kept for held-out scenarios."""
    return [thing for place, thing in enumerate(things) if (place % 4 == 3) == (split == "held-out")]


def require_suite(scenario: Scenario, suite: str) -> None:
    """InvalidInput for a scenario of another suite."""
    if scenario.environment != suite:
        raise InvalidInput(f"scenario {scenario.id} belongs to {scenario.environment!r}, not to {suite!r}")


def require_split(split: str) -> None:
    """InvalidInput for a split that there is not."""
    if split not in SPLITS:
        raise InvalidInput(f"no split named {split!r}; use {' or '.join(SPLITS)}")
