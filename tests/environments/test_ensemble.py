"""Several suites as one: scenarios are shared out evenly, and every group meets one member only."""

from collections import Counter

import pytest

from journeyman.engines.scripted import ScriptedEngine
from journeyman.environments.admission import check_suite
from journeyman.environments.ensemble import EnsembleSuite
from journeyman.environments.groups import roll_out_groups
from journeyman.environments.limits import RolloutLimits
from journeyman.environments.rollout import roll_out_many
from journeyman.environments.suites import load_suite
from journeyman.environments.verifying import Verifier, scored_again
from journeyman.errors import InvalidInput
from journeyman.records import Sampling
from journeyman.records.message import assistant
from tests.training.reinforcement.conftest import LetterSuite


class Named(LetterSuite):
    def __init__(self, name: str) -> None:
        self.name = name

    def scenarios(self, split, count, seed):
        made = super().scenarios(split, count, seed)
        return [each.model_copy(update={"id": f"{self.name}-{each.id}"}) for each in made]


class Astray(Named):
    def scenarios(self, split, count, seed):
        return LetterSuite().scenarios(split, count, seed)


def ensemble() -> EnsembleSuite:
    return EnsembleSuite([Named("one"), Named("two"), Named("three")])


def test_every_member_has_its_share_in_an_order_that_the_seed_draws():
    suite = ensemble()
    orders = set()
    for seed in range(8):
        made = suite.scenarios("train", 7, seed)
        assert [each.id for each in made] == [each.id for each in suite.scenarios("train", 7, seed)]
        assert sorted(Counter(each.environment for each in made).values()) == [2, 2, 3]
        assert len({each.id for each in made}) == 7
        orders.add(tuple(each.environment for each in made))
    assert len(orders) > 4


async def test_a_group_meets_one_member_and_says_which():
    suite = ensemble()
    groups = await roll_out_groups(
        suite, suite.scenarios("train", 6, 0), ScriptedEngine(lambda messages, tools: assistant("aa")), "m", Sampling(),
        attempts=3, limits=RolloutLimits(), seed=0,
    )  # fmt: skip
    assert {group.scenario.environment for group in groups} == {"one", "two", "three"}
    assert all(each.error is None and each.score("reward") == 1 for group in groups for each in group.trajectories)


def test_scenarios_of_nobody_and_members_of_one_name_are_refused():
    suite = ensemble()
    (stranger,) = LetterSuite().scenarios("train", 1, 0)
    with pytest.raises(InvalidInput, match="belongs to 'letters'"):
        suite.environment(stranger)
    with pytest.raises(InvalidInput, match="two members or more"):
        EnsembleSuite([Named("one"), Named("one")])
    with pytest.raises(InvalidInput, match="no member"):
        EnsembleSuite([Named("one"), Astray("two")]).scenarios("train", 2, 0)


async def test_names_with_commas_are_an_ensemble_whose_verifier_is_the_members():
    suite = load_suite("bank,price-tool")
    assert isinstance(suite, EnsembleSuite)
    assert isinstance(suite, Verifier)
    assert not isinstance(ensemble(), Verifier)
    made = suite.scenarios("train", 4, 0)
    assert {each.environment for each in made} == {"bank", "price-tool"}
    (attempt,) = [
        each
        for each in (await roll_out_many(suite, made[:2], ScriptedEngine(lambda messages, tools: assistant("no")), "m"))
        if each.scenario is not None and each.scenario.environment == "price-tool"
    ]
    assert suite.verify(attempt.scenario, attempt.outcome)[0].value == attempt.scores[0].value
    # Judged again, and admitted, under the versions that its members' verifiers have.
    assert scored_again(suite, attempt) == attempt.scores
    assert {score.version for score in attempt.scores} == {"price-tool/1"}
    with pytest.raises(InvalidInput, match="is one of price-tool, not of bank"):
        scored_again(load_suite("bank"), attempt)
    told = {each.check: each for each in (await check_suite(suite, count=2, closely=1)).findings}
    assert told["scores can be given again"].passed
