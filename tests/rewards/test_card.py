"""Judge cards: what planted judges are measured at, and that an edit of the rubric leaves none."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from journeyman.errors import BadRow, InvalidInput
from journeyman.records import JudgeCard, Scenario, Score, Trajectory
from journeyman.records.message import assistant, call, tool_result, user
from journeyman.rewards.card import Asked, find_card, length_slope, measure_card
from journeyman.rewards.labelled import Labelled, labelled, load_labelled, pairs_of
from journeyman.rewards.perturbed import PERTURBATIONS, gold_against_perturbed, without_lucky_copies
from journeyman.rewards.raters import ListwiseRater, Rated
from journeyman.store.memory import MemoryStore
from tests.rewards.judges import ListwiseJudge, Worth, asker, words

Spoil = Callable[[dict[str, Any], int], object]


def cases(count: int = 40, size: int = 4) -> list[Labelled]:
    """Attempts that say a number, which is the truth; the lengths have nothing to do with it."""
    generator = np.random.default_rng(0)
    found = []
    for number in range(count):
        said = [
            ([assistant(f"{truth:.3f}" + " and" * int(generator.integers(0, 30)))], round(float(truth), 3))
            for truth in generator.uniform(0, 0.7, size)
        ]
        found.append(labelled(f"case-{number}", "numbers", [user(f"Question {number}")], said))
    return found


def number(shown: dict[str, Any]) -> float:
    return float(words(shown).split()[0])


async def card_of(worth: Worth, spoil: Spoil | None = None, **settings: Any) -> JudgeCard:
    rater = ListwiseRater(asker(ListwiseJudge(worth, spoil)))
    return await measure_card(rater, cases(), task="numbers", **settings)


async def test_a_sound_judge_is_measured_as_sound() -> None:
    card = await card_of(lambda _, shown: number(shown))
    assert card.accuracy.estimate == card.both_orders.estimate == card.kappa == 1
    assert card.order_consistency.estimate == card.repeat_stability.estimate == card.parse_rate.estimate == 1
    assert card.accuracy.low > 0.9
    assert (card.groups, card.pairs, card.unjudged, card.ties) == (40, 240, 0, 0)
    assert card.length_slope is not None
    assert abs(card.length_slope.estimate) < 1e-9
    assert card.first_place is not None
    assert card.first_place.low < 0.5 < card.first_place.high
    assert card.prompt_tokens > 100
    assert card.cost_usd is None


async def test_a_liking_for_the_first_place_shows() -> None:
    card = await card_of(lambda place, shown: number(shown) + 0.3 * (place == 0))
    assert card.first_place is not None
    assert card.first_place.low > 0.5
    assert card.order_consistency.high < 0.9
    assert card.repeat_stability.estimate == 1


async def test_a_liking_for_length_shows_as_a_slope() -> None:
    card = await card_of(lambda _, shown: number(shown) + 0.05 * np.log(1 + len(words(shown).split())))
    assert card.length_slope is not None
    assert card.length_slope.low <= 0.05 <= card.length_slope.high + 1e-6
    assert card.length_slope.low > 0.04


async def test_a_judge_that_changes_its_mind_is_unstable() -> None:
    noise = np.random.default_rng(1)
    card = await card_of(lambda _, shown: number(shown) + noise.normal(0, 0.3))
    assert card.repeat_stability.high < 0.9
    assert 0.5 < card.accuracy.estimate < 0.9


async def test_what_cannot_be_read_and_what_contradicts_itself_is_counted() -> None:
    seen = iter(range(10**6))

    def ramble(said: dict[str, Any], asked: int) -> object:
        for each in said["attempts"]:
            each["reason"] = "Fully correct." if each["score"] < 0.1 else "Good."
        return "Let me see." if asked == 2 and next(seen) % 4 == 0 else said

    card = await card_of(lambda _, shown: number(shown), ramble, concurrency=1)
    assert card.parse_rate.estimate == pytest.approx(0.8)
    assert card.mismatches is not None
    assert 0.05 < card.mismatches.estimate < 0.3


async def test_a_judge_without_verdicts_has_no_card() -> None:
    with pytest.raises(InvalidInput, match="a verdict on 0 of 40 groups"):
        await card_of(lambda _, shown: number(shown), lambda *_: "no")


async def test_an_edited_rubric_has_no_card() -> None:
    store, judge = MemoryStore(), asker(ListwiseJudge(lambda _, shown: number(shown)))
    rater, edited = ListwiseRater(judge, "The larger number is better."), ListwiseRater(judge, "Larger is better.")
    card = await measure_card(rater, cases(4), task="numbers")
    store.put(card)
    assert find_card(store, "judge", rater.rubric_hash, name="numbers", task="numbers") == card
    assert find_card(store, "judge", rater.rubric_hash) == card
    assert find_card(store, "judge", edited.rubric_hash) is None
    assert find_card(store, "another", rater.rubric_hash) is None
    assert find_card(store, "judge", rater.rubric_hash, task="letters") is None


def test_the_slope_is_that_of_least_squares_with_a_level_for_each_group() -> None:
    generator = np.random.default_rng(3)
    asked = []
    for case in cases(20):
        lengths = [np.log(1 + len(each.messages[-1].text.split())) for each in case.group.trajectories]
        scores = tuple(float(t + 0.1 * x + generator.normal(0, 0.1)) for t, x in zip(case.truth, lengths, strict=True))
        asked.append(Asked(case, (0, 1, 2, 3), Rated(scores), Rated(scores), Rated(scores)))
    found = length_slope(asked)
    rows = [
        (number, t, np.log(1 + len(each.messages[-1].text.split())), y)
        for number, one in enumerate(asked)
        for each, t, y in zip(one.case.group.trajectories, one.case.truth, one.forward.scores, strict=True)
    ]
    levels = np.array([[float(row[0] == group) for group in range(20)] for row in rows])
    design = np.column_stack([levels, [row[1] for row in rows], [row[2] for row in rows]])
    expected = np.linalg.lstsq(design, np.array([row[3] for row in rows]), rcond=None)[0][-1]
    assert found is not None
    assert found.estimate == pytest.approx(expected, abs=1e-9)
    assert found.low < 0.1 < found.high


PROMPT = {"prompt": "2 + 2?"}
FILES: dict[str, tuple[dict[str, Any], tuple[float, ...]]] = {
    "rewardbench": ({**PROMPT, "chosen": "4", "rejected": "5", "subset": "math-prm", "id": 7}, (1, 0)),
    "rewardbench2": (
        {**PROMPT, "id": "7", "chosen": ["4"], "rejected": ["5", "6", "7"], "subset": "Math", "num_correct": 1},
        (1, 0, 0, 0),
    ),
    "rm-bench": (
        {**PROMPT, "id": 7, "chosen": ["4", "It is 4", "**4**"], "rejected": ["5", "It is 5", "**5**"], "domain": "m"},
        (1, 1, 1, 0, 0, 0),
    ),
    "judgebench": (
        {"pair_id": "7", "question": "2 + 2?", "response_A": "5", "response_B": "4", "label": "B>A", "source": "mmlu"},
        (0, 1),
    ),
    "labelled": (
        {
            "messages": [{"role": "user", "content": "2 + 2?"}],
            "attempts": [
                {"messages": [{"role": "assistant", "content": "4"}], "truth": 1},
                {"messages": [{"role": "assistant", "content": "5"}], "truth": 0},
            ],
        },
        (1, 0),
    ),
}


@pytest.mark.parametrize("shape", FILES)
@pytest.mark.parametrize("as_list", [False, True])
def test_benchmarks_files_are_read(shape: str, as_list: bool, tmp_path: Path) -> None:
    row, truth = FILES[shape]
    path = tmp_path / "data.json"
    path.write_text(json.dumps([row, row]) if as_list else f"{json.dumps(row)}\n{json.dumps(row)}\n")
    for named in (None, shape):
        first, second = load_labelled(path, named)
        assert first.truth == second.truth == truth
        assert first.group.trajectories[truth.index(1)].messages[-1].text == "4"
        assert first.group.trajectories[0].messages[0].text == "2 + 2?"
    assert len(pairs_of([first])) == truth.count(1) * truth.count(0)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"prompt": "x", "chosen": "a"}', "those of no shape"),
        ('{"prompt": "x", "chosen": "a", "rejected": "a"}', "as good, or the same"),
        ('{"prompt": "x", "chosen": 4, "rejected": "a"}', "line 1"),
        ('{"question": "x", "response_A": "a", "response_B": "b", "label": "tie"}', "JudgeBench says"),
        ('{"messages": [], "attempts": [{"truth": 1}]}', "'messages' is missing"),
        ("[1]", "not an object"),
        ("nonsense", "not JSON"),
        ("[nonsense", "no JSON list"),
        ("", "no rows"),
    ],
)
def test_rows_that_say_nothing_are_refused_by_line(text: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(text)
    with pytest.raises((BadRow, InvalidInput), match=complaint):
        load_labelled(path)
    with pytest.raises(InvalidInput, match="cannot be read"):
        load_labelled(tmp_path / "absent")


def gold(count: int = 6) -> list[tuple[Scenario, Trajectory]]:
    found = []
    for at in range(count):
        scenario = Scenario(id=f"s{at}", environment="bank", kind="balance")
        said = (
            user("?"),
            call("1", "balance", account=at),
            tool_result("1", f"{at}0.00"),
            assistant(f"You have {at}0."),
        )
        score = (Score(name="success", value=1),)
        found.append(
            (scenario, Trajectory(scenario_id=f"s{at}", model="m", session=f"x{at}", messages=said, scores=score))
        )
    return found


def test_a_success_with_one_thing_broken_is_worse() -> None:
    known = gold()
    found = gold_against_perturbed(known, seed=1)
    assert found == gold_against_perturbed(known, seed=1)
    kinds = set()
    for case in found:
        assert sorted(case.truth) == [0, 0, 0, 1]
        right = case.group.trajectories[case.truth.index(1)]
        assert right.score("success") == 1
        for each, truth in zip(case.group.trajectories, case.truth, strict=True):
            assert (each.messages == right.messages) is (truth == 1)
            kinds.add(each.id.removeprefix(f"{right.id}-") if not truth else "gold")
    assert kinds == {"gold", *(name.replace(" ", "-") for name in PERTURBATIONS)}
    failed = gold()[0][1].model_copy(update={"scores": ()})
    with pytest.raises(InvalidInput, match="is no success"):
        gold_against_perturbed([(gold()[0][0], failed)])


async def test_copies_that_succeed_all_the_same_are_left_out() -> None:
    cases = gold_against_perturbed(gold(), most=4)

    async def succeeds(_: Scenario, trajectory: Trajectory) -> bool:
        return "without-a-call" in trajectory.id or trajectory.scenario_id == "s0"

    kept, lucky = await without_lucky_copies(cases, succeeds)
    assert lucky == 4 + 5
    assert [sorted(case.truth) for case in kept] == [[0, 0, 0, 1]] * 5
    assert not any("without-a-call" in each.id for case in kept for each in case.group.trajectories)


async def test_a_judge_that_checks_is_told_from_one_that_does_not() -> None:
    def checks(_: int, shown: dict[str, Any]) -> float:
        said = words(shown)
        results = [each["content"] for each in shown["messages"] if each["role"] == "tool"]
        return float(said.startswith("You have") and any(said[9:-1] == result[:-3] for result in results))

    labels = gold_against_perturbed(gold(12), most=4)
    sound = await measure_card(ListwiseRater(asker(ListwiseJudge(checks))), labels, task="bank")
    blind = await measure_card(ListwiseRater(asker(ListwiseJudge(lambda *_: 0.5))), labels, task="bank")
    assert sound.accuracy.estimate == 1
    assert (blind.accuracy.estimate, blind.ties) == (0.5, 1)
