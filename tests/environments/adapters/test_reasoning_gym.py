"""The contract with the real package: its questions, its scores, and splits that never meet."""

import asyncio
from functools import cache

import pytest

from journeyman.engines.scripted import ScriptedEngine
from journeyman.environments.adapters.reasoning_gym import ReasoningGymSettings, ReasoningGymSuite
from journeyman.environments.groups import roll_out_groups
from journeyman.environments.limits import RolloutLimits
from journeyman.environments.rollout import roll_out_many
from journeyman.errors import InvalidInput
from journeyman.records import Sampling
from journeyman.records.message import assistant

reasoning_gym = pytest.importorskip("reasoning_gym", reason='NOT TESTED: pip install "journeyman[environments]"')

SETTINGS = [
    ReasoningGymSettings(task="chain_sum", config={"max_terms": 3, "max_digits": 2}, examples=3),
    ReasoningGymSettings(task="letter_counting", prompt="Say the number."),
    ReasoningGymSettings(task="basic_arithmetic", config={"max_terms": 2}),
    ReasoningGymSettings(task="gcd"),
    ReasoningGymSettings(task="spell_backward", config={"max_word_len": 4}, examples=2),
    ReasoningGymSettings(task="number_sorting", config={"max_numbers": 4}, examples=1),
    ReasoningGymSettings(task="bitwise_arithmetic"),
]
every_task = pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings.task)


def entry_of(scenario):
    """What the package itself says of a scenario."""
    data = scenario.data
    dataset = dataset_of(data["task"], data["seed"], **data["config"])
    return dataset, dataset[data["index"]]


@cache
def dataset_of(task: str, seed: int, **config):
    return reasoning_gym.create_dataset(task, size=10_000, seed=seed, **config)


@every_task
async def test_the_right_answer_is_worth_what_the_package_says(settings: ReasoningGymSettings) -> None:
    suite = ReasoningGymSuite(settings)
    scenarios = suite.scenarios("train", 8, 1)
    gold = {}
    for scenario in scenarios:
        dataset, entry = entry_of(scenario)
        assert dataset.score_answer(entry["answer"], entry) == 1
        gold[entry["question"]] = str(entry["answer"])
    plain = ScriptedEngine(lambda messages, tools: assistant(f" {gold[messages[-1].text]}\n"))
    tagged = ScriptedEngine(
        lambda messages, tools: assistant(f"<answer>0</answer> or <answer> {gold[messages[-1].text]} </answer>.")
    )
    for engine in (plain, tagged):
        played = await roll_out_many(suite, scenarios, engine, "gold")
        assert [(each.error, each.score("reward"), each.score("success")) for each in played] == [(None, 1, 1)] * 8


@every_task
async def test_other_answers_are_worth_what_the_package_says(settings: ReasoningGymSettings) -> None:
    suite = ReasoningGymSuite(settings)
    scenarios = suite.scenarios("held-out", 8, 1)
    for said in ("", "I do not know", "-1"):
        played = await roll_out_many(suite, scenarios, ScriptedEngine(lambda *_, said=said: assistant(said)), "null")
        for scenario, trajectory in zip(scenarios, played, strict=True):
            dataset, entry = entry_of(scenario)
            assert trajectory.error is None
            expected = dataset.score_answer(said, entry)
            assert trajectory.score("reward") == expected
            assert trajectory.score("success") == (expected == 1)
            assert expected < 1 or said == entry["answer"]


@every_task
def test_nothing_held_out_is_ever_trained_and_seeds_repeat(settings: ReasoningGymSettings) -> None:
    suite = ReasoningGymSuite(settings)

    def questions(split: str) -> set[str]:
        scenarios = [each for seed in (0, 1) for each in suite.scenarios(split, 40, seed)]
        assert len({each.id for each in scenarios}) == 80
        examples = {example["question"] for each in scenarios for example in each.data["examples"]}
        if split == "held-out":
            # Examples are training questions: what is solved before the model's eyes is no test.
            assert not examples & {entry_of(each)[1]["question"] for each in scenarios}
            examples = set()
        return examples | {entry_of(each)[1]["question"] for each in scenarios}

    trained, held_out = questions("train"), questions("held-out")
    assert not trained & held_out
    assert suite.scenarios("train", 6, 3) == ReasoningGymSuite(settings).scenarios("train", 6, 3)
    assert suite.scenarios("train", 6, 3)[:4] == suite.scenarios("train", 4, 3)


