"""A reply is read the same whole and in pieces; thoughts stay apart, and half a call is never told."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journeyman.rendering.reasoning import ThoughtReader, opens_thought
from journeyman.rendering.reply import ReplyReader
from journeyman.rendering.tool_calls import CallStyle

SIGNATURE, TAGGED, XML, BARE = (CallStyle(name) for name in ("signature", "tagged", "xml", "bare"))
TOOLS = {"f": {"properties": {"a": {"type": "integer"}}}, "g": None}
REPLIES = [
    "plain words",
    "<think>\nlet me see\n\nyes\n</think>\n\nIt is 5.",
    "<think></think>nothing thought",
    "<think>cut in the mid",
    "<thin> is no thought, nor is <think> here",
    "  \n<think>a < b </thinker> </think><tool_call>f{}</tool_call>",
    'I look. <tool_call>f{"a": "<tool_call>"}</tool_call> and <tool_call>g{}</tool_call>',
    '<tool_call>\n{"name": "f", "arguments": {"a":  1}}\n</tool_call>',
    "Look: <tool_call>\n<function=f>\n<parameter=a>\n<tool_call>1</tool_call>\n</parameter>\n</function>\n</tool_call>",
    "<tool_call><function=g></function></tool_call> and <tool_call><function=f><parameter=a>1</tool_call>",
    "a <tool_call>half",
    '{"name": "f", "parameters": {"a": [1,  2]}}',
    '{"name": "unknown", "parameters": {}}',
    '{"just": "JSON"}',
    " {",
    "",
]


def read(text, style=None, cuts=(), thinking=False):
    """Thought and words as told in pieces, and the message."""
    reader = ReplyReader(style, TOOLS, thinking=thinking)
    edges = [0, *sorted(cuts), len(text)]
    pieces = [reader.add(text[start:end]) for start, end in pairwise(edges)]
    pieces.append(reader.add("", last=True))
    return "".join(piece.thought for piece in pieces), "".join(piece.words for piece in pieces), reader.message


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(REPLIES), st.sampled_from([None, SIGNATURE, TAGGED, XML, BARE]), st.booleans(), st.data())
def test_pieces_together_are_the_message(text, style, thinking, data):
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=12))
    thought, words, message = read(text, style, cuts, thinking)
    assert words == message.text
    assert thought == (message.model_extra or {}).get("reasoning_content", "")
    whole = read(text, style, (), thinking)[2]
    assert (message.content, len(message.tool_calls or ())) == (whole.content, len(whole.tool_calls or ()))


@pytest.mark.parametrize(("style", "text"), [
    (SIGNATURE, 'Look: <tool_call>f{"a": 1}</tool_call>'),
    (TAGGED, 'Look: <tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'),
    (XML, "Look: <tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>"),
    (BARE, '{"name": "f", "parameters": {"a": 1}}'),
])  # fmt: skip
def test_no_character_of_a_call_is_told_as_words(style, text):
    _, words, message = read(text, style, range(len(text)))
    assert words == ("" if style is BARE else "Look: ")
    (made,) = message.tool_calls
    assert (made.function.name, json.loads(made.function.arguments)) == ("f", {"a": 1})


@pytest.mark.parametrize(
    ("text", "thought", "words"),
    [
        ("<think>\na\n\nb\n</think>\n\nc", "a\n\nb", "c"),
        ("<think>a</think>b</think>c", "a", "b</think>c"),
        ("<think>\n\n</think>\n\nc", "", "c"),
        ("<think>a", "a", ""),
        ("<thi", "", "<thi"),
        ("b <think>a</think>", "", "b <think>a</think>"),
    ],
)
def test_a_thought_is_what_a_reply_begins_with(text, thought, words):
    for cuts in ((), range(len(text))):
        told = read(text, cuts=cuts)
        assert told[:2] == (thought, words)
        assert "<think>" not in told[0]


def test_a_thought_that_the_prompt_has_begun():
    assert read("a\n</think>\n\nb", thinking=True)[:2] == ("a", "b")
    assert opens_thought("<|im_start|>assistant\n<think>\n")
    assert not opens_thought("<|im_start|>assistant\n<think>\n\n</think>\n\n")


def test_thoughts_are_told_as_they_come():
    reader = ThoughtReader()
    assert [reader.add(text) for text in ("<th", "ink>\na", " b\n", "\nc", "</th", "ink>\n", "d")] == [
        ("", ""), ("a", ""), (" b", ""), ("\n\nc", ""), ("", ""), ("", ""), ("", "d")
    ]  # fmt: skip


def test_calls_inside_a_thought_are_thoughts():
    _, _, message = read("<think><tool_call>f{}</tool_call></think>no", SIGNATURE)
    assert (message.content, message.tool_calls) == ("no", None)


def test_without_tools_a_call_is_words():
    assert read("<tool_call>f{}</tool_call>")[1:2] == ("<tool_call>f{}</tool_call>",)
