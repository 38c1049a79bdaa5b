"""The seam: one checked score for each attempt, rules that are lifted to it, and what is refused."""

import math

import pytest

from journeyman.errors import InvalidInput, UpstreamFailed
from journeyman.records import Score, TrajectoryGroup
from journeyman.records.message import call
from journeyman.rewards import (
    Reward,
    ScriptedReward,
    each,
    few_repeats,
    finished,
    lowest,
    matches,
    overlong,
    own_score,
    product,
    rescore,
    says_json,
    score_by_part,
    score_group,
    weighted_sum,
)
from journeyman.rewards.rules import overlong_penalty
from tests.rewards.attempts import attempt, group
from tests.rewards.conformance import check_reward

MIXED = group(
    attempt('{"answer": 4}', score=1, completion_tokens=10, finish_reasons=("stop",)),
    attempt("four", score=0, completion_tokens=90, finish_reasons=("length",), error="it broke"),
    attempt(call("1", "look", at=1), call("2", "look", at=1), call("3", "look", at=1), "4", completion_tokens=85),
)


def values(scores: tuple[Score | None, ...]) -> list[float | None]:
    return [None if score is None else score.value for score in scores]


@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        (own_score(), [1, 0, None]),
        (matches(r"^f\w+r$", "word"), [0, 1, 0]),
        (says_json(keys=["answer"]), [1, 0, 0]),
        (overlong(100, 20), [0, -0.5, -0.25]),
        (finished(), [1, 0, 1]),
        (few_repeats(), [1, 1, 0]),
        (each(lambda trajectory: len(trajectory.messages), "messages"), [3, 3, 6]),
        (ScriptedReward(lambda of: [len(each.messages) for each in of.trajectories]), [3, 3, 6]),
        (weighted_sum([(own_score(), 2), (overlong(100, 20), -1)]), [2, 0.5, None]),
        (lowest([own_score(), says_json()]), [1, 0, None]),
        (product([few_repeats(), finished()]), [1, 0, 0]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
async def test_every_reward_keeps_to_the_seam(reward: Reward, expected: list[float | None]) -> None:
    assert values(await score_group(reward, MIXED)) == expected
    await check_reward(reward, MIXED)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ([1.0, 0.0], r"2 scores for the 3 attempts of scenario s1"),
        ([1.0, math.nan, 0.0], r"nan for attempt 2 at scenario s1 \(trajectory .*finite number"),
        ([1.0, 0.0, math.inf], r"inf for attempt 3"),
        (["good", 0.0, 0.0], r"'good' for attempt 1"),
    ],
)
async def test_what_is_no_score_is_refused_by_attempt(given: list[float | None], complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        await score_group(ScriptedReward(lambda _: given), MIXED)


async def test_what_is_no_list_of_scores_is_refused() -> None:
    class Numbers:
        name = "numbers"

        async def __call__(self, group: TrajectoryGroup) -> object:
            return self.given

    reward = Numbers()
    for reward.given, complaint in (("0.5", "gave str"), (0.5, "gave float"), ([1.0, 1.0, 1.0], "must be a Score")):
        with pytest.raises(InvalidInput, match=complaint):
            await score_group(reward, MIXED)  # type: ignore[arg-type]


async def test_a_rule_that_says_text_or_nan_is_refused_and_one_that_breaks_is_heard() -> None:
    for wrong in ("good", math.nan):
        with pytest.raises(InvalidInput, match="attempt 1 at scenario s1"):
            await score_group(each(lambda _, said=wrong: said, "rule"), MIXED)  # type: ignore[misc]
    with pytest.raises(ZeroDivisionError):
        await score_group(each(lambda _: 1 / 0, "rule"), MIXED)


def test_a_rule_needs_a_name() -> None:
    def politeness(_: object) -> float:
        return 1.0

    assert each(politeness).name == "politeness"
    with pytest.raises(InvalidInput, match="needs a name"):
        each(lambda _: 1.0)


async def test_a_rule_may_give_a_score_with_its_reason() -> None:
    reward = each(lambda _: Score(name="other", value=0.5, reason="half", by="Ann"), "mine")
    first, *_ = await score_group(reward, MIXED)
    assert first == Score(name="mine", value=0.5, reason="half", by="Ann")


async def test_a_combination_tells_its_parts_and_why() -> None:
    inner = product([few_repeats(), finished()], "gate")
    found = await score_by_part(weighted_sum([(inner, 1), (overlong(100, 20), 0.5)]), MIXED)
    assert list(found) == ["reward", "gate", "few_repeats", "finished", "overlong"]
    assert values(found["reward"]) == [1, -0.25, -0.125]
    assert found["reward"][1] is not None
    assert found["reward"][1].reason == "1·gate 0, 0.5·overlong -0.5"


async def test_a_closed_gate_spares_the_later_parts() -> None:
    judge = ScriptedReward(lambda of: [0.5] * len(of.trajectories), "judge")
    shut = each(lambda _: 0.0, "shut")
    assert values(await score_group(product([shut, judge]), MIXED)) == [0, 0, 0]
    assert judge.asked == []
    assert values(await score_group(product([finished(), judge]), MIXED)) == [0.5, 0, 0.5]
    assert len(judge.asked) == 1
    assert values(await score_group(weighted_sum([(shut, 1), (judge, 1)]), MIXED)) == [0.5] * 3


def test_the_overlong_penalty_is_dapos() -> None:
    assert [overlong_penalty(length, 20, 4) for length in (16, 17, 18, 20, 25)] == [0, -0.25, -0.5, -1, -1]
    with pytest.raises(InvalidInput, match="buffer"):
        overlong_penalty(1, 4, 5)


def test_combinations_that_mean_nothing_are_refused() -> None:
    for parts in ([], [finished(), finished()]):
        with pytest.raises(InvalidInput, match="name of its own"):
            lowest(parts)
    for weight in (0.0, math.nan):
        with pytest.raises(InvalidInput, match="weights"):
            weighted_sum([(finished(), weight)])
    with pytest.raises(InvalidInput, match="no regular expression"):
        matches("(", "broken")
    with pytest.raises(InvalidInput, match="buffer"):
        overlong(10, 11)
    with pytest.raises(InvalidInput, match="at least one call"):
        few_repeats(0)


async def test_parts_of_the_same_name_inside_others_are_refused() -> None:
    twice = weighted_sum([(product([finished()], "a"), 1), (product([finished()], "b"), 1)])
    with pytest.raises(InvalidInput, match="two parts named finished"):
        await score_group(twice, MIXED)


async def test_attempts_at_another_scenario_and_scenarios_without_an_id_are_refused() -> None:
    astray = group(attempt("a"), attempt("b", scenario_id="s2"))
    nameless = MIXED.model_copy(update={"scenario": MIXED.scenario.model_copy(update={"id": " "})})
    for wrong, complaint in (
        (astray, "attempt 2 at scenario s2 .* the group of scenario s1"),
        (nameless, "without an id"),
    ):
        with pytest.raises(InvalidInput, match=complaint):
            await score_group(finished(), wrong)
        with pytest.raises(InvalidInput, match=complaint):
            await score_by_part(finished(), wrong)


async def test_a_judge_that_fails_is_heard() -> None:
    def fails(_: TrajectoryGroup) -> list[float | None]:
        raise UpstreamFailed("no verdict")

    with pytest.raises(UpstreamFailed):
        await score_group(weighted_sum([(finished(), 1), (ScriptedReward(fails), 1)]), MIXED)


async def test_stored_groups_are_scored_anew() -> None:
    found = await rescore([MIXED, group(attempt("four"))], matches("four", "word"))
    assert [values(scores) for _, scores in found] == [[0, 1, 0], [1]]
    assert found[0][0] is MIXED
