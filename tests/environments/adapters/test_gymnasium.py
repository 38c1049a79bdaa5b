"""The contract with the real package: what it answers, its chance in forks, and what cannot be played in words."""

import pytest

from journeyman.engines.scripted import ScriptedEngine
from journeyman.environments.adapters.gymnasium import GymnasiumSettings, GymnasiumSuite
from journeyman.environments.admission import check_suite
from journeyman.environments.rollout import roll_out_many
from journeyman.environments.verifying import scored_again
from journeyman.errors import InvalidInput
from journeyman.records.message import assistant
from tests.environments.adapters.lake import ACTIONS, dry, lake, say

gymnasium = pytest.importorskip("gymnasium", reason="NOT TESTED: pip install gymnasium")


async def test_it_goes_as_in_the_package_itself() -> None:
    suite = lake(slippery=True)
    scenarios = suite.scenarios("held-out", 4, 0)
    player = suite.random_player(3)
    for played, scenario in zip(
        await roll_out_many(suite, scenarios, ScriptedEngine(player), "random", max_calls=120), scenarios, strict=True
    ):
        theirs = gymnasium.make("FrozenLake-v1", is_slippery=True, map_name="4x4")
        seen, _ = theirs.reset(seed=scenario.data["seed"])
        words, earned = [say(seen)], 0.0
        for message in played.messages:
            if message.role == "assistant":
                seen, reward, *_ = theirs.step(ACTIONS.index(message.text))
                words.append(say(seen))
                earned += reward
        assert played.error is None
        assert [each.text for each in played.messages if each.role == "user"] == words
        assert played.score("reward") == earned
        assert scored_again(suite, played) == played.scores


async def test_it_is_admitted_in_a_fresh_process_too() -> None:
    found = await check_suite(dry(), "tests.environments.adapters.lake:Dry", count=3, closely=1)
    assert found.is_admitted, found.failures
    assert found.players[0].success.estimate == 1
    slippery = await check_suite(lake(slippery=True), count=3, closely=2)
    assert slippery.is_admitted, slippery.failures


async def test_what_names_no_action_is_told_and_costs_a_step() -> None:
    settings = dry().settings.model_copy(update={"max_steps": 2})
    suite = GymnasiumSuite(settings, say)
    environment = suite.environment(suite.scenarios("train", 1, 0)[0])
    await environment.start()
    told = await environment.step(assistant("jump"))
    assert "no action 'jump'" in told.messages[0].text
    assert (await environment.step(assistant(" Down "))).done
    await environment.close()


def test_what_cannot_be_played_in_words_is_refused():
    with pytest.raises(InvalidInput, match="only discrete"):
        GymnasiumSuite(GymnasiumSettings(id="Pendulum-v1"))
    with pytest.raises(InvalidInput, match="4 actions, and 1"):
        GymnasiumSuite(GymnasiumSettings(id="FrozenLake-v1", actions=("left",)))
    with pytest.raises(InvalidInput, match="cannot make"):
        GymnasiumSuite(GymnasiumSettings(id="NoSuchGame-v0"))
    seeds = [{each.data["seed"] % 2 for each in dry().scenarios(split, 20, 0)} for split in ("train", "held-out")]
    assert seeds == [{0}, {1}]