async def test_examples_go_before_the_question() -> None:
    suite = ReasoningGymSuite(SETTINGS[0])
    for scenario in suite.scenarios("train", 20, 0):
        opening = await suite.environment(scenario).start()
        assert [message.role for message in opening.messages] == ["user", "assistant"] * 3 + ["user"]
        assert opening.messages[-1].text not in [message.text for message in opening.messages[:-1]]
    prompted = ReasoningGymSuite(SETTINGS[1])
    opening = await prompted.environment(prompted.scenarios("train", 1, 0)[0]).start()
    assert [message.role for message in opening.messages] == ["system", "user"]


async def test_groups_begin_alike_and_are_scored_apart() -> None:
    suite = ReasoningGymSuite(SETTINGS[0])
    turn = iter(range(1000))
    engine = ScriptedEngine(lambda messages, tools: assistant(str(next(turn))))
    groups = await roll_out_groups(
        suite, suite.scenarios("train", 2, 0), engine, "m", Sampling(), attempts=60, limits=RolloutLimits(), seed=0
    )
    for group in groups:
        assert {each.error for each in group.trajectories} == {None}
        assert len({each.messages[:-1] for each in group.trajectories}) == 1
        assert sum(each.score("success") for each in group.trajectories) <= 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (ReasoningGymSettings(task="cooking"), "has no task named 'cooking'; it has: ab, acre"),
        (ReasoningGymSettings(task="chain_sum", config={"terms": 2}), "refuses the settings of chain_sum"),
        (ReasoningGymSettings(task="chain_sum", config={"min_terms": 9, "max_terms": 2}), "max_terms must be"),
        (ReasoningGymSettings(task="chain_sum", config={"seed": 2}), "leave it out"),
    ],
)
def test_what_the_package_does_not_have_is_refused_at_once(settings: ReasoningGymSettings, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        ReasoningGymSuite(settings)


def test_more_questions_than_there_are_are_refused() -> None:
    tiny = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
    suite = ReasoningGymSuite(ReasoningGymSettings(task="chain_sum", config=tiny))
    with pytest.raises(InvalidInput, match="different questions for held-out, and 5000 were asked for"):
        suite.scenarios("held-out", 5000, 0)
    with pytest.raises(InvalidInput, match="no split"):
        suite.scenarios("dev", 1, 0)
    no_answers = ReasoningGymSuite(ReasoningGymSettings(task="graph_color", examples=1))
    with pytest.raises(InvalidInput, match="tells no answers"):
        no_answers.scenarios("train", 1, 0)


async def test_a_scorer_that_hangs_is_a_named_loss() -> None:
    suite = ReasoningGymSuite(SETTINGS[0])
    scenarios = suite.scenarios("train", 1, 0)
    environment = suite.environment(scenarios[0])

    class Slow:
        def __getattr__(self, name):
            return getattr(environment._dataset, name)

        def score_answer(self, answer, entry):
            import time

            time.sleep(1)
            return 1.0

    slow = suite.environment(scenarios[0])
    slow._dataset = Slow()
    suite.environment = lambda scenario: slow
    [group] = await roll_out_groups(
        suite, scenarios, ScriptedEngine(lambda *_: assistant("1")), "m", Sampling(),
        attempts=2, limits=RolloutLimits(seconds_per_step=0.1), seed=0,
    )  # fmt: skip
    assert all("DeadlineExceeded: a step of environment" in str(each.error) for each in group.trajectories)
    await asyncio.sleep(0)
