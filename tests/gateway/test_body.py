"""What is read of a body, and that nothing else of it is touched."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.gateway.body import edited, read_asked
from journeyman.gateway.validate import BadField

HI = b'[{"role": "user", "content": "Hi"}]'


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"model":"a/b","messages":[]}', b'{"model":"m","messages":[]}'),
        (b'{ "messages" : [ ] , "model" :  "a/b" }', b'{ "messages" : [ ] , "model" :  "m" }'),
        (b'{"x":{"model":"no"},"model":"a/b"}', b'{"x":{"model":"no"},"model":"m"}'),
        (b'{"model":"a/b","x":[{"model":"no"}]}', b'{"model":"m","x":[{"model":"no"}]}'),
        (b'{"model":"first","model":"a/b"}', b'{"model":"m","model":"m"}'),
        (b'{"mod\\u0065l":"a/b","x":{"model":"no"}}', b'{"mod\\u0065l":"m","x":{"model":"no"}}'),
        (b'{"s":"\\"model\\": \\"no\\"","model":"a/b"}', b'{"s":"\\"model\\": \\"no\\"","model":"m"}'),
        (b'{"a\\"model":"no","model":"a/b"}', b'{"a\\"model":"no","model":"m"}'),
        (b'{"model":"a\\/b","y":1.50,"z":1e3}', b'{"model":"m","y":1.50,"z":1e3}'),
        ('{"s":"é\\u00e9","model":"a/b"}'.encode(), '{"s":"é\\u00e9","model":"m"}'.encode()),
    ],
)
def test_the_models_name_alone_is_replaced(raw, expected):
    asked = read_asked(raw)
    assert asked.model == "a/b"
    assert edited(asked, "m", {}) == expected


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"a/b","messages":[{"role":"user"',
        b'{"model":"a/b","x":NaN}',
        b'{"model":"a/b","s":"\\ud800"}',
        b'{"model":"a/b","x":01,}',
        b'{"x":{"model":"no"},"model":"a/b",,}',
    ],
)
def test_a_body_that_is_no_json_passes_but_for_its_models_name(raw):
    asked = read_asked(raw)
    assert (asked.model, asked.fields, asked.stream, asked.choices, asked.metadata) == ("a/b", None, False, 1, {})
    assert edited(asked, "m", {"stream_options": 1}) == raw.replace(b'"a/b"', b'"m"')


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"\xff\xfe", b"[]", b'[{"model":"x"}]', b"3", b"null", b'"model"', b'{"model":', b'{"model":3}',
            b'{"model":""}', b'{"messages":[]}', b'{"x":{"model":"a"}', b'{"a":"\\'],
)  # fmt: skip
def test_a_body_without_a_models_name_is_refused(raw):
    with pytest.raises(BadField):
        read_asked(raw)


def test_further_fields_are_set_and_everything_else_stays():
    asked = read_asked(b'{"model": "a", "stream": true, "stream_options": {"x": 1}, "f": 1.50} ')
    body = edited(asked, "b", {"stream_options": {"x": 1, "include_usage": True}, "return_token_ids": True})
    assert body == (
        b'{"model": "b", "stream": true, "stream_options": {"x":1,"include_usage":true}, "f": 1.50'
        b',"return_token_ids":true} '
    )


NAMES = st.sampled_from(["model", "mod\\el", 'x"model', "m", "messages", "ä"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["model", '"model":', "a/b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


@given(before=st.dictionaries(NAMES, VALUES), model=st.text(min_size=1), after=st.dictionaries(NAMES, VALUES),
       ascii=st.booleans(), more=st.dictionaries(st.sampled_from(["m", "messages", "new"]), VALUES))  # fmt: skip
def test_whatever_stands_around_it_the_change_is_that_of_the_parsed_body(before, model, after, ascii, more):
    body = {**{key: value for key, value in before.items() if key != "model"}, "model": model}
    body |= {key: value for key, value in after.items() if key != "model"}
    try:
        raw = json.dumps(body, ensure_ascii=ascii).encode()
        orjson.loads(raw)
        orjson.dumps(more)
    except (ValueError, TypeError):
        return  # numbers and characters that cannot be sent
    asked = read_asked(raw)
    assert asked.model == model
    assert orjson.loads(edited(asked, "other/ü", more)) == orjson.loads(raw) | {"model": "other/ü"} | more


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(noise):
    for raw in (noise, b'{"model":"a",' + noise, b'{"model":"a","s":"' + noise):
        try:
            asked = read_asked(raw)
        except BadField:
            continue
        assert edited(asked, asked.model, {}) is not None


def test_hostile_bodies_take_no_time():
    for raw in (b'\\"' * 2_000_000, b'{"a":"' + b'\\"' * 2_000_000, b'{"a' * 1_000_000, b"[" * 3_000_000):
        with pytest.raises(BadField):
            read_asked(raw)
