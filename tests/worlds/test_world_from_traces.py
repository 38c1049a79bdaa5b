"""A world of a shop from its traces alone: what it finds, what it admits, how true it is beside the baselines."""

import json
from dataclasses import replace
from functools import cache

import pytest

from journeyman.errors import InvalidInput
from journeyman.worlds.baselines import baselines
from journeyman.worlds.build import Built, build
from journeyman.worlds.expressions import Unknown
from journeyman.worlds.fidelity import judged, of_play, play, shares
from journeyman.worlds.footprints import Footprint
from journeyman.worlds.resolver import Answer
from journeyman.worlds.rules import Rule
from journeyman.worlds.schemas import shapes
from journeyman.worlds.state import MISSING, Change, State, read
from journeyman.worlds.transitions import Transition
from tests.worlds import shop


@cache
def built() -> Built:
    return build(shop.sessions(30))


def test_every_tool_of_the_shop_has_a_twin_that_was_judged_on_calls_held_out():
    trials = built().trials
    assert {tool for tool, found in trials.items() if found.admitted} == set(shop.TOOLS)
    assert all(found.right == found.answered >= 5 for found in trials.values())


def test_the_world_is_truer_than_copies_on_sessions_it_never_saw():
    held = shop.sessions(12, first=500)
    values = {
        (by, each.measure): each.value.estimate
        for by, predictor in {"world": built().resolver(), **baselines(shop.sessions(30))}.items()
        for each in shares(judged(predictor, held, built().shapes), "S1", by)
        if each.value is not None
    }
    assert values["world", "F4 changing"] >= 0.95
    assert values["world", "F3"] > values["nearest neighbour", "F3"] + 0.2
    assert values["world", "F2"] == 1.0
    assert values["nothing changes", "F4 changing"] == 0.0


def test_a_session_played_in_the_world_remembers_what_earlier_calls_changed():
    found = play(built().resolver(), shop.sessions(12, first=700), built().footprints)
    measures = {each.measure: each.value for each in of_play(found, "S1", "world")}
    assert measures["F5"] is not None
    assert measures["F5"].estimate >= 0.95
    assert measures["F6"] is not None
    assert measures["F6"].estimate == 1.0


class Counting:
    """Draws 70 where nothing was told, adds 1 to what it knows, and says it."""

    def answer(self, tool, arguments, state):
        known = read(state.document, ("told", "count"))
        if tool == "read":
            said = 70 if known is MISSING else known
            return Answer(
                said, "drawn" if known is MISSING else "twin", 0.5, (Change("set", ("told",), {"count": said}),)
            )
        return Answer("done", "twin", 1.0, (Change("set", ("told", "count"), known + 1),))


def test_what_had_to_be_drawn_is_no_fault_of_what_is_read_later_and_neither_is_a_timeout():
    def called(order, tool, said, before, after, error=None):
        return Transition(tool, {}, said, "s", order, error=error, before=before, after=after)

    none, four, five = {}, {"told": {"count": 4}}, {"told": {"count": 5}}
    calls = [
        called(0, "read", 4, none, four),
        called(1, "add", "done", four, five),
        called(2, "read", 5, five, five),
        called(3, "read", {"error": "timeout, try again"}, five, five, "timeout, try again"),
        called(4, "read", 6, five, five),
    ]
    reads = {"read": Footprint(reads=(("told", "count"),))}
    found = play(Counting(), calls, reads)
    assert [each.right for each in found] == [False, True, True, False, False]
    assert [each.delayed for each in found] == [None, None, 1, 2, 3]
    others = [replace(each, session="another") for each in found]
    measures = {each.measure: each for each in of_play([*found, *others], "S1", "world")}
    assert (measures["F5"].calls, measures["F5"].value.estimate) == (4, 0.5)
    assert measures["F3 in play"].value.estimate == 0.4


def test_a_rule_is_data_and_survives_its_file():
    for tool, rule in built().rules.items():
        again = Rule.read(json.loads(json.dumps(rule.wire())))
        for call in shop.session(900):
            if call.tool == tool:
                assert outcome(again, call) == outcome(rule, call)


def outcome(rule: Rule, call: Transition) -> object:
    try:
        return rule.run(call.arguments, call.before)
    except Unknown:
        return Unknown


def test_what_was_never_seen_is_abstained_from():
    state = State(shop.session(1)[0].before or {})
    resolver = built().resolver()
    unknown = resolver.answer("explode", {}, state)
    assert (unknown.source, unknown.observation) == ("abstain", None)
    assert "no call to explode was ever seen" in unknown.reason
    assert resolver.answer("sell", {"item": ["a", "list"], "count": "many"}, state).source == "abstain"


def test_answers_say_where_they_come_from():
    call = next(each for each in shop.session(3) if each.tool == "restock" and each.error is None)
    answer = built().resolver().answer(call.tool, call.arguments, State(call.before or {}))
    assert answer.source == "twin"
    assert answer.observation == call.observation
    assert answer.writes == (("shop", "items"),)
    assert 0.9 < answer.confidence < 1
    assert answer.evidence


def test_a_tool_that_was_seen_once_gets_no_twin():
    once = Transition("audit", {}, {"ok": True}, "plain-0", 99, before={"shop": {}}, after={"shop": {}})
    found = build([*shop.sessions(8), once])
    assert "audit" not in found.trials or not found.trials["audit"].admitted


def test_a_schema_that_changed_half_way_is_told_and_the_old_calls_are_left_out():
    calls = [Transition("price", {}, {"euros": 1} if place < 5 else {"cents": 100}, "s", place) for place in range(10)]
    shape = shapes(calls)["price"]
    assert shape.changed_at == "s#5"
    assert shape.result is not None
    assert list(shape.result["properties"]) == ["cents"]
    newest = [Transition("price", {}, {"money": 1}, "s", place) for place in range(10, 15)]
    assert shapes([*calls, *newest])["price"].changed_at == "s#10"
    # A key that comes and goes is one that may be missing.
    assert shapes([*calls, *newest, *calls])["price"].changed_at is None


def test_a_world_says_where_a_tool_changed_and_answers_as_it_is_now():
    old = [replace(each, session=f"old-{each.session}") for each in shop.sessions(6)]
    before = [replace(e, observation={"amount": 1}) if e.tool == "read_item" and e.error is None else e for e in old]
    found = build([*before, *shop.sessions(12, 50)])
    shape = found.shapes["read_item"]
    assert str(shape.changed_at).startswith("plain-")
    assert shape.result is not None
    assert set(shape.result["properties"]) == {"stock", "price"}
    assert not any(call.session.startswith("old-") for call in found.memory if call.tool == "read_item")


def test_too_few_sessions_are_refused():
    with pytest.raises(InvalidInput, match="Capture more"):
        build(shop.sessions(2))
