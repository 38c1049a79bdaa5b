"""The small tasks: right replies are worth 1, others less, and held-out scenarios share nothing with training ones."""

import json
from collections.abc import Sequence

import pytest

from journeyman.engines.scripted import ScriptedEngine
from journeyman.environments.groups import roll_out_groups
from journeyman.environments.limits import RolloutLimits
from journeyman.environments.rollout import roll_out_many
from journeyman.environments.tasks.few_shot import FewShotSettings, FewShotSuite
from journeyman.environments.tasks.price_tool import PriceToolSettings, PriceToolSuite
from journeyman.errors import InvalidInput
from journeyman.records import Message, Sampling, Scenario, Tool
from journeyman.records.message import assistant, call

SUITES = [
    PriceToolSuite(),
    PriceToolSuite(PriceToolSettings(examples=4, words=1, digits=2, questions=6, prompt=True)),
    PriceToolSuite(PriceToolSettings(words=3, digits=5, speak="tools")),
    FewShotSuite(),
    FewShotSuite(FewShotSettings(examples=0)),
]
every_suite = pytest.mark.parametrize("suite", SUITES, ids=lambda suite: f"{suite.name} {suite.settings}")


def price_player(messages: Sequence[Message], tools: Sequence[Tool]) -> Message:
    """Solves the price task from the conversation alone."""
    last = messages[-1]
    if last.role == "tool":
        return assistant(last.text)
    if last.text.startswith("Result: "):
        return assistant(last.text.removeprefix("Result: "))
    item = item_in(last.text)
    return call("c", "price", item=item) if tools else assistant(f"price({item})")


def item_in(question: str) -> str:
    rest = question.partition("the ")[2] if "of the" not in question else question.partition("of the ")[2]
    for end in (" cost?", " costs?", ". What", "?", ", please.", "."):
        if end in rest:
            return rest.partition(end)[0]
    raise AssertionError(question)


def few_shot_player(messages: Sequence[Message], tools: Sequence[Tool]) -> Message:
    question = messages[-1].text
    words = question.rstrip(".").split()
    if len(words) == 1:
        return assistant(question.upper())
    if len(words) == 2:
        return assistant(str(max(map(int, words))))
    return assistant(json.dumps({"city": words[-1], "age": int(words[2]), "name": words[0]}))  # order does not matter


def player(suite):
    return ScriptedEngine(price_player if suite.name == "price-tool" else few_shot_player)


@every_suite
async def test_a_player_who_knows_how_earns_all(suite) -> None:
    for split in ("train", "held-out"):
        played = await roll_out_many(suite, suite.scenarios(split, 30, 1), player(suite), "gold")
        assert [each.error for each in played] == [None] * 30
        assert {(each.score("reward"), each.score("success")) for each in played} == {(1, 1)}


@every_suite
@pytest.mark.parametrize(
    "words", ["", "price()", "price(", "42", "Result: 5", "{}", "[" * 100_000, "price(a) price(b)"]
)
async def test_other_words_earn_nothing(suite, words: str) -> None:
    engine = ScriptedEngine(lambda messages, tools: assistant(words))
    played = await roll_out_many(suite, suite.scenarios("train", 6, 1), engine, "null")
    assert [each.error for each in played] == [None] * 6
    assert {(each.score("reward"), each.score("success")) for each in played} == {(0, 0)}
    assert {each.turns for each in played} == {1}


async def test_a_call_alone_is_worth_less() -> None:
    def half(messages: Sequence[Message], tools: Sequence[Tool]) -> Message:
        said = price_player(messages, tools)
        return assistant("About " + said.text) if said.text.isdigit() else said

    suite = PriceToolSuite()
    played = await roll_out_many(suite, suite.scenarios("train", 6, 1), ScriptedEngine(half), "half")
    assert {(each.score("reward"), each.score("success"), each.turns) for each in played} == {(0.3, 0, 2)}


