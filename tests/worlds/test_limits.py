"""Limits on totals: found where refusals begin, round, and part of the program that owns the state."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.worlds.build import build
from journeyman.worlds.expressions import Scene
from journeyman.worlds.limits import limit_of, of_limits, roundest
from journeyman.worlds.state import State
from journeyman.worlds.transitions import Transition

CAPACITY = 50


@pytest.mark.parametrize(
    ("least", "less", "number"),
    [(49.8, 50.3, 50), (120, 130, 120), (99.5, 1000, 100), (-0.5, 0.5, 0), (0.012, 0.019, 0.012), (2.341, 2.36, 2.35)],
)
def test_the_roundest_number_between_two_is_the_limit(least: float, less: float, number: float) -> None:
    assert roundest(least, less) == pytest.approx(number)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_the_roundest_number_lies_where_it_may(least: float, more: float) -> None:
    if least + more > least:
        assert least <= roundest(least, least + more) < least + more


def test_a_limit_tells_refusals_above_it_from_what_is_done_below_it() -> None:
    assert limit_of([(60, True), (1, False), (49.8, False), (50.3, True)]) == 50
    assert limit_of([(60, False), (1, True)]) is None
    assert limit_of([(1, True), (1, False)]) is None
    assert limit_of([(5, False), (7, False)]) is None
    assert limit_of([]) is None


@pytest.mark.parametrize("amount", [float("inf"), float("nan"), 10**400, True, "much"])
def test_what_is_no_amount_says_nothing_of_a_limit(amount: object) -> None:
    scenes = [Scene({"amount": each}, {"level": 10.0}) for each in (5.0, 30.0, 60.0, amount)]
    found = list(of_limits(["cell", ["level"]], ["amount", "other"], scenes, [False, False, True, True]))
    assert found == [["less", ["const", 40], ["sum", ["cell", ["level"]], ["arg", "amount"], 1]]]


def session(seed: int) -> list[Transition]:
    rng = random.Random(seed)
    level, found = float(rng.randrange(5, 40)), []
    for order in range(8):
        amount = float(rng.randrange(1, 40))
        before = {"car": {"fuel": level, "doors": "shut"}}
        if level + amount > CAPACITY:
            said, error = {"error": "the tank cannot hold that"}, "the tank cannot hold that"
        else:
            level, error = level + amount, None
            said = {"fuel": level}
        after = {"car": {"fuel": level, "doors": "shut"}}
        found.append(Transition("fill", {"amount": amount}, said, f"s{seed}", order, error, before=before, after=after))
        if level > CAPACITY - 8:
            level = float(rng.randrange(5, 20))  # driven, in between
    return found


def test_a_tank_that_is_too_full_refuses_what_was_never_poured_into_it() -> None:
    world = build([call for seed in range(30) for call in session(seed)])
    assert world.trials["fill"].admitted
    for level, amount, is_refused in ((44.5, 6.25, True), (44.5, 5.25, False), (0.0, 50.0, False), (1.0, 49.5, True)):
        state = State({"car": {"fuel": level, "doors": "shut"}})
        answer = world.resolver().answer("fill", {"amount": amount}, state)
        assert (answer.source, answer.error is not None) == ("twin", is_refused)


def test_a_number_that_nothing_can_hold_ends_no_episode() -> None:
    world = build([call for seed in range(30) for call in session(seed)])
    for amount in (10**400, -(10**400), float("inf")):
        answer = world.resolver().answer("fill", {"amount": amount}, State({"car": {"fuel": 1.0, "doors": "shut"}}))
        assert not answer.changes
