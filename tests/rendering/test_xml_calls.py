"""Calls in Qwen3-Coder's elements: values get their type from the tool's schema, and what does not end is text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.records import FunctionCall, Message, ToolCall
from journeyman.records.message import user
from journeyman.rendering.tool_calls import CallStyle
from tests.rendering.models import write_family

XML = CallStyle("xml")
KINDS = {
    "text": {"type": "string"},
    "count": {"type": "integer"},
    "share": {"type": "number"},
    "on": {"type": "boolean"},
    "place": {"type": "object"},
    "all": {"type": "array"},
    "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    "either": {"type": ["integer", "string"]},
    "level": {"enum": [1, 2]},
    "shade": {"enum": ["1", "dark"]},
    "point": {"$ref": "#/$defs/Point"},
    "wrapped": {"allOf": [{"title": "a"}, {"$ref": "#/$defs/Point"}]},
    "round": {"$ref": "#/properties/round"},
    "any": {},
}
DEFINITIONS = {"Point": {"type": "object", "properties": {"x": {"type": "integer"}}}}
F = {"f": {"properties": KINDS, "$defs": DEFINITIONS}, "g": None}


def element(name, value):
    return f"<parameter={name}>\n{value}\n</parameter>\n"


def call(*elements, function="f"):
    return f"<tool_call>\n<function={function}>\n{''.join(elements)}</function>\n</tool_call>"


def read(text):
    return [(each.function.name, each.function.arguments) for each in XML.read(text, F).tool_calls or ()]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("text", "0017", '"0017"'),
        ("text", "null", '"null"'),
        ("text", "True", '"True"'),
        ("text", '{"a": 1}', '"{\\"a\\": 1}"'),
        ("text", "", '""'),
        ("text", "\n a \n", '"\\n a \\n"'),
        ("text", 'say "ü" \\ 🙂', '"say \\"ü\\" \\\\ 🙂"'),
        ("count", "17", "17"),
        ("count", " -3 ", "-3"),
        ("count", "seventeen", '"seventeen"'),
        ("count", "0017", '"0017"'),
        ("count", "1.5", "1.5"),
        ("count", "None", "null"),
        ("share", "1.50", "1.50"),
        ("share", "1e-05", "1e-05"),
        ("share", "nan", '"nan"'),
        ("share", "NaN", '"NaN"'),
        ("share", "-Infinity", '"-Infinity"'),
        ("on", "true", "true"),
        ("on", "False", "false"),
        ("place", '{"a":\n [1, "x"]}', '{"a":\n [1, "x"]}'),
        ("place", '{"a": "</parameter>\\n</function>"}', '{"a": "</parameter>\\n</function>"}'),
        ("place", "{'a': 1}", "\"{'a': 1}\""),
        ("all", "[1, 2]", "[1, 2]"),
        ("maybe", "null", "null"),
        ("maybe", "None", "null"),
        ("maybe", "17", '"17"'),
        ("either", "17", "17"),
        ("either", "1.0", "1.0"),
        ("either", "1.5", '"1.5"'),
        ("either", "True", '"True"'),
        ("level", "1", "1"),
        ("shade", "1", '"1"'),
        ("point", '{"x": 1}', '{"x": 1}'),
        ("wrapped", '{"x": 1}', '{"x": 1}'),
        ("round", "1", '"1"'),
        ("any", "1", '"1"'),
        ("unknown", "1", '"1"'),
    ],
)
def test_values_have_the_type_that_the_schema_gives_them(name, value, expected):
    assert read(call(element(name, value))) == [("f", f'{{"{name}": {expected}}}')]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (call(), [("f", "{}")]),
        (call(function="g"), [("g", "{}")]),
        ("<tool_call><function=f><parameter=count>1</parameter></function></tool_call>", [("f", '{"count": 1}')]),
        (call(element("count", 1), element("text", "a")), [("f", '{"count": 1, "text": "a"}')]),
        (call(element("é x", "a")), [("f", '{"é x": "a"}')]),
        (f"{call()}\n{call(function='g')}", [("f", "{}"), ("g", "{}")]),
        (call(element("text", call(element("text", "b")))), [("f", json.dumps({"text": call(element("text", "b"))}))]),
        ("<tool_call>words</tool_call>" + call(), [("f", "{}")]),
    ],
)
def test_calls(text, expected):
    assert read(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>",
        "<function=f>\n</function>",
        "<tool_call>\n<function=f>\n</function>",
        "<tool_call>\n<function=f>\n</tool_call>",
        "<tool_call>\n<function=>\n</function>\n</tool_call>",
        "<tool_call>\n<function=f>words\n</function>\n</tool_call>",
        '<tool_call>{"name": "f", "arguments": {}}</tool_call>',
        call("<parameter=text>\na\n"),
        call("<parameter=text\na\n</parameter>\n"),
        call(element("text", "a"), element("text", "b")),
        call(element("text", "say </parameter> here")),
        call(element("text", "say <parameter=x> here")),
        call(function="unknown"),
        call(element("text", f"say </parameter> {call(function='g')}")),
        "<tool_call>\n<function=f>\n<parameter=text>\na</tool_call>" + call(function="g"),
    ],
)
def test_what_cannot_be_read_stays_text(text):
    message = XML.read(text, F)
    assert (message.content, message.tool_calls) == (text, None)


def test_words_around_calls_are_kept():
    message = XML.read(f"I look.\n{call()}bye", F)
    assert message.content == "I look.\nbye"
    assert len(message.tool_calls) == 1


def test_without_the_tools_every_value_is_text():
    (found,) = XML.read(call(element("count", 1))).tool_calls
    assert found.function.arguments == '{"count": "1"}'


WORDS = st.lists(st.sampled_from(["a", " ", "\n", "<", "</", ">", "0", "-1", "null", "True", '"', "\\", "é🙂", "{}"]))
TEXT = WORDS.map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
VALUES = {
    "text": TEXT,
    "count": st.integers(),
    "share": st.floats(allow_nan=False, allow_infinity=False),
    "on": st.booleans(),
    "place": st.dictionaries(TEXT, JSON, max_size=3),
    "all": st.lists(JSON, max_size=3),
    "shade": st.sampled_from(["1", "dark"]),
    "point": st.dictionaries(TEXT, JSON, max_size=2),
}


@pytest.fixture(scope="module")
def coder(tmp_path_factory):
    return write_family(tmp_path_factory.mktemp("coder") / "model", "qwen3-coder").template


@given(st.fixed_dictionaries({}, optional=VALUES))
def test_what_the_template_writes_is_read_as_the_same_values(coder, arguments):
    asked = [user("a")]
    function = FunctionCall(name="f", arguments=json.dumps(arguments))
    answered = [*asked, Message(role="assistant", content=None, tool_calls=(ToolCall(id="c", function=function),))]
    before, after = coder.render(asked), coder.render(answered, ask_for_reply=False)
    assert after.startswith(before)
    (found,) = XML.read(after[len(before) :].removesuffix("<|im_end|>\n"), F).tool_calls
    assert json.loads(found.function.arguments) == arguments


@given(st.lists(st.sampled_from([
    "<tool_call>", "</tool_call>", "<function=f>", "</function>", "<parameter=text>", "</parameter>", "\n", "a", "1",
    "<parameter=count>", "<", '"', "{",
]), max_size=24).map("".join))  # fmt: skip
def test_nothing_is_lost_whatever_is_written(text):
    message = XML.read(text, F)
    if message.tool_calls is None:
        assert message.content == text
    for each in message.tool_calls or ():
        assert set(json.loads(each.function.arguments)) <= {"text", "count"}
