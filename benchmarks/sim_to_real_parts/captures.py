"""Episodes of real games by mixed policies: what a world is built from, and how each policy really does."""

import asyncio

from journeyman.engines.scripted import ScriptedEngine
from journeyman.environments.adapters.textworld_express import TextWorldExpressSuite
from journeyman.environments.rollout import roll_out
from journeyman.records import Scenario, Trajectory
from sim_to_real_parts.players import player

CAPTURED = ("gold", "noisy-30", "noisy-60", "weak", "random")
"""Policies whose traces a world is built from: from expert's alone, nobody learns what mistakes lead to."""


def captured(suite: TextWorldExpressSuite, scenarios: int, seed: int, per_scenario: int) -> list[Trajectory]:
    """Each of so many training scenarios attempted by some of the policies, in turn."""
    found: list[Trajectory] = []
    for number, scenario in enumerate(suite.scenarios("train", scenarios, seed)):
        first = per_scenario * number + number // len(CAPTURED)
        for place in range(per_scenario):
            name, again = CAPTURED[(first + place) % len(CAPTURED)], place // len(CAPTURED)
            each = attempt(suite, scenario, name, seed + again)
            found += [] if each is None else [each]
    return found


def attempt(suite: TextWorldExpressSuite, scenario: Scenario, name: str, seed: int) -> Trajectory | None:
    """One; None where the package knows no path for its own player."""
    script = player(name, suite, scenario, seed)
    if script is None:
        return None
    played = roll_out(
        suite.environment(scenario), scenario, ScriptedEngine(script), name, session=f"{name}-{seed}@{scenario.id}"
    )
    return asyncio.run(played)
