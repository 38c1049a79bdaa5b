"""Each kind of check, on answers that it must and must not let pass."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from journeyman.errors import InvalidInput
from journeyman.evals.checks import Check, prepare, run_check
from journeyman.records import FunctionCall, Message, ToolCall
from journeyman.records.message import assistant, user
from journeyman.rewards.judge import Judge
from tests.evals.players import Players, judging

CHECK: TypeAdapter[Check] = TypeAdapter(Check)


async def outcome(
    check: dict[str, Any], reply: Message | str, folder: Path = Path(), judge: Judge | None = None
) -> Any:
    message = assistant(reply) if isinstance(reply, str) else reply
    return await run_check(CHECK.validate_python(check), message, [user("?")], {"id": "1"}, folder, judge)


def calling(*calls: tuple[str, str]) -> Message:
    made = [ToolCall(id=str(at), function=FunctionCall(name=name, arguments=given)) for at, (name, given) in
            enumerate(calls)]  # fmt: skip
    return Message(role="assistant", content=None, tool_calls=tuple(made))


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        ({"type": "exact", "answer": "Paris"}, " Paris\n", "paris"),
        ({"type": "exact", "answer": ["Paris", "Lyon"], "ignore_case": True}, "LYON", "Lyon."),
        ({"type": "regex", "pattern": r"\bB-\d+"}, "your order B-17", "your order b17"),
        ({"type": "regex", "pattern": "sorry", "absent": True}, "done", "I am sorry"),
        ({"type": "numeric", "answer": 1234.5}, "First 7, then 1,234.50.", "1234.6"),
        ({"type": "numeric", "answer": -3}, "It is −3.", "It is 3."),
        ({"type": "numeric", "answer": 100, "relative": 0.01}, "about 101", "about 102"),
        ({"type": "numeric", "answer": 100, "tolerance": 2}, "98", "no number at all"),
        (
            {"type": "json_schema", "schema": {"required": ["id"], "properties": {"id": {"type": "integer"}}}},
            '```json\n{"id": 1}\n```',
            '{"id": "1"}',
        ),
        ({"type": "json_schema", "schema": {"type": "array"}}, "[]", "Here you are: []"),
    ],
)  # fmt: skip
async def test_answers_that_are_right_pass_and_wrong_ones_do_not(check: dict[str, Any], right: str, wrong: str) -> None:
    assert (await outcome(check, right))[0] is True
    passed, reason = await outcome(check, wrong)
    assert passed is False
    assert reason


@pytest.mark.parametrize(
    ("options", "calls", "passes"),
    [
        ({}, [("find", '{"id": 1.0}'), ("send", '{"to": "b", "from": "a"}')], True),
        ({}, [("send", '{"from": "a", "to": "b"}'), ("find", '{"id": 1}')], True),
        ({"in_order": True}, [("send", '{"from": "a", "to": "b"}'), ("find", '{"id": 1}')], False),
        ({}, [("find", '{"id": 1}')], False),
        ({}, [("find", '{"id": 1}'), ("send", '{"from": "a", "to": "c"}')], False),
        ({}, [("find", '{"id": 1}'), ("send", "{broken")], False),
        ({}, [("find", '{"id": 1}'), ("send", '{"from": "a", "to": "b"}'), ("more", "")], False),
    ],
)
async def test_tool_calls_are_compared_as_values(
    options: dict[str, Any], calls: list[tuple[str, str]], passes: bool
) -> None:
    wanted = [{"name": "find", "arguments": {"id": 1}}, {"name": "send", "arguments": {"from": "a", "to": "b"}}]
    passed, _ = await outcome({"type": "tool_calls", "calls": wanted, **options}, calling(*calls))
    assert passed is passes


async def test_expectations_that_overlap_are_matched_as_a_whole() -> None:
    wanted = [{"name": "f", "others": True}, {"name": "f", "arguments": {"x": 1}}]
    passed, _ = await outcome({"type": "tool_calls", "calls": wanted}, calling(("f", '{"x": 1}'), ("f", '{"x": 2}')))
    assert passed


async def test_no_call_can_be_what_is_expected() -> None:
    assert (await outcome({"type": "tool_calls", "calls": []}, "I may not do that"))[0]
    assert not (await outcome({"type": "tool_calls", "calls": []}, calling(("f", ""))))[0]


async def test_code_sees_the_reply_and_the_case(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def check(reply, case):\n    return reply.text == case['id'], 'not the id'\n")
    check = {"type": "code", "file": "mine.py"}
    assert await outcome(check, "1", tmp_path) == (True, "not the id")
    assert await outcome(check, "2", tmp_path) == (False, "not the id")
    before = prepare(CHECK.validate_python(check), tmp_path)
    (tmp_path / "mine.py").write_text("def check(reply, case):\n    return 'yes'\n")
    assert prepare(CHECK.validate_python(check), tmp_path) != before
    with pytest.raises(InvalidInput, match="must return a bool"):
        await outcome(check, "1", tmp_path)


@pytest.mark.parametrize(
    ("source", "complaint"), [(None, "cannot be read"), ("1 +", "SyntaxError"), ("x = 1", "no attribute 'check'")]
)
def test_code_that_cannot_be_used_is_found_before_anything_is_asked(
    tmp_path: Path, source: str | None, complaint: str
) -> None:
    if source is not None:
        (tmp_path / "mine.py").write_text(source)
    with pytest.raises(InvalidInput, match=complaint):
        prepare(CHECK.validate_python({"type": "code", "file": "mine.py"}), tmp_path)


async def test_a_judge_decides_by_the_rubric_and_the_reference() -> None:
    def decide(shown: dict[str, Any]) -> str:
        assert shown["rubric"] == "is polite"
        return "pass" if shown["reference_answer"] in shown["answer"] else "fail"

    judge = Judge(Players(strict=judging(decide)), "strict")
    check = {"type": "judge", "rubric": "is polite", "reference": "please"}
    assert await outcome(check, "yes, please", judge=judge) == (True, "because")
    assert await outcome(check, "no", judge=judge) == (False, "because")
    with pytest.raises(InvalidInput, match="--judge"):
        await outcome(check, "no")


@pytest.mark.parametrize(
    "check",
    [
        {"type": "exact", "answer": "a", "ignorecase": True},
        {"type": "regex", "pattern": "("},
        {"type": "numeric", "answer": 1, "tolerance": -1},
        {"type": "guess"},
        {"type": "judge", "rubric": ""},
    ],
)
def test_a_check_with_a_mistake_in_it_is_refused(check: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CHECK.validate_json(json.dumps(check))


def test_a_schema_that_is_none_is_found_before_anything_is_asked() -> None:
    with pytest.raises(InvalidInput, match="not valid"):
        prepare(CHECK.validate_python({"type": "json_schema", "schema": {"type": "no such type"}}), Path())
