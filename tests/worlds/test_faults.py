"""How a world fails, and the bugs that its traces show."""

from collections import Counter

import pytest
from scipy.stats import binomtest

from journeyman.environments.determinism import Draws
from journeyman.errors import InvalidInput
from journeyman.worlds.bugs import mined
from journeyman.worlds.faults import (
    DUPLICATE,
    LOST_PAGE,
    STALE_READ,
    WRITE_THOUGH_TIMEOUT,
    WRONG_UNIT,
    Faults,
    calibrated,
)
from journeyman.worlds.rules import Case, Rule, Write
from journeyman.worlds.transitions import Transition

TIMEOUT = "timeout, try again"
READ = Rule("read", (Case((), (), ["object", {"cents": ["cell", ["bank", "cents"]]}], None, 9),))
ADD = ["sum", ["cell", ["bank", "cents"]], ["arg", "cents"], 1]
PAY = Rule("pay", (Case((), (Write("set", ["bank", "cents"], ADD),), ["const", {"ok": True}], None, 9),))


def call(place: int, tool: str, answer: object, before: int, after: int, **arguments: object) -> Transition:
    error = TIMEOUT if isinstance(answer, dict) and answer.get("error") else None
    states = ({"bank": {"cents": cents}} for cents in (before, after))
    return Transition(tool, arguments, answer, "s", place, error, before=next(states), after=next(states))


def failing(count: int, every: int) -> list[Transition]:
    bad = {"error": TIMEOUT}
    return [
        Transition("pay", {}, bad if n % every == 0 else {"ok": True}, f"s{n}", 0, TIMEOUT if n % every == 0 else None)
        for n in range(count)
    ]


def test_faithful_faults_come_as_often_as_they_did():
    faults = Faults(calibrated(failing(400, 10)))
    draws = Draws("seed")
    struck = [faults.strike(draws, "pay", step, False) for step in range(4000)]
    kinds = Counter(fault.kind for fault in struck if fault is not None)
    assert set(kinds) == {TIMEOUT}
    assert binomtest(kinds[TIMEOUT], 4000, 0.1).pvalue > 0.001
    assert next(fault for fault in struck if fault).observation == {"error": TIMEOUT}


def test_the_same_step_meets_the_same_fault_and_stress_is_never_called_faithful():
    tools = calibrated(failing(100, 5))
    one, other = ([Faults(tools).strike(Draws("s"), "pay", step, False) for step in range(50)] for _ in range(2))
    assert one == other
    assert all(Faults(tools, mode="off").strike(Draws("s"), "pay", step, False) is None for step in range(50))
    stressed = sum(Faults(tools, (), "stress", 3).strike(Draws("s"), "pay", n, False) is not None for n in range(500))
    assert stressed > 2 * sum(Faults(tools).strike(Draws("s"), "pay", n, False) is not None for n in range(500))
    with pytest.raises(InvalidInput, match="take stress"):
        Faults(tools, times=2.0)


def test_errors_that_the_state_explains_are_no_faults():
    calls = [Transition("pay", {}, {"error": "no such account"}, "s", n, "no such account") for n in range(20)]
    assert calibrated(calls)["pay"].rates == {}


def test_bursts_are_measured():
    pattern = [True, True, False, False, False, True, True, False]
    calls = [Transition("pay", {}, {}, "s", n, TIMEOUT if bad else None) for n, bad in enumerate(pattern)]
    found = calibrated(calls)["pay"]
    assert found.again == pytest.approx((2 + 2 * found.rates[TIMEOUT]) / (4 + 2))


def test_bursts_make_no_more_faults_than_there_were():
    # One fault in ten calls, and every second one is followed by another.
    bad = [False] * 16 + [True, True, False, True] + [False] * 20
    calls = [Transition("pay", {}, {}, f"s{n // 40}", n, TIMEOUT if bad[n % 40] else None) for n in range(4000)]
    tools = calibrated(calls)
    assert tools["pay"].again == pytest.approx(0.33, abs=0.01)
    assert tools["pay"].rates[TIMEOUT] == pytest.approx(0.075, abs=0.001)
    faults, struck = Faults(tools), Counter[bool | None]()
    for episode in range(1000):
        draws, before = Draws(f"e{episode}"), None
        for step in range(20):
            fault = faults.strike(draws, "pay", step, before)
            struck[before] += fault is not None
            before = fault is not None
    assert struck.total() / 20_000 == pytest.approx(tools["pay"].rates[TIMEOUT], abs=0.01)
    assert struck[True] / struck.total() == pytest.approx(tools["pay"].again, abs=0.05)


def test_stress_is_so_many_times_as_often_in_bursts_too():
    bad = [False] * 16 + [True, True, False, True] + [False] * 20
    calls = [Transition("pay", {}, {}, f"s{n // 40}", n, TIMEOUT if bad[n % 40] else None) for n in range(4000)]
    faults, struck = Faults(calibrated(calls), (), "stress", 3), 0
    for episode in range(600):
        draws, before = Draws(f"e{episode}"), None
        for step in range(30):
            before = faults.strike(draws, "pay", step, before) is not None
            struck += before
    assert struck / 18_000 == pytest.approx(3 * 0.075, abs=0.015)


def test_a_single_burst_does_not_make_a_tool_that_never_recovers():
    calls = [Transition("pay", {}, {}, "s", n, TIMEOUT if n in (50, 51) else None) for n in range(100)]
    assert calibrated(calls)["pay"].again < 0.5


def test_every_kind_of_bug_is_found_where_it_is_and_only_there():
    ok = {"ok": True}
    clean = [
        call(0, "read", {"cents": 5}, 5, 5),
        call(1, "pay", ok, 5, 8, cents=3),
        call(2, "read", {"cents": 8}, 8, 8),
        call(3, "pay", {"error": TIMEOUT}, 8, 8, cents=2),
        call(4, "pay", ok, 8, 10, cents=2),
    ]
    assert mined(clean, {"read": READ, "pay": PAY}) == ()
    stale = [call(0, "pay", ok, 5, 8, cents=3), call(1, "read", {"cents": 5}, 8, 8)]
    assert [(bug.kind, bug.frequency) for bug in mined(stale, {"read": READ, "pay": PAY})] == [(STALE_READ, 1.0)]
    through = [call(0, "pay", {"error": TIMEOUT}, 5, 8, cents=3), call(1, "pay", ok, 8, 11, cents=3)]
    assert {bug.kind for bug in mined(through, {"read": READ, "pay": PAY})} == {WRITE_THOUGH_TIMEOUT, DUPLICATE}
    unit = [call(0, "read", {"cents": 500}, 5, 5)]
    assert [bug.kind for bug in mined(unit, {"read": READ})] == [WRONG_UNIT]
    pages = [
        call(0, "list", {"items": [1, 2], "more": True}, 5, 5, page=1),
        call(1, "list", {"items": [], "more": False}, 5, 5, page=2),
    ]
    assert [bug.kind for bug in mined(pages, {})] == [LOST_PAGE]
