"""The two coin games that worlds are built of, and what is captured of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from learning_parts.coin import suite as two_rooms

from journeyman.environments.adapters.textworld_express import TextWorldExpressSettings, TextWorldExpressSuite
from journeyman.errors import InvalidInput
from journeyman.records import Scenario, Trajectory
from journeyman.worlds.environment import WorldSuite
from journeyman.worlds.texts.episodes import read_episodes
from journeyman.worlds.texts.making import make_text_world
from journeyman.worlds.world import World
from sim_to_real_parts.captures import EXPLORERS, captured, captured_in_rounds

SUCCESS = ({"told": "You take the coin"},)
"""What whoever builds the world knows of success: the game's own words, not the world's judgement."""


SIZES = (12, 15, 18, 21, 24, 27, 30, 36, 42, 48)
"""Attempts of the smaller captures that are tried, each of which holds those before it."""

FEWEST, STRIDE = 20, 2
"""Attempts that a world to train in is begun with, and how many are captured before the next try."""


@dataclass(frozen=True)
class Game:
    """A game, the scenarios that were captured, how many policies played each, and how often each start is played."""

    name: str
    suite: TextWorldExpressSuite
    scenarios: int
    per_scenario: int
    seeds: int


def games(*, quick: bool) -> tuple[Game, ...]:
    """Two rooms, as in the training task `coin`; and five rooms and two things of no use."""
    five = TextWorldExpressSuite(
        TextWorldExpressSettings(
            game="coin", parameters="numLocations=5,numDistractorItems=2,includeDoors=0,limitInventorySize=0",
            max_steps=15,
        )
    )  # fmt: skip
    return Game("coin", two_rooms, 32, 2, 1 if quick else 2), Game("coin of 5 rooms", five, 6 if quick else 10, 10, 1)


def world_of(game: Game, seed: int) -> tuple[World, list[Trajectory], dict[str, Scenario]]:
    """Its world, the attempts that were captured for it, and the real scenario of each captured session."""
    attempts = list(captured_in_rounds(game.suite, game.scenarios, 1000 + seed, game.per_scenario))
    scenarios = {each.session: each.scenario for each in attempts if each.scenario is not None}
    return make_text_world("coin", read_episodes(attempts), success=SUCCESS, seed=seed), attempts, scenarios


def explored(suite: TextWorldExpressSuite, seed: int, most: int) -> Iterator[Trajectory]:
    """Attempts of the smaller captures: those who explore, all of them at one scenario after the other."""
    return captured(suite, -(-most // len(EXPLORERS)), 1000 + seed, len(EXPLORERS), EXPLORERS)


def smallest_world(more: Iterator[Trajectory], least: int, seed: int) -> tuple[World, list[Trajectory]]:
    """The first world of more and more attempts that may be trained in and has at least so many starts to train from.

    With it go all attempts that were made for it.
    """
    attempts = list(islice(more, FEWEST))
    problem = "there were none"
    while following := list(islice(more, STRIDE)):
        attempts += following
        world, problem = world_from(attempts, seed)
        if world is not None and not problem:
            starts = {each.data["start"] for each in WorldSuite(world).scenarios("train", len(world.starts), 0)}
            if len(starts) >= least:
                return world, attempts
            problem = f"it has {len(starts)} starts to train from, not {least}"
    raise RuntimeError(f"no world of {len(attempts)} attempts may be trained in: {problem}")


def world_from(attempts: Sequence[Trajectory], seed: int) -> tuple[World | None, str]:
    """The world of these attempts, and what keeps it from being trained in; nothing where nothing does."""
    try:
        world = make_text_world("coin", read_episodes(attempts), success=SUCCESS, seed=seed)
    except InvalidInput as problem:
        return None, str(problem)
    assert world.card is not None
    return world, "; ".join(world.card.problems)
