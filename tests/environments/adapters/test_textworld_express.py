"""The contract with the real package: gold paths win, copies go the same way, and folds never meet."""

import random
import shutil
from collections.abc import Sequence

import pytest

from journeyman.engines.scripted import ScriptedEngine
from journeyman.environments.adapters.textworld_express import (
    TextWorldExpressSettings,
    TextWorldExpressSuite,
    game_seeds,
    new_game,
)
from journeyman.environments.groups import roll_out_groups
from journeyman.environments.limits import RolloutLimits
from journeyman.environments.rollout import roll_out_many
from journeyman.errors import InvalidInput
from journeyman.records import Message, Sampling, Scenario
from journeyman.records.message import assistant

pytest.importorskip("textworld_express", reason='NOT TESTED: pip install "journeyman[environments]"')
pytestmark = pytest.mark.skipif(shutil.which("java") is None, reason="NOT TESTED: TextWorldExpress needs Java")

COIN = TextWorldExpressSettings(game="coin", parameters="numLocations=4,numDistractorItems=0,includeDoors=0")
GAMES = [
    COIN,
    TextWorldExpressSettings(game="arithmetic"),
    TextWorldExpressSettings(game="sorting"),
    TextWorldExpressSettings(game="simonsays", show_actions=False),
    TextWorldExpressSettings(game="peckingorder"),
    TextWorldExpressSettings(game="mapreader", parameters="numLocations=4,maxDistanceApart=2,includeDoors=0"),
]
every_game = pytest.mark.parametrize("settings", GAMES, ids=lambda settings: settings.game)


def gold_path(scenario: Scenario) -> list[str]:
    """The actions by which the package itself wins."""
    settings = scenario.data["settings"]
    game = new_game(settings["max_steps"])
    game.reset(
        seed=scenario.data["seed"], gameFold=scenario.data["fold"], gameName=settings["game"],
        gameParams=settings["parameters"], generateGoldPath=True,
    )  # fmt: skip
    return game.getGoldActionSequence()


def follow(paths: dict[str, list[str]]) -> ScriptedEngine:
    """A player who knows the path from the opening."""

    def act(messages: Sequence[Message], tools) -> Message:
        replies = sum(message.role == "assistant" for message in messages)
        return assistant(f"{paths[messages[1].text][replies]}\n")

    return ScriptedEngine(act)


@every_game
@pytest.mark.parametrize("split", ["train", "held-out"])
async def test_the_gold_path_wins(settings: TextWorldExpressSettings, split: str) -> None:
    suite = TextWorldExpressSuite(settings)
    scenarios = suite.scenarios(split, 4, 0)
    paths = {}
    for scenario in scenarios:
        environment = suite.environment(scenario)
        opening = await environment.start()
        paths[opening.messages[1].text] = gold_path(scenario)
        await environment.close()
    played = await roll_out_many(suite, scenarios, follow(paths), "gold", max_calls=60, concurrency=4)
    assert [each.error for each in played] == [None] * 4
    assert [(each.score("reward"), each.score("success")) for each in played] == [(1, 1)] * 4


@every_game
async def test_doing_nothing_wins_nothing_and_ends(settings: TextWorldExpressSettings) -> None:
    settings = settings.model_copy(update={"max_steps": 5})
    suite = TextWorldExpressSuite(settings)
    engine = ScriptedEngine(lambda *_: assistant("sing a song"))
    played = await roll_out_many(suite, suite.scenarios("train", 3, 0), engine, "null")
    assert {each.error for each in played} == {None}
    assert {each.score("success") for each in played} == {0}
    assert all(each.turns <= 5 for each in played)


@every_game
async def test_members_of_a_group_play_the_same_game_side_by_side(settings: TextWorldExpressSettings) -> None:
    """The same actions lead to the same words, whatever the siblings do meanwhile in the same Java process."""
    suite = TextWorldExpressSuite(settings.model_copy(update={"max_steps": 8, "show_actions": True}))

    def wander(messages: Sequence[Message], tools) -> Message:
        actions = messages[-1].text.rpartition("Possible actions: ")[2].split(", ")
        return assistant(random.Random(f"{len(messages)}").choice(actions))

    groups = await roll_out_groups(
        suite, suite.scenarios("train", 2, 1), ScriptedEngine(wander), "wanderer", Sampling(),
        attempts=4, limits=RolloutLimits(), seed=0, concurrency=8,
    )  # fmt: skip
    for group in groups:
        assert {each.error for each in group.trajectories} == {None}
        assert len({each.messages for each in group.trajectories}) == 1
        assert len({each.scores for each in group.trajectories}) == 1


