"""The state put together from answers: who changed what, what nobody explains, what is drawn."""

from typing import Any

import pytest

from journeyman.worlds.drawing import Drawing
from journeyman.worlds.sourcing import cell_of, sourced
from journeyman.worlds.state import State, difference, read
from journeyman.worlds.synthesis import synthesize
from journeyman.worlds.transitions import Transition, error_kind


def session(name: str, *calls: tuple[str, dict[str, Any], Any]) -> list[Transition]:
    return [
        Transition(tool, arguments, answer, name, order, error_kind(answer, arguments))
        for order, (tool, arguments, answer) in enumerate(calls)
    ]


def moved(number: int, cents: int) -> list[Transition]:
    account, other, euros = f"A{number}", f"B{number}", 100 + number
    left = 100 * euros - cents
    return session(
        f"s{number}",
        ("balance", {"account": account}, {"euros": f"{euros}.00"}),
        ("transfer", {"source": account, "target": other, "cents": cents}, {"ok": True}),
        ("balance", {"account": account}, {"euros": f"{left // 100}.{left % 100:02d}"}),
    )


def test_a_change_between_two_looks_is_laid_to_the_call_that_was_there():
    found = sourced([each for number in range(8) for each in moved(number, 250 + 25 * number)])
    assert found.outside == []
    changing = [each for each in found.transitions if each.before != each.after]
    assert [each.tool for each in changing] == ["transfer"] * 8
    (change,) = difference(changing[0].before, changing[0].after)
    assert (change.path, change.value) == (("told", "balance(account)", "A0", "euros"), "97.50")


def test_what_a_transfer_does_to_a_balance_is_found_from_answers_alone():
    found = sourced([each for number in range(8) for each in moved(number, 250 + 25 * number)])
    rule = synthesize({"transfer": [each for each in found.transitions if each.tool == "transfer"]})["transfer"]
    state = {"told": {"balance(account)": {"Z9": {"euros": "20.00"}}}}
    answer, changes, error = rule.run({"source": "Z9", "target": "Z8", "cents": 125}, state)
    assert (answer, error) == ({"ok": True}, None)
    assert [(each.path, each.value) for each in changes] == [(("told", "balance(account)", "Z9", "euros"), "18.75")]


def test_a_change_that_no_call_explains_is_an_outside_event():
    looks = [("balance", {"account": "A1"}, {"euros": euros}) for euros in ("5.00", "5.00", "9.00")]
    found = sourced(session("s", *looks))
    assert found.outside == [("s#2", ("told", "balance(account)", "A1"))]
    assert found.rate == 1 / 3


@pytest.mark.parametrize("answer", [["a", "b"], {"cents": 50}, "nothing"])
def test_a_call_that_leaves_an_argument_out_asks_for_another_cell(answer: Any):
    few = {"cents": 5}
    calls = session("s", ("tx", {"account": "A1"}, answer), ("tx", {"account": "A1", "limit": 5}, few))
    learning, judging = sourced(calls).transitions, sourced(calls, blind=True).transitions
    assert [each.observation for each in learning] == [answer, few]
    for document in (learning[1].before, judging[1].after):
        assert document == {"told": {"tx(account)": {"A1": answer}, "tx(account,limit)": {"A1": {"5": few}}}}
    assert cell_of("find", {"name": "Ann"}) != cell_of("find", {"email": "Ann"})


def test_to_be_judged_by_the_state_holds_nothing_of_the_call_itself():
    calls = moved(1, 100)
    learning, judging = sourced(calls).transitions, sourced(calls, blind=True).transitions
    cell = cell_of("balance", {"account": "A1"})
    assert read(learning[0].before, cell) == {"euros": "101.00"}
    assert judging[0].before == {}
    assert read(judging[1].before, cell) == {"euros": "101.00"}


def test_what_nobody_looked_at_is_drawn_once_and_what_does_not_exist_is_not():
    told = [each for number in range(9) for each in moved(number, 100)]
    drawing = Drawing(told)
    state = State({"told": {"owner(name)": {"ada": {"account": "A77"}}}}, seed=5)
    found = drawing.drawn("balance", {"account": "A77"}, state)
    assert found is not None
    assert found.confidence == 0.0
    state.commit(found.changes, "drawn", "test")
    assert read(state.document, ("told", "balance(account)", "A77")) == found.observation
    assert not drawing.is_open("balance", {"account": "A77"}, state)
    assert drawing.drawn("balance", {"account": "A99"}, state) is None


def test_a_name_unlike_all_that_exist_is_answered_as_other_such_names_were():
    def unknown(name: str) -> list[Transition]:
        return session(f"n-{name}", ("balance", {"account": name}, {"error": f"unknown account {name}"}))

    told = [each for number in range(4) for each in moved(number, 100)]
    told += [each for name in ("Emma", "what", "2024-01") for each in unknown(name)]
    drawing, state = Drawing(told), State({"told": {}})
    found = drawing.absent("balance", {"account": "McCoy"}, state)
    assert found is not None
    assert found.observation == {"error": "unknown account McCoy"}
    assert drawing.absent("balance", {"account": "A77"}, state) is None
    assert Drawing(told[:-1]).absent("balance", {"account": "McCoy"}, state) is None


def test_a_name_that_is_no_number_is_not_told_as_one():
    told = [
        each
        for number in range(17, 20)
        for each in session(f"n-{number}", ("find", {"id": str(number)}, {"error": "unknown", "id": number}))
    ]
    drawing = Drawing(told)
    found = drawing.absent("find", {"id": "23"}, State({}))
    assert found is not None
    assert found.observation == {"error": "unknown", "id": 23}
    assert drawing.absent("find", {"id": "007"}, State({})) is None


def test_that_nobody_has_a_name_is_remembered_as_what_was_told():
    def nobody(name: str) -> list[Transition]:
        return session(f"n-{name}", ("find", {"name": name}, {"matches": 0}))

    told = [each for name in ("of", "what", "please") for each in nobody(name)]
    told += session("known", ("find", {"name": "Ada Berg"}, {"matches": 1}))
    drawing, state = Drawing(told), State({})
    found = drawing.absent("find", {"name": "my"}, state)
    assert found is not None
    assert found.observation == {"matches": 0}
    state.commit(found.changes, "written", "test")
    assert read(state.document, ("told", "find(name)", "my")) == {"matches": 0}
    assert not drawing.is_open("find", {"name": "my"}, state)
