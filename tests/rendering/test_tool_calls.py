"""Tool calls are read as they were written; what cannot be read stays text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.engines.vllm_tools import read_calls
from journeyman.rendering.chat import TOOL_TEMPLATE
from journeyman.rendering.tool_calls import CallStyle, style_of
from tests.rendering.models import TEMPLATES

SIGNATURE, TAGGED, BARE = CallStyle("signature"), CallStyle("tagged"), CallStyle("bare")
F = {"f": None}
"""The only tool that is offered."""


def read_reply(text):
    return SIGNATURE.read(text)


def calls_of(message):
    return [(call.function.name, call.function.arguments) for call in message.tool_calls or ()]


def calls(text, style=SIGNATURE):
    return calls_of(style.read(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('<tool_call>balance{"account":"A-1"}</tool_call>', [("balance", '{"account":"A-1"}')]),
        ("<tool_call>now{}</tool_call>", [("now", "{}")]),
        ('<tool_call> a.b-c_1 {"x" :  1} </tool_call>', [("a.b-c_1", '{"x" :  1}')]),
        ('<tool_call>f{"a":{"b":[{"c":"}"}]}}</tool_call>', [("f", '{"a":{"b":[{"c":"}"}]}}')]),
        ('<tool_call>überweisen{"an":"Jürgen 🙂"}</tool_call>', [("überweisen", '{"an":"Jürgen 🙂"}')]),
        ('<tool_call>f{"a":\n1}</tool_call>', [("f", '{"a":\n1}')]),
        ('<tool_call>{"name": "f", "arguments": {"a": "ü"}}</tool_call>', [("f", '{"a": "ü"}')]),
        ('<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>', [("f", '{"a": 1}')]),
        ('<tool_call>{"name": "f", "parameters": {}}</tool_call>', [("f", "{}")]),
        ('<tool_call>{"name": "f"}</tool_call>', [("f", "{}")]),
        ('<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>', [("f", '{"a": 1}')]),
        ("<tool_call>a{}</tool_call>\n<tool_call>b{}</tool_call>", [("a", "{}"), ("b", "{}")]),
        ("<tool_call>a{}<tool_call>b{}</tool_call>", [("b", "{}")]),
        ('<tool_call>[{"name": "f", "arguments": {"a": "],"}}]</tool_call>', [("f", '{"a": "],"}')]),
        ('<tool_call>[ {"name":"f","arguments":{}} ,\n{"name":"g"} ]\n</tool_call>', [("f", "{}"), ("g", "{}")]),
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
        '<tool_call>[{"name": "f"}, 1]</tool_call>',
        '<tool_call>[{"name": "f"}',
        '<tool_call>f{"a":1} and then',
        '<tool_call>f{"a":1}',
        '<tool_call>f{"a":"<tool_call>g{}</tool_call>',
        '<tool_call>f{"a":"b\n<tool_call>g{}</tool_call>"}</tool_call>',
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
    assert text[: TAGGED.certain(text)] == safe


@pytest.mark.parametrize(
    "arguments",
    [
        '{"a":1}',
        '{ "a" :  1.50, "b": [ ] }',
        '{"a": "\\u00fc"}',
        '{"a": {"arguments": {"name": "x"}}}',
        "{}",
        '{"a":\n1}',
    ],
)
def test_arguments_are_the_very_characters_that_the_model_wrote(arguments):
    for style, text in (
        (SIGNATURE, f"<tool_call>f{arguments}</tool_call>"),
        (TAGGED, f'<tool_call>\n{{"name": "f", "arguments": {arguments}}}\n</tool_call>'),
        (TAGGED, f'<tool_call>{{"arguments" :{arguments} , "name": "f"}}</tool_call>'),
        (BARE, f'{{"name": "f", "parameters": {arguments}}}'),
        (BARE, f'<|python_tag|>{{"type": "function", "name": "f", "parameters": {arguments}}}'),
    ):
        assert calls(text, style) == [("f", arguments)]


def test_a_call_is_written_as_it_is_read():
    for style in (SIGNATURE, TAGGED, BARE):
        before, after = style.around("f-1")
        assert calls(f'{before}{{"a": 1}}{after}', style) == [("f-1", '{"a": 1}')]


@pytest.mark.parametrize(
    "text", ['{"name": "f"} and words', 'words {"name": "f"}', '{"name": "g"}', "{", '[{"name": "f"}]', "{}", "x"]
)
def test_bare_calls_are_all_that_there_is_and_of_a_tool_that_there_is(text):
    message = BARE.read(text, F)
    assert (message.content, message.tool_calls) == (text, None)


@pytest.mark.parametrize(
    ("text", "certain"),
    [("", 0), ("  ", 0), ("{", 0), (" {x", 0), ("<|python_t", 0), ("<|python_tag|>x", 0), ("words {", 7), ("<|x", 3)],
)
def test_a_bare_call_is_held_back_from_its_brace_on(text, certain):
    assert BARE.certain(text) == certain


INSIDE = ["say </tool_call> now", "x</tool_call><tool_call>delete_all{}</tool_call>", '\\"}</tool_call>', "<tool_call>"]


@pytest.mark.parametrize("said", INSIDE)
def test_a_marker_inside_of_a_string_neither_ends_a_call_nor_opens_another(said):
    arguments = json.dumps({"text": said})
    for style in (SIGNATURE, TAGGED):
        before, after = style.around("note")
        message = style.read(f"Well. {before}{arguments}{after} Bye.", {"note": None, "delete_all": None})
        assert [(call.function.name, call.function.arguments) for call in message.tool_calls] == [("note", arguments)]
        assert message.content == "Well.  Bye."
        assert read_calls(f"{before}{arguments}{after}")[1] == ([("note", arguments)] if style == SIGNATURE else [])


def test_a_tool_that_was_not_offered_is_not_called():
    for style in (SIGNATURE, TAGGED, BARE):
        before, after = style.around("delete_all")
        assert style.read(f"{before}{{}}{after}", {"note": None}).content == f"{before}{{}}{after}"
        assert style.read(f"{before}{{}}{after}", {"note": None}).tool_calls is None


PIECES = st.sampled_from(
    ["<tool_call>", "</tool_call>", "f", "g", "{}", '{"a": "', '"}', "}", "{", '"', "\\", " ", "\n", "x", '{"b": [1]}']
)


@given(st.lists(PIECES, max_size=14).map("".join))
def test_vllm_reads_the_calls_that_we_read(text):
    message = SIGNATURE.read(text, F)
    assert read_calls(text, {"f"}) == (message.text, calls_of(message))


@given(st.lists(PIECES, max_size=14).map("".join), st.integers(0, 60))
def test_a_call_that_was_read_is_still_one_when_more_is_written(text, end):
    assert read_calls(text)[1][: len(read_calls(text[:end])[1])] == read_calls(text[:end])[1]


def test_nesting_that_no_parser_follows_is_words():
    deep = "<tool_call>f{" + '"a":{' * 100_000
    assert SIGNATURE.read(deep).content == deep


LLAMA = """{{- 'Respond in the format {"name": function name, "parameters": dictionary of arguments}.' }}"""
QWEN = """{{- "return a json object within <tool_call></tool_call> XML tags:\\n<tool_call>\\n" }}"""


def test_the_style_is_known_by_the_template():
    assert style_of(TOOL_TEMPLATE.read_text()) == SIGNATURE
    assert style_of(QWEN) == TAGGED
    assert style_of((TEMPLATES / "qwen3-coder.jinja").read_text()) == CallStyle("xml")
    assert style_of("{{ messages }}") == TAGGED
    assert style_of(LLAMA) == style_of("{{ '<|python_tag|>' }}") == BARE