async def test_a_fork_in_the_middle_goes_on_from_there_and_apart() -> None:
    suite = TextWorldExpressSuite(COIN)
    scenario = suite.scenarios("train", 1, 2)[0]
    *most, last = gold_path(scenario)
    environment = suite.environment(scenario)
    await environment.start()
    for action in most:
        await environment.step(assistant(action))
    first, second = environment.fork(2)
    await first.step(assistant("look around"))
    assert (await second.step(assistant(last))).done
    assert [each.score()[1].value for each in (environment, first, second)] == [0, 0, 1]
    assert (await environment.step(assistant(last))).done
    assert (await first.step(assistant(last))).done


@pytest.mark.parametrize("split", ["train", "held-out"])
@pytest.mark.parametrize("game", ["simonsays", "sorting"])
async def test_examples_are_other_games_that_were_won(game: str, split: str) -> None:
    suite = TextWorldExpressSuite(TextWorldExpressSettings(game=game, examples=2))
    scenarios = suite.scenarios(split, 6, 0)
    assert scenarios == suite.scenarios(split, 6, 0)
    for scenario in scenarios:
        opening = await suite.environment(scenario).start()
        roles = [message.role for message in opening.messages]
        turns = sum(len(example["turns"]) for example in scenario.data["examples"])
        assert roles == ["system", *["user", "assistant"] * turns, "user"]
        assert len({example["seed"] for example in scenario.data["examples"]}) == 2
        for example in scenario.data["examples"]:
            assert example["seed"] in game_seeds("train")
            assert split != "train" or example["seed"] != scenario.data["seed"]
            won = Scenario(environment="", kind="", data=scenario.data | {"seed": example["seed"], "fold": "train"})
            assert [action for _, action in example["turns"]] == gold_path(won)
    assert len({tuple(each["seed"] for each in scenario.data["examples"]) for scenario in scenarios}) > 1


def test_folds_share_no_seed_and_scenarios_repeat() -> None:
    assert len(game_seeds("train")) == len(game_seeds("test")) == 1000
    assert not set(game_seeds("train")) & set(game_seeds("test"))
    suite = TextWorldExpressSuite(COIN)
    trained = {each.data["seed"] for seed in (0, 1) for each in suite.scenarios("train", 200, seed)}
    held_out = {each.data["seed"] for seed in (0, 1) for each in suite.scenarios("held-out", 200, seed)}
    assert not trained & held_out
    assert suite.scenarios("train", 9, 4) == suite.scenarios("train", 9, 4)
    assert len({each.id for each in suite.scenarios("train", 1000, 0)}) == 1000


async def test_bad_requests_are_refused() -> None:
    suite = TextWorldExpressSuite(COIN)
    with pytest.raises(InvalidInput, match="the train games are 1000"):
        suite.scenarios("train", 1001, 0)
    with pytest.raises(InvalidInput, match="no split"):
        suite.scenarios("test", 1, 0)
    wrong = TextWorldExpressSuite(COIN.model_copy(update={"parameters": "numRooms=3"}))
    [trajectory] = await roll_out_many(wrong, wrong.scenarios("train", 1, 0), ScriptedEngine(assistant), "m")
    assert "numRooms" in str(trajectory.error)


async def test_a_game_is_the_same_alone_and_beside_others() -> None:
    """Sorting keeps its things where another game of the same Java process changes them."""
    suite = TextWorldExpressSuite(TextWorldExpressSettings(game="sorting", max_steps=6))
    scenarios = suite.scenarios("train", 8, 5)

    def wander(messages: Sequence[Message], tools) -> Message:
        actions = messages[-1].text.rpartition("Possible actions: ")[2].split(", ")
        return assistant(random.Random(f"{len(messages)}").choice(actions))

    alone = await roll_out_many(suite, scenarios, ScriptedEngine(wander), "m", concurrency=1)
    beside = await roll_out_many(suite, scenarios, ScriptedEngine(wander), "m", concurrency=8)
    assert {each.error for each in alone + beside} == {None}
    assert [each.messages for each in alone] == [each.messages for each in beside]
