import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.errors import InvalidInput
from journeyman.records import Condition, Filter
from journeyman.records.filter import MAX_DEPTH


def where(field: str, operator: str, value: object) -> Condition:
    return Condition(field=field, operator=operator, value=value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a = word", "word"),
        ("a = tags.x", "tags.x"),
        ('a = "two words"', "two words"),
        (r'a = "say \"hi\" \\ "', 'say "hi" \\ '),
        ('a = "null"', "null"),
        ('a = "7"', "7"),
        ('a = ""', ""),
        ("a = null", None),
        ("a = true", True),
        ("a = false", False),
        ("a = 7", 7.0),
        ("a = -0.5", -0.5),
        ("a = 1e+20", 1e20),
        ("a = 007", "007"),
        ("a = 1.50", "1.50"),
        ("a = 12e9", "12e9"),
        ("a = nan", "nan"),
        ("a = inf", "inf"),
        ("a = 1_000", "1_000"),
        ("a = and", "and"),
        ("  a=word  ", "word"),
    ],
)
def test_values(text, value):
    (condition,) = Filter.parse(text).conditions
    assert (condition.field, condition.operator) == ("a", "=")
    assert condition.value == value
    assert type(condition.value) is type(value)


@pytest.mark.parametrize("operator", ["=", "!=", "<", "<=", ">", ">=", "~"])
def test_operators_need_no_spaces(operator):
    assert Filter.parse(f"a{operator}b").conditions == (where("a", operator, "b"),)


def test_and_binds_closer_than_or():
    a, b, c = (where(name, "=", 1.0) for name in "abc")
    assert Filter.parse("a = 1 or b = 1 and c = 1") == Filter(
        join="or", conditions=(a, Filter(join="and", conditions=(b, c)))
    )
    assert Filter.parse("(a = 1 OR b = 1) AND c = 1") == Filter(
        join="and", conditions=(Filter(join="or", conditions=(a, b)), c)
    )


def test_nothing_is_a_filter_for_everything():
    assert Filter.parse("  ") == Filter.parse("()") == Filter()
    assert str(Filter()) == ""


def test_what_holds_always():
    assert Filter().holds_always()
    assert Filter.parse("() and ()").holds_always()
    assert Filter.parse("a = 1 or ()").holds_always()
    assert not Filter.parse("a = 1 and ()").holds_always()


def test_fields_that_it_looks_at():
    assert Filter.parse("a = 1 and (tags.b = 2 or not.c = null)").fields() == {"a", "tags.b", "not.c"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a", "expected `field operator value`, found 'a'"),
        ("a =", "found 'a ='"),
        ("= 1", "found '= 1'"),
        ("a = = 1", "expected"),
        ("a = 1 b = 2", "did not expect 'b'; join conditions"),
        ("a = 1 and", "found 'nothing'"),
        ("or a = 1", "found 'or a ='"),
        ("(a = 1", "closing parenthesis is missing"),
        ("a = 1)", r"did not expect '\)'"),
        ('a = "open', "cannot read it from"),
        ("a ! b", "cannot read it from '! b' on"),
        ("(" * (MAX_DEPTH + 1), "at most 50 parentheses"),
    ],
)
def test_what_cannot_be_read_is_pointed_at(text, complaint):
    with pytest.raises(InvalidInput, match=complaint):
        Filter.parse(text)


def test_or_of_nothing_is_refused_rather_than_read_as_everything():
    with pytest.raises(InvalidInput, match="at least one condition"):
        Filter(join="or")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_cannot_be_written_are_refused(number):
    with pytest.raises(ValueError, match="finite"):
        where("a", "=", number)


conditions = st.builds(
    Condition,
    field=st.text(max_size=6) | st.sampled_from(["and", "or", "tags.first call", "a"]),
    operator=st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "~"]),
    value=st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
)
nested = st.recursive(
    conditions,
    lambda inner: st.builds(
        Filter, join=st.sampled_from(["and", "or"]), conditions=st.lists(inner, min_size=2, max_size=3).map(tuple)
    ),
    max_leaves=8,
)
filters = nested.map(lambda one: one if isinstance(one, Filter) else Filter(conditions=(one,)))


@given(filters)
def test_a_filter_reads_back_from_its_own_text(one):
    assert Filter.parse(str(one)) == one


@given(st.text(max_size=30) | st.text('ab=<>~()"\\ !1.', max_size=30))
def test_any_text_is_either_a_filter_or_a_clear_error(text):
    try:
        parsed = Filter.parse(text)
    except InvalidInput:
        return
    assert Filter.parse(str(parsed)) == parsed
