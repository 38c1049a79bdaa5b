"""The watch: each signal fires on what it is for and on nothing else, and names the last clean step."""

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from journeyman.errors import InvalidInput
from journeyman.records import Scenario, Trajectory, TrajectoryGroup
from journeyman.records.message import assistant, call, tool_result, user
from journeyman.rewards import matches, product, score_by_part
from journeyman.rewards.watch import (
    Measures,
    Step,
    Thresholds,
    WatchReport,
    measure,
    review_queue,
    tables_of,
    watch,
)
from journeyman.rewards.watch_measures import no_op_share, repeats_itself, similarity_across
from tests.rewards.attempts import attempt, group

WORDS = ["river", "stone", "lamp", "cloud", "paper", "field", "glass", "window", "garden", "bridge", "engine", "letter"]
Shape = Callable[[random.Random, int, int], dict[str, Any]]
"""Of step and place: what an attempt is made of. quality, paid (more than its quality), words, calls, due, held."""


def steps(shape: Shape, count: int = 25, *, held_out: bool = True, truth: bool = False, seed: int = 0) -> list[Step]:
    generator, found = random.Random(seed), []
    for number in range(1, count + 1):
        groups, paid, held, true = [], [], [], []
        for at in range(6):
            made = [
                {"quality": generator.random(), "paid": 0.0, "words": [], "calls": 1, "length": 12, "same": False}
                | shape(generator, number, place)
                for place in range(6)
            ]
            scenario = Scenario(id=f"{number}-{at}", environment="e", kind="k")
            groups.append(
                TrajectoryGroup(scenario=scenario, trajectories=tuple(_play(generator, each) for each in made))
            )
            paid.append([each["quality"] + each["paid"] + generator.gauss(0, 0.05) for each in made])
            held.append([each["quality"] + generator.gauss(0, 0.05) for each in made])
            true.append([each["quality"] for each in made])
        found.append(
            Step(number, groups, {"judge": paid}, "judge", held if held_out else None, true if truth else None)
        )
    return found


def _play(generator: random.Random, made: dict[str, Any]) -> Trajectory:
    said = WORDS[:10] if made["same"] else generator.choices(WORDS, k=made["length"])
    calls = []
    for number in range(made["calls"]):
        calls += [call(f"c{number}", "look", at=1), tool_result(f"c{number}", "it")]
    return Trajectory(
        scenario_id="s",
        model="m",
        session="x",
        messages=(user("?"), *calls, assistant(" ".join([*said, *made["words"]]))),
    )


def seen(given: list[Step], **limits: Any) -> WatchReport:
    return watch([measure(step) for step in given], Thresholds(**limits))


def signals(report: WatchReport) -> set[str]:
    return {alarm.signal for alarm in report.alarms}


@pytest.mark.parametrize("seed", range(4))
def test_a_clean_run_raises_nothing(seed: int) -> None:
    def better(generator: random.Random, step: int, place: int) -> dict[str, Any]:
        return {
            "quality": min(1.0, generator.random() * 0.5 + step / 50),
            "words": ["truly"] * (generator.random() < 0.3),
        }

    report = seen(steps(better, seed=seed, truth=True))
    assert report == WatchReport(alarms=(), freeze=False, last_clean_step=25)


def test_a_word_that_is_paid_for_is_named_before_it_has_spread() -> None:
    def magic(generator: random.Random, step: int, place: int) -> dict[str, Any]:
        says = generator.random() < 0.2
        return {"words": ["certainly"] * says, "paid": 0.3 * says, "length": generator.randrange(8, 30)}

    given = steps(magic)
    report = seen(given)
    alarm = report.alarms[0]
    assert (alarm.signal, alarm.word) == ("word bias", "certainly")
    assert alarm.step < 20
    assert "pays 0.3" in alarm.evidence or "pays 0.2" in alarm.evidence
    assert report.freeze
    assert report.last_clean_step is None or report.last_clean_step < alarm.step
    queue = review_queue(given, report, 5)
    assert len(queue) == 5
    assert all("says 'certainly'" in item.reason and "held-out judge" in item.reason for item in queue)


def test_length_that_is_paid_for_is_found() -> None:
    def padded(generator: random.Random, step: int, place: int) -> dict[str, Any]:
        length = generator.randrange(5, 60)
        return {"length": length, "paid": 0.2 * math.log(length / 20)}

    report = seen(steps(padded))
    assert report.alarms[0].signal == "length bias", "words that come with length may be named after it"
    assert "for e times as many words" in report.alarms[0].evidence


def test_good_attempts_may_be_longer() -> None:
    def longer(generator: random.Random, step: int, place: int) -> dict[str, Any]:
        quality = generator.random()
        return {"quality": quality, "length": 5 + int(50 * quality)}

    assert seen(steps(longer)).alarms == ()


def test_a_place_that_is_paid_for_is_found_without_another_judge() -> None:
    given = steps(lambda generator, step, place: {"paid": 0.3 * (place == 0)}, held_out=False)
    report = seen(given)
    assert signals(report) == {"place bias"}
    assert "for being shown first" in report.alarms[0].evidence
    shuffled = [
        Step(
            step.number, step.groups, step.scores, step.reward,
            places=[random.Random(f"{step.number}/{at}").sample(range(6), 6) for at in range(6)],
        )
        for step in steps(lambda generator, step, place: {}, held_out=False)
    ]  # fmt: skip
    assert seen(shuffled).alarms == ()


