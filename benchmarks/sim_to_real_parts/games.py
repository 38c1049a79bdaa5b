"""The two coin games that worlds are built of, and what is captured of each."""

from dataclasses import dataclass

from learning_parts.coin import suite as two_rooms

from journeyman.environments.adapters.textworld_express import TextWorldExpressSettings, TextWorldExpressSuite
from journeyman.records import Scenario, Trajectory
from journeyman.worlds.texts.episodes import read_episodes
from journeyman.worlds.texts.making import make_text_world
from journeyman.worlds.world import World
from sim_to_real_parts.captures import captured

SUCCESS = ({"told": "You take the coin"},)
"""What whoever builds the world knows of success: the game's own words, not the world's judgement."""


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
    attempts = captured(game.suite, game.scenarios, 1000 + seed, game.per_scenario)
    scenarios = {each.session: each.scenario for each in attempts if each.scenario is not None}
    return make_text_world("coin", read_episodes(attempts), success=SUCCESS, seed=seed), attempts, scenarios
