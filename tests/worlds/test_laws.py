"""Laws between calls: kept by the shop's world, broken by worlds with planted bugs, and then named."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from journeyman.worlds.build import Built, build
from journeyman.worlds.card import LAWS, problems_of
from journeyman.worlds.laws import of_laws, try_laws, violations
from journeyman.worlds.resolver import Answer
from journeyman.worlds.state import Change, State
from journeyman.worlds.views import views
from tests.worlds import shop


@cache
def built() -> Built:
    return build([call for seed in range(10) for call in shop.session(seed, calls=24)])


class Forgetful:
    """A world whose reading tools answer from the state before the last change, or change what they read."""

    def __init__(self, of: Built, *, meddles: bool = False) -> None:
        self._resolver, self._meddles = of.resolver(), meddles
        self._first: State | None = None

    def answer(self, tool: str, arguments: Mapping[str, Any], state: State) -> Answer:
        if not state.events:
            self._first = state.fork()
        found = self._resolver.answer(tool, arguments, self._first or state)
        if self._meddles and tool == "read_item" and found.error is None:
            return replace(found, changes=(Change("set", ("shop", "user"), "eve"),))
        return found


def held() -> list[Any]:
    return [call for seed in range(600, 615) for call in shop.session(seed, calls=24)]


def test_views_are_found_in_rules_and_name_the_cells():
    found = views(built().footprints, built().rules, built().memory)["shop"]
    assert {(view.tool, view.part) for view in found} == {("read_item", ()), ("list_orders", ("orders",))}


def test_single_calls_give_views_where_no_rule_explains_the_tool():
    found = views(built().footprints, {}, built().memory)["shop"]
    assert {view.tool for view in found} == {"read_item", "list_orders"}


def test_the_shop_keeps_every_law():
    trials = try_laws(built().resolver(), held(), built())
    values = {each.measure: (each.calls, each.value) for each in of_laws(trials, "S1")}
    assert set(values) == set(LAWS)
    assert all(calls > 0 and value is not None and value.estimate == 1 for calls, value in values.values())
    assert violations(trials) == ()


def test_a_stale_read_and_an_order_that_outlives_its_end_are_named():
    trials = try_laws(Forgetful(built()), held(), built())
    broken = {each.law for each in trials if each.violation is not None}
    assert broken == {"F6 write then read", "F6 delete then missing"}
    assert any("read_item" in each and "where the state holds" in each for each in violations(trials))
    problems = problems_of(of_laws(trials, "S1"))
    assert any("the law 'delete then missing' was broken" in problem for problem in problems)


def test_a_reading_tool_that_changes_something_is_named():
    trials = try_laws(Forgetful(built(), meddles=True), held(), built())
    assert any("read_item only reads, and changed ('shop', 'user')" in each for each in violations(trials))
