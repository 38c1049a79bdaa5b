"""Tool calls are read as they were written; what cannot be read stays text."""

import json

import pytest

from journeyman.rendering.tool_calls import may_hold_call, read_reply


def calls(text):
    return [(call.function.name, call.function.arguments) for call in read_reply(text).tool_calls or ()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('<tool_call>balance{"account":"A-1"}</tool_call>', [("balance", '{"account":"A-1"}')]),
        ("<tool_call>now{}</tool_call>", [("now", "{}")]),
        ('<tool_call> a.b-c_1 {"x" :  1} </tool_call>', [("a.b-c_1", '{"x" :  1}')]),
        ('<tool_call>f{"a":{"b":[{"c":"}"}]}}</tool_call>', [("f", '{"a":{"b":[{"c":"}"}]}}')]),
        ('<tool_call>überweisen{"an":"Jürgen 🙂"}</tool_call>', [("überweisen", '{"an":"Jürgen 🙂"}')]),
        ('<tool_call>f{"a":\n1}', [("f", '{"a":\n1}')]),
        ('<tool_call>{"name": "f", "arguments": {"a": "ü"}}</tool_call>', [("f", '{"a": "ü"}')]),
        ('<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>', [("f", '{"a": 1}')]),
        ('<tool_call>{"name": "f", "parameters": {}}</tool_call>', [("f", "{}")]),
        ('<tool_call>{"name": "f"}</tool_call>', [("f", "{}")]),
        ('<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>', [("f", '{"a": 1}')]),
        ("<tool_call>a{}</tool_call>\n<tool_call>b{}</tool_call>", [("a", "{}"), ("b", "{}")]),
        ("<tool_call>a{}<tool_call>b{}", [("a", "{}"), ("b", "{}")]),
    ],
)
def test_calls(text, expected):
    assert calls(text) == expected
    assert all(json.loads(arguments) is not None for _, arguments in expected)


@pytest.mark.parametrize(
    "text",
    [
        "plain words",
        "",
        "<tool_call>",
        "<tool_call></tool_call>",
        "<tool_call>f</tool_call>",
        '<tool_call>f{"a":</tool_call>',
        '<tool_call>f{"a":1}}</tool_call>',
        "<tool_call>f[1]</tool_call>",
        '<tool_call>two words{"a":1}</tool_call>',
        '<tool_call>{"name": 5}</tool_call>',
        '<tool_call>{"name": "f", "arguments": [1]}</tool_call>',
        '<tool_call>{"name": "f", "arguments": "words"}</tool_call>',
        "<tool_call>[]</tool_call>",
        '<tool_call>f{"a":1} and then',
        "</tool_call>",
    ],
)
def test_what_cannot_be_read_stays_text(text):
    message = read_reply(text)
    assert (message.content, message.tool_calls) == (text, None)


def test_words_around_calls_are_kept_as_they_were_written():
    message = read_reply(
        "One moment.\n<tool_call>a{}</tool_call>then<tool_call>broken</tool_call><tool_call>b{}</tool_call> "
    )
    assert message.content == "One moment.\nthen<tool_call>broken</tool_call> "
    assert [call.function.name for call in message.tool_calls] == ["a", "b"]


def test_only_a_call_has_no_content():
    assert read_reply("<tool_call>a{}</tool_call>").content is None


def test_every_call_has_an_id_of_its_own():
    message = read_reply("<tool_call>a{}</tool_call>" * 5)
    assert len({call.id for call in message.tool_calls}) == 5
    assert all(call.type == "function" for call in message.tool_calls)


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("", ""),
        ("words", "words"),
        ("words <", "words "),
        ("words <tool_ca", "words "),
        ("words <tool_call>f{", "words "),
        ("a < b", "a < b"),
        ("<tool_x", "<tool_x"),
        ("<<tool", "<"),
    ],
)
def test_words_are_held_back_only_where_a_call_may_begin(text, safe):
    assert text[: may_hold_call(text)] == safe
