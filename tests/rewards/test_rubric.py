"""Criteria are met only with words that the attempt itself says."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from journeyman.engines.scripted import ScriptedEngine
from journeyman.errors import InvalidInput, UpstreamFailed
from journeyman.records import Message, Score
from journeyman.records.message import assistant, call, tool_result
from journeyman.rewards import Asker, Criterion, Rubric, score_by_part, score_group
from journeyman.rewards.mismatch import contradicts
from journeyman.rewards.rubric import is_quoted, squeezed
from tests.rewards.attempts import attempt, group
from tests.rewards.conformance import check_reward

CRITERIA = (
    Criterion(name="date", question="Does it name the day of arrival?", weight=2),
    Criterion(name="thanks", question="Does it thank the customer?"),
    Criterion(name="rude", question="Is it rude?", weight=-1),
)
Answer = dict[str, tuple[bool, str]]


def judging(decide: Callable[[str], Answer]) -> Asker:
    """A judge in good form; `decide` sees the last words of the attempt."""

    def script(messages: Sequence[Message], _: object) -> Message:
        last = json.loads(messages[1].text)["attempt"][-1].get("content", "")
        said = [{"name": name, "quote": quote, "met": met} for name, (met, quote) in decide(last).items()]
        return assistant(json.dumps({"criteria": said}))

    return Asker(ScriptedEngine(script), "judge")


def honest(said: str) -> Answer:
    words = {"date": "on Monday", "thanks": "Thank you", "rude": "idiot"}
    return {name: (word in said, word if word in said else "") for name, word in words.items()}


def values(scores: tuple[Score | None, ...]) -> list[float | None]:
    return [None if score is None else score.value for score in scores]


ATTEMPTS = group(
    attempt("It comes on Monday. Thank you!"),
    attempt("It comes on Monday, idiot."),
    attempt("idiot"),
    attempt(),
    attempt("Thank you, but I cannot tell."),
)


async def test_it_keeps_to_the_seam_and_tells_each_criterion() -> None:
    rubric = Rubric(judging(honest), CRITERIA)
    await check_reward(rubric, ATTEMPTS)
    found = await score_by_part(rubric, ATTEMPTS)
    assert values(found["rubric"]) == [1, pytest.approx(1 / 3), 0, None, pytest.approx(1 / 3)]
    assert values(found["rude"]) == [0, 1, 1, None, 0]
    assert rubric.proofs.unproven == 0


async def test_what_is_met_without_words_of_the_attempt_does_not_count() -> None:
    rubric = Rubric(
        judging(lambda _: dict.fromkeys(("date", "thanks", "rude"), (True, "Where is my order?"))), CRITERIA
    )
    first, *_ = await score_group(rubric, ATTEMPTS)
    assert first is not None
    assert first.value == 0, "words of the task prove nothing"
    assert "called met without proof: date, thanks, rude" in first.reason
    assert (rubric.proofs.met, rubric.proofs.unproven) == (12, 12)


async def test_what_tools_gave_can_be_quoted() -> None:
    looked = attempt(call("1", "track", order=7), tool_result("1", '{"arrives":  "on Monday"}'), "See above.")
    quoting = judging(lambda _: {"date": (True, '"arrives": "on  MONDAY"'), "thanks": (False, ""), "rude": (False, "")})
    assert values(await score_group(Rubric(quoting, CRITERIA), group(looked))) == [pytest.approx(2 / 3)]


@pytest.mark.parametrize(
    ("quote", "stands"),
    [("on Monday", True), ("ON  monday.", True), ("Mon", False), ("", False), ("a", False), ("(soon)", True)],
)
def test_a_quotation_stands_on_the_borders_of_words(quote: str, stands: bool) -> None:
    assert is_quoted(quote, squeezed("It comes\non Monday. (soon)")) is stands


@pytest.mark.parametrize(
    "said",
    [
        "ok",
        '{"criteria": {}}',
        '{"criteria": []}',
        '{"criteria": [{"name": "date", "quote": "", "met": "yes"}]}',
        '{"criteria": [{"name": "date", "met": true}]}',
        json.dumps({"criteria": [{"name": name, "quote": "", "met": False} for name in ("date", "thanks")]}),
        json.dumps({"criteria": [{"name": name, "quote": "", "met": False} for name in ("date", "date", "rude")]}),
    ],
)
async def test_an_answer_of_another_form_gives_no_score(said: str) -> None:
    judge = Asker(ScriptedEngine(lambda *_: assistant(said)), "judge")
    with pytest.raises(UpstreamFailed, match="answered twice"):
        await score_group(Rubric(judge, CRITERIA), group(attempt("x y")))
    assert judge.unreadable == 2


async def test_copies_are_asked_about_once_and_verdicts_are_kept() -> None:
    judge = judging(honest)
    rubric = Rubric(judge, CRITERIA)
    twice = group(attempt("Thank you"), attempt("Thank you"), attempt("on Monday"))
    for _ in range(2):
        assert values(await score_group(rubric, twice)) == [pytest.approx(1 / 3)] * 2 + [pytest.approx(2 / 3)]
    assert judge.answers == 2


def test_criteria_that_mean_nothing_are_refused() -> None:
    judge = judging(honest)
    wrong: list[dict[str, Any]] = [{"criteria": []}, {"criteria": CRITERIA[2:]}, {"criteria": CRITERIA, "name": "date"}]
    for settings in wrong:
        with pytest.raises(InvalidInput, match="names of their own"):
            Rubric(judge, **settings)


def test_an_edit_makes_another_rubric() -> None:
    judge = judging(honest)
    edited = (CRITERIA[0].model_copy(update={"question": "Does it name a day?"}), *CRITERIA[1:])
    assert Rubric(judge, CRITERIA).hash == Rubric(judge, CRITERIA).hash != Rubric(judge, edited).hash


@pytest.mark.parametrize(
    ("reason", "score", "mismatched"),
    [
        ("The answer is correct.", 0.0, True),
        ("It fully solves the task.", 0.2, True),
        ("It is completely wrong.", 0.9, True),
        ("It fails to look anything up.", 1.0, True),
        ("The answer is correct.", 0.9, False),
        ("The answer is not fully correct.", 0.1, False),
        ("It does not reach the goal.", 0.1, False),
        ("It is correct but fails to cite.", 0.9, False),
        ("A good try.", 0.0, False),
    ],
)
def test_words_against_the_number_are_found(reason: str, score: float, mismatched: bool) -> None:
    assert contradicts(reason, score) is mismatched