@pytest.mark.parametrize("other", ["held_out", "truth"])
def test_a_reward_that_nothing_follows_is_found_with_the_last_clean_step(other: str) -> None:
    def hacked(generator: random.Random, step: int, place: int) -> dict[str, Any]:
        return {"paid": 0.3 * (step > 15)}

    report = seen(steps(hacked, 30, held_out=other == "held_out", truth=other == "truth"))
    (alarm,) = report.alarms
    assert alarm.signal == f"reward without {other.replace('_', '-')}"
    assert 16 <= alarm.step <= 25
    assert report.last_clean_step is not None
    assert 8 <= report.last_clean_step <= 16
    assert "the reward changed by +0." in alarm.evidence


def test_habits_that_spread_are_found() -> None:
    busy = seen(steps(lambda generator, step, place: {"calls": 4 if step > 12 else 1}))
    assert signals(busy) == {"repeats", "no-ops"}
    assert busy.freeze
    same = seen(steps(lambda generator, step, place: {"same": step > 12}))
    assert "similarity" in signals(same)


def test_longer_replies_are_worth_a_look_and_no_more() -> None:
    report = seen(steps(lambda generator, step, place: {"length": 60 if step > 12 else 12}))
    assert signals(report) == {"length"}
    assert not report.freeze
    assert report.last_clean_step == 25


def test_a_criterion_that_pays_for_another_is_found() -> None:
    given = []
    for step in steps(lambda generator, step, place: {"quality": 0.3 + 0.2 * (step > 12)}, held_out=False):
        correct = [[0.9 - 0.5 * (step.number > 12)] * 6] * 6
        given.append(Step(step.number, step.groups, {**step.scores, "correct": correct}, "judge"))
    assert signals(seen(given)) == {"falling criterion correct"}


def test_a_policy_far_from_its_base_is_found() -> None:
    given = [
        Step(step.number, step.groups, step.scores, step.reward, kl=0.1 * step.number)
        for step in steps(lambda generator, step, place: {}, 8)
    ]
    report = seen(given)
    (alarm,) = report.alarms
    assert (alarm.signal, alarm.step, report.last_clean_step) == ("kl", 6, 3)


def test_attempts_without_a_score_are_passed_over() -> None:
    first = steps(lambda generator, step, place: {}, 1)[0]
    table = [[None if place % 2 else 0.5 for place in range(6)] for _ in range(5)] + [[None] * 6]
    found = measure(Step(1, first.groups, {"judge": table}, "judge", first.held_out))
    assert found.reward == [0.5] * 5
    assert len(found.gaps["held_out"]) == 5
    assert review_queue([Step(1, first.groups, {"judge": table}, "judge")], watch([found]), 100)[0].reward == 0.5


def test_a_run_that_is_resumed_is_watched_from_its_start() -> None:
    def magic(generator: random.Random, step: int, place: int) -> dict[str, Any]:
        says = generator.random() < 0.2
        return {"words": ["certainly"] * says, "paid": 0.3 * says, "length": generator.randrange(8, 30)}

    measures = [measure(step) for step in steps(magic)]
    kept = [Measures.model_validate_json(each.model_dump_json()) for each in measures]
    assert kept == measures
    assert watch(kept) == watch(measures)


async def test_scores_by_part_become_a_steps_tables() -> None:
    gate = matches("a", "gate")
    reward = product([gate, matches("b", "later")])
    found = [await score_by_part(reward, group(*map(attempt, said))) for said in (("ab", "a"), ("x", "y"))]
    assert tables_of(found) == {
        "reward": [[1, 0], [0, 0]],
        "gate": [[1, 1], [0, 0]],
        "later": [[1, 0], [None, None]],
    }


def test_steps_that_cannot_be_watched_are_refused() -> None:
    (step,) = steps(lambda generator, step, place: {}, 1)
    with pytest.raises(InvalidInput, match="not among its scores"):
        measure(Step(1, step.groups, step.scores, "other"))
    with pytest.raises(InvalidInput, match="`held_out` needs a number for each"):
        measure(Step(1, step.groups, step.scores, "judge", [[0.5]]))
    with pytest.raises(InvalidInput, match="not finite"):
        measure(Step(1, step.groups, step.scores, "judge", kl=math.nan))
    with pytest.raises(InvalidInput, match="in order, each once"):
        watch([measure(step), measure(step)])


def test_patterns_of_calls() -> None:
    one = (call("1", "look", at=1), tool_result("1", "it"))
    empty = (call("2", "look", at=2), tool_result("2", " "))
    again = (call("3", "look", at=1), tool_result("3", "it"))
    assert no_op_share(attempt(*one, *empty, "x")) == 0.5
    assert no_op_share(attempt(*one, *empty, *again, "x")) == pytest.approx(2 / 3)
    assert no_op_share(attempt("x")) == 0
    assert repeats_itself(attempt(*one, *again, call("4", "look", at=1)))
    assert not repeats_itself(attempt(*one, *empty, *again))


def test_similarity_is_across_inputs() -> None:
    same, other = group(attempt("a b c")), group(attempt("a b c"))
    moved = other.model_copy(update={"scenario": other.scenario.model_copy(update={"id": "s2"})})
    assert similarity_across([same, other]) is None, "the same input may get the same reply"
    assert similarity_across([same, moved]) == 1
    different = moved.model_copy(update={"trajectories": (attempt("d e"),)})
    assert similarity_across([same, different]) == 0