@pytest.mark.parametrize("arguments", ["{", "[]", '{"item": 3}', '{"item": null}', '"lamp"'])
async def test_a_tool_call_with_other_arguments_is_none(arguments: str) -> None:
    def wrong(messages: Sequence[Message], tools: Sequence[Tool]) -> Message:
        good = call("c", "price", item="x").model_dump()
        good["tool_calls"][0]["function"]["arguments"] = arguments
        return Message.model_validate(good)

    suite = PriceToolSuite(PriceToolSettings(speak="tools"))
    played = await roll_out_many(suite, suite.scenarios("train", 3, 0), ScriptedEngine(wrong), "wrong")
    assert [(each.error, each.score("reward")) for each in played] == [(None, 0)] * 3


@every_suite
def test_the_same_seed_gives_the_same_scenarios_and_another_seed_others(suite) -> None:
    assert suite.scenarios("train", 12, 5) == suite.scenarios("train", 12, 5)
    assert suite.scenarios("train", 12, 5)[:7] == suite.scenarios("train", 7, 5)
    contents = [[scenario.data for scenario in suite.scenarios("train", 12, seed)] for seed in (5, 6)]
    assert contents[0] != contents[1]
    ids = [scenario.id for split in ("train", "held-out") for scenario in suite.scenarios(split, 50, 0)]
    assert len(set(ids)) == 100


@every_suite
def test_nothing_held_out_is_ever_trained(suite) -> None:
    def told(split: str) -> tuple[set[str], set[str]]:
        scenarios = [each for seed in range(5) for each in suite.scenarios(split, 200, seed)]
        questions = {scenario.data["question"] for scenario in scenarios}
        answers = {str(scenario.data.get("price", scenario.data.get("answer"))) for scenario in scenarios}
        for scenario in scenarios:
            questions |= {example["question"] for example in scenario.data["examples"]}
        return questions, answers

    trained, held_out = told("train"), told("held-out")
    assert not trained[0] & held_out[0]
    assert not trained[1] & held_out[1]
    assert len(held_out[0]) > 20


@every_suite
def test_no_question_is_its_own_example(suite) -> None:
    for scenario in suite.scenarios("train", 300, 2):
        examples = [example["question"] for example in scenario.data["examples"]]
        assert len(examples) == suite.settings.examples == len(set(examples))
        assert scenario.data["question"] not in examples


@every_suite
async def test_groups_begin_alike(suite) -> None:
    scenarios = suite.scenarios("train", 4, 0)
    groups = await roll_out_groups(
        suite, scenarios, player(suite), "m", Sampling(), attempts=3, limits=RolloutLimits(), seed=0
    )
    for group in groups:
        assert len({each.messages for each in group.trajectories}) == 1
        assert [each.score("success") for each in group.trajectories] == [1, 1, 1]


def test_the_kinds_take_turns() -> None:
    kinds = [scenario.kind for scenario in FewShotSuite().scenarios("train", 7, 0)]
    assert kinds == ["uppercase", "max", "json", "uppercase", "max", "json", "uppercase"]


@pytest.mark.parametrize("suite", [PriceToolSuite(), FewShotSuite()])
async def test_bad_requests_are_refused(suite) -> None:
    with pytest.raises(InvalidInput, match="no split named 'test'"):
        suite.scenarios("test", 1, 0)
    with pytest.raises(InvalidInput, match="at least 1"):
        suite.scenarios("train", 0, 0)
    with pytest.raises(InvalidInput, match="belongs to 'bank'"):
        suite.environment(Scenario(environment="bank", kind="k"))
    with pytest.raises(InvalidInput, match="kinds are uppercase, max, json"):
        FewShotSuite(FewShotSettings(kinds=("poem",)))
    environment = suite.environment(suite.scenarios("train", 1, 0)[0])
    await environment.start()
    assert (await environment.step(assistant("hm"))).done
    with pytest.raises(InvalidInput, match="over"):
        await environment.step(assistant("hm"))
