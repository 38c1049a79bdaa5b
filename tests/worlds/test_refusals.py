"""When a tool refuses: what few calls, many arguments and other tools tell of it."""

import copy
from typing import Any

from journeyman.worlds.expressions import Scene, holds
from journeyman.worlds.nearest import Nearest
from journeyman.worlds.rules import Rule
from journeyman.worlds.state import State
from journeyman.worlds.synthesis import synthesize
from journeyman.worlds.transitions import Transition, error_kind, read_result

ORDERS = {"shop": {"orders": {"41": {"by": "ada"}, "57": {"by": "bob"}}, "token": "k-12", "closed": False}}


def made(tool: str, arguments: dict[str, Any], answer: Any, session: str, before: dict[str, Any]) -> Transition:
    """A call that changes nothing."""
    return Transition(
        tool, arguments, answer, session, 0, error_kind(answer, arguments), before=before, after=copy.deepcopy(before)
    )


def looked_up(tool: str, orders: list[str]) -> list[Transition]:
    """Calls that are refused where there is no such order."""
    found = []
    for number, order in enumerate(orders):
        known = order in ORDERS["shop"]["orders"]
        answer = {"done": order} if known else {"error": f"there is no order {order}"}
        found.append(made(tool, {"order": order}, answer, f"{tool}-{number}", ORDERS))
    return found


def told(rule: Rule, arguments: dict[str, Any], state: dict[str, Any] = ORDERS) -> Any:
    return rule.run(arguments, state)[0]


def test_what_decides_in_other_tools_decides_where_few_calls_leave_it_open():
    # In the two calls of `ship` a short name, a word and an order of the state are the same thing.
    few = looked_up("ship", ["41", "57", "a longer name"])
    many = [call for tool in ("track", "bill") for call in looked_up(tool, ["41", "57", "41", "99", "12", "77", "57"])]
    by_tool = {tool: [each for each in many if each.tool == tool] for tool in ("track", "bill")}
    rules = synthesize({"ship": few, **by_tool})
    assert told(rules["ship"], {"order": "99"}) == {"error": "there is no order 99"}
    assert told(rules["ship"], {"order": "41"}) == {"done": "41"}


def test_a_refusal_seen_once_is_said_again_and_anything_else_seen_once_is_not():
    calls = looked_up("ship", ["41", "57", "41", "missing"])
    rule = synthesize({"ship": calls})["ship"]
    assert told(rule, {"order": "gone"}) == {"error": "there is no order gone"}
    alone = synthesize({"peek": [made("peek", {"order": "41"}, {"weight": 12}, "s", ORDERS)]})
    assert alone == {}


def test_many_arguments_do_not_crowd_out_the_one_that_decides():
    calls = []
    for number in range(12):
        names = {f"field_{letter}": f"{letter}{number}" for letter in "abcdefgh"}
        state = {"shop": {**{f"table_{n}": {"x": {"y": n}} for n in range(40)}, "token": f"k-{number}"}}
        given = f"k-{number}" if number % 3 else "k-none"
        answer = {"booked": True} if number % 3 else {"error": "invalid token"}
        calls.append(made("book", {**names, "token": given}, answer, f"s{number}", state))
    rule = synthesize({"book": calls})["book"]
    state = {"shop": {"token": "k-88"}}
    assert told(rule, {**calls[0].arguments, "token": "k-88"}, state) == {"booked": True}
    assert told(rule, {**calls[0].arguments, "token": "k-5"}, state) == {"error": "invalid token"}


def test_a_list_is_known_when_each_of_its_items_is():
    scene = Scene({"good": ["41", "57"], "bad": ["41", "58"], "one": "41"}, ORDERS)
    path = ["shop", "orders"]
    assert holds(["has", path, ["arg", "good"]], scene)
    assert holds(["has", path, ["arg", "one"]], scene)
    assert not holds(["has", path, ["arg", "bad"]], scene)


def test_a_text_repeats_the_first_item_of_a_list_and_short_names_only_as_words():
    calls = [
        made("lock", {"doors": [name, "41"]}, f"Error: no '{name}'", f"s{number}", ORDERS)
        for number, name in enumerate(["o", "left", "rear"])
    ]
    rule = synthesize({"lock": calls})["lock"]
    assert told(rule, {"doors": ["front", "57"]}) == "Error: no 'front'"


def test_neighbours_are_those_whose_names_the_state_knows_alike():
    known = made("pay", {"order": "41"}, {"paid": True}, "s1", ORDERS)
    unknown = [made("pay", {"order": name}, {"error": "no such order"}, f"t{name}", ORDERS) for name in ("x", "y", "z")]
    nearest = Nearest([known, *unknown], neighbours=2)
    assert nearest.similar("pay", {"order": "57"}, State(ORDERS))[0][1] is known
    assert nearest.similar("pay", {"order": "88"}, State(ORDERS))[0][1] is unknown[0]


def test_an_apostrophe_in_a_word_quotes_nothing():
    kinds = {error_kind({"error": f"no such card among the id's: ['{first}', 'b']"}) for first in ("card_1", "7")}
    assert kinds == {"no such card among the id's: '…'"}
    assert error_kind(read_result("""{"error": "can't open b'abc' of 'bob'"}""")) == "can't open '…' of '…'"


def test_values_that_were_always_accepted_are_all_that_is():
    calls = []
    for number, unit in enumerate(["km", "mile", "km", "foot", "mile", "foot", "km", "mile", "foot", "yard", "yard"]):
        calls.append(made("convert", {"unit": unit}, {"unit": unit}, f"s{number}", ORDERS))
    for number, unit in enumerate(["lamp", "2020-01-01", "x"]):
        calls.append(made("convert", {"unit": unit}, {"error": "invalid unit"}, f"t{number}", ORDERS))
    rule = synthesize({"convert": calls})["convert"]
    assert told(rule, {"unit": "yard"}) == {"unit": "yard"}
    assert told(rule, {"unit": "ada"}) == {"error": "invalid unit"}


def test_an_id_that_stands_beside_a_name_is_known():
    def state(number: int) -> dict[str, Any]:
        people = {"ids": {"ada": f"U{number}", "bob": f"V{number}"}, "sender": f"ada {number}"}
        return {"people": people, "elsewhere": {"text": f"W{number}"}}

    calls = []
    for number, letter in enumerate("UVWUWVUW"):
        answer = {"error": "nobody"} if letter == "W" else {"sent": f"{letter}{number}", "by": f"ada {number}"}
        calls.append(made("write", {"to": f"{letter}{number}"}, answer, f"s{number}", state(number)))
    rule = synthesize({"write": calls})["write"]
    assert told(rule, {"to": "U70"}, state(70)) == {"sent": "U70", "by": "ada 70"}
    assert told(rule, {"to": "W70"}, state(70)) == {"error": "nobody"}


def test_whether_a_tool_refuses_is_decided_before_what_else_it_does():
    calls = []
    for number, (order, loud) in enumerate([("41", True), ("57", False), ("99", False), ("57", True), ("41", False)]):
        known = order in ORDERS["shop"]["orders"]
        answer = ({"call": order} if loud else {"mail": order}) if known else {"error": f"there is no order {order}"}
        calls.append(made("remind", {"order": order, "loud": loud}, answer, f"s{number}", ORDERS))
    rule = synthesize({"remind": calls})["remind"]
    assert told(rule, {"order": "88", "loud": True}) == {"error": "there is no order 88"}
    assert told(rule, {"order": "57", "loud": True}) == {"call": "57"}
