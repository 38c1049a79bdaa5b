"""Episodes of real games by mixed policies: what a world is built from, and how each policy really does."""

import asyncio
from collections.abc import Iterator, Sequence

from journeyman.engines.scripted import ScriptedEngine
from journeyman.environments.adapters.textworld_express import TextWorldExpressSuite
from journeyman.environments.rollout import roll_out
from journeyman.records import Scenario, Trajectory
from sim_to_real_parts.players import player

CAPTURED = ("gold", "noisy-30", "noisy-60", "weak", "random")
"""Policies whose traces a world is built from: from expert's alone, nobody learns what mistakes lead to."""


EXPLORERS = ("noisy-60", "weak", "random")
"""Of these each goes another way: a small capture that is to train in. None of them knows the way to success."""


IN_PAIRS, UNSEEN = ("noisy-60", "weak"), "random"
"""Who is captured for a world that is trained in, at every scenario, and who only until the card can be measured."""
_FEWEST_CALLS = 20
"""A card takes a policy with fewer calls for none of its own, and holds out one with more: see `worlds.making`."""


def captured_in_pairs(suite: TextWorldExpressSuite, scenarios: int, seed: int) -> Iterator[Trajectory]:
    """Each scenario attempted by two policies, which a world is built of, and the first ones by one that is held out.

    All calls of the policy that is held out are lost to the world: it has no more of them than the card needs.
    """
    held_out = 0
    for scenario in suite.scenarios("train", scenarios, seed):
        for name in (*IN_PAIRS, UNSEEN) if held_out < _FEWEST_CALLS else IN_PAIRS:
            each = attempt(suite, scenario, name, seed)
            if each is not None:
                held_out += each.turns if name == UNSEEN else 0
                yield each


def captured(
    suite: TextWorldExpressSuite, scenarios: int, seed: int, per_scenario: int, policies: Sequence[str] = CAPTURED
) -> Iterator[Trajectory]:
    """Each of so many training scenarios attempted by some of the policies, one scenario after the other."""
    for number, scenario in enumerate(suite.scenarios("train", scenarios, seed)):
        for place in range(per_scenario):
            yield from _next(suite, scenario, number, place, per_scenario, seed, policies)


def captured_in_rounds(
    suite: TextWorldExpressSuite, scenarios: int, seed: int, per_scenario: int
) -> Iterator[Trajectory]:
    """The same, each scenario once before any of them is attempted again: the latest attempts are at all of them."""
    drawn = suite.scenarios("train", scenarios, seed)
    for place in range(per_scenario):
        for number, scenario in enumerate(drawn):
            yield from _next(suite, scenario, number, place, per_scenario, seed, CAPTURED)


def _next(
    suite: TextWorldExpressSuite, scenario: Scenario, number: int, place: int, per_scenario: int, seed: int,
    policies: Sequence[str],
) -> Iterator[Trajectory]:  # fmt: skip
    first = per_scenario * number + number // len(policies)
    name, again = policies[(first + place) % len(policies)], place // len(policies)
    each = attempt(suite, scenario, name, seed + again)
    if each is not None:
        yield each


def attempt(suite: TextWorldExpressSuite, scenario: Scenario, name: str, seed: int) -> Trajectory | None:
    """One; None where the package knows no path for its own player."""
    script = player(name, suite, scenario, seed)
    if script is None:
        return None
    played = roll_out(
        suite.environment(scenario), scenario, ScriptedEngine(script), name, session=f"{name}-{seed}@{scenario.id}"
    )
    return asyncio.run(played)
