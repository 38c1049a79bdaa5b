"""The state: patches, forks that share nothing, draws that are pinned."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journeyman.errors import InvalidInput
from journeyman.worlds.state import Change, State, applied, difference, leaf_changes, read

KEYS = st.text("abc", min_size=1, max_size=1)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=1), inner, max_size=3)
    ),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=3)


@settings(max_examples=60, deadline=None)
@given(DOCUMENTS, DOCUMENTS)
def test_a_difference_applied_gives_the_other_document(before, after):
    kept = copy.deepcopy(before)
    found = applied(before, difference(before, after))
    assert not leaf_changes(found, after)
    assert before == kept


def test_a_patch_that_does_not_fit_changes_nothing():
    state = State({"a": {"b": 1}})
    with pytest.raises(InvalidInput, match="was not applied"):
        state.commit([Change("set", ("a", "b"), 2), Change("delete", ("a", "nowhere"))], "written", "x")
    assert state.document == {"a": {"b": 1}}
    assert state.events == []


def test_what_the_real_system_told_joins_what_is_there_and_fits_where_it_can():
    state = State({"told": {"a": {"x": 1}}})
    state.observe(
        [
            Change("set", ("told",), {"b": [1, 2], "a": {"y": 2}}),
            Change("append", ("told", "b"), 3),
            Change("append", ("nowhere",), 3),
            Change("delete", ("told", "a", "x")),
            Change("delete", ("told", "gone")),
        ]
    )
    assert state.document == {"told": {"a": {"y": 2}, "b": [1, 2, 3]}}
    assert {each.source for each in state.events} == {"observed"}


def test_forks_share_nothing():
    state = State({"a": {"list": [1], "map": {"x": {"deep": 1}}}})
    forks = [state.fork() for _ in range(64)]
    for number, fork in enumerate(forks):
        fork.commit(
            [Change("append", ("a", "list"), number), Change("set", ("a", "map", "x", "deep"), number)], "written", "x"
        )
    assert state.document == {"a": {"list": [1], "map": {"x": {"deep": 1}}}}
    assert [read(fork.document, ("a", "list")) for fork in forks] == [[1, number] for number in range(64)]
    assert [len(fork.events) for fork in forks] == [1] * 64


def test_an_unknown_cell_is_drawn_once_and_alike_in_every_fork_and_order():
    one = State({}, seed=3)
    other = one.fork()
    names = [("balance", f"A{number}", "euros") for number in range(20)]
    drawn = [one.pin(name, range(100)) for name in names]
    assert [other.pin(name, range(100)) for name in reversed(names)] == drawn[::-1]
    assert [one.pin(name, range(100, 200)) for name in names] == drawn
    assert len(set(drawn)) > 10
    assert [State({}, seed=4).pin(name, range(100)) for name in names] != drawn
