"""What a tool's schema forbids: judged as the package jsonschema does, worded as the system was heard to word it."""

import json
from dataclasses import replace
from functools import cache

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as some

from journeyman.demos.bank.tools import PARAMETERS, TOOLS, read_arguments
from journeyman.records import Function, FunctionCall, Tool
from journeyman.worlds.build import Built, build
from journeyman.worlds.contracts import Breach, Contracts, contracts_of
from journeyman.worlds.state import State
from journeyman.worlds.transitions import Transition, error_kind
from journeyman.worlds.world import World, load_world
from tests.worlds import shop

BUY = {
    "type": "object",
    "properties": {
        "item": {"type": "string"}, "count": {"type": "integer"}, "price": {"type": ["number", "null"]},
        "speed": {"enum": ["slow", 1, None]}, "note": {},
    },
    "required": ["item", "count"],
    "additionalProperties": False,
}  # fmt: skip


def tool(name, parameters):
    return Tool(type="function", function=Function(name=name, parameters=parameters))


def told(name, arguments, observation, number=0):
    return Transition(name, arguments, observation, f"s{number}", number, error_kind(observation, arguments))


VALUES = some.one_of(
    some.none(), some.booleans(), some.integers(-2, 2), some.sampled_from([1.0, 1.5, "slow", "x"]),
    some.lists(some.integers(), max_size=1), some.dictionaries(some.just("a"), some.integers(), max_size=1),
)  # fmt: skip


@given(some.dictionaries(some.sampled_from(["item", "count", "price", "speed", "note", "other"]), VALUES))
def test_breaches_are_what_a_library_for_json_schema_finds(arguments):
    contract = contracts_of([tool("buy", BUY)], []).tools["buy"]
    wrong = {
        (each.validator, each.path[0] if each.path else None)
        for each in jsonschema.Draft202012Validator(BUY).iter_errors(arguments)
    }
    kinds = {"type": "type", "enum": "value"}
    found = {*contract.breaches(arguments)}
    assert {(kind, name) for kind, name in wrong if name is not None} == {
        (word, each.name) for each in found for word, kind in kinds.items() if each.kind == kind
    }
    assert (("required", None) in wrong) == any(each.kind == "missing" for each in found)
    assert (("additionalProperties", None) in wrong) == any(each.kind == "unknown" for each in found)


def refused_by_the_bank(name, arguments, number=0):
    with pytest.raises(ValueError, match=r"takes|must be|no tool") as problem:
        read_arguments(FunctionCall(name=name, arguments=json.dumps(arguments)))
    return told(name, arguments, {"error": str(problem.value)}, number)


HEARD = [
    refused_by_the_bank("list_transactions", {"account": "A1"}, 1),
    refused_by_the_bank("freeze_card", {}, 2),
    refused_by_the_bank("find_customer", {"name": "Ann", "city": "Graz"}, 3),
    refused_by_the_bank("list_transactions", {"account": "A1", "page": "2"}, 4),
    refused_by_the_bank("open_account", {"customer": "C1"}, 5),
    told("freeze_card", {"card": "K9"}, {"error": "unknown card K9"}, 6),
    told("freeze_card", {"card": "K1"}, {"ok": True}, 7),
]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("transfer", {"from_account": "A1", "to_account": "A2"}),
        ("verify_identity", {"customer": "C1"}),
        ("hand_over", {"reason": "a loan", "urgent": True}),
        ("transfer", {"from_account": "A1", "to_account": "A2", "cents": "20"}),
        ("close_account", {"account": "A1"}),
    ],
)
def test_words_heard_of_some_tools_are_those_of_the_others(name, arguments):
    refusal = contracts_of(TOOLS, HEARD).refusal(name, arguments)
    assert refusal.observation == refused_by_the_bank(name, arguments).observation
    assert refusal.error is not None
    assert refusal.changes == ()
    assert refusal.confidence > 0


def test_a_call_that_keeps_to_the_schema_is_not_refused_whatever_it_asks_for():
    contracts = contracts_of(TOOLS, HEARD)
    for name, (_, parameters) in PARAMETERS.items():
        arguments = {each: "x" if kind == "string" else 5 for each, kind in parameters.items()}
        assert contracts.refusal(name, arguments) is None


def test_what_nobody_heard_is_said_in_our_words_in_the_form_of_other_errors_and_nobody_is_sure_of_it():
    incomplete = {"count": 1}
    plain = contracts_of([tool("buy", BUY)], []).refusal("buy", incomplete)
    assert plain.observation == {"error": "buy: argument item is missing"}
    assert plain.confidence == 0
    texts = [told("buy", {"item": "x", "count": 9}, "Error: only 3 are left", number) for number in range(3)]
    assert contracts_of([tool("buy", BUY)], texts).refusal("buy", incomplete).observation == (
        "Error: buy: argument item is missing"
    )


@pytest.mark.parametrize(
    "arguments", [{"count": 1}, {"item": "x", "count": "1"}, {"item": "x", "count": 1, "gift": True}]
)
def test_what_the_system_let_pass_once_is_no_breach(arguments):
    strict = contracts_of([tool("buy", BUY)], [])
    assert strict.refusal("buy", arguments) is not None
    assert contracts_of([tool("buy", BUY)], [told("buy", arguments, {"ok": True})]).refusal("buy", arguments) is None


def test_arguments_that_no_schema_names_are_left_to_the_other_layers_until_one_was_heard_to_be_refused():
    open_to_all = {**BUY, "additionalProperties": True}
    asked = {"item": "x", "count": 1, "gift": True}
    offered = [tool("buy", open_to_all), tool("sell", open_to_all)]
    assert contracts_of(offered, []).refusal("buy", asked) is None
    refused = told("sell", asked, {"error": "sell: unexpected argument gift"})
    assert contracts_of(offered, [refused]).refusal("buy", asked).observation == {
        "error": "buy: unexpected argument gift"
    }
    otherwise = told("sell", {"item": "y", "count": 1}, {"error": "sell: unexpected argument gift"}, 1)
    assert contracts_of(offered, [refused, otherwise]).refusal("buy", asked) is None
    taken = told("buy", {"item": "y", "count": 1, "wrap": 1}, {"ok": True}, 2)
    assert contracts_of(offered, [refused, taken]).refusal("buy", asked) is None


def test_a_tool_that_is_not_on_offer_is_refused_unless_it_answered_all_the_same():
    offered = [tool("buy", BUY)]
    assert contracts_of(offered, []).refusal("steal", {}).observation == {"error": "no tool named steal"}
    assert contracts_of(offered, [told("steal", {}, {"ok": True})]).refusal("steal", {}) is None
    assert contracts_of([], []).refusal("steal", {}) is None


@pytest.mark.parametrize(
    "schema",
    [
        None, {}, {"properties": None, "required": None}, {"properties": [], "required": "item"},
        {"properties": {"item": True, "count": {"type": "dict"}, "note": {"type": [{}], "enum": "abc"}}},
    ],
)  # fmt: skip
def test_a_schema_of_no_known_form_forbids_nothing(schema):
    contracts = contracts_of([tool("buy", schema)], [])
    assert contracts.refusal("buy", {"item": 1, "count": "x", "note": [], "other": None}) is None


def test_a_timeout_says_nothing_of_how_a_breach_is_refused():
    late = told("buy", {"count": 1}, {"error": "timeout, try again"})
    assert "missing" in contracts_of([tool("buy", BUY)], [late]).refusal("buy", {"count": 2}).observation["error"]


RESTOCK = {
    "properties": {"item": {"type": "string"}, "count": {"type": "integer"}},
    "required": ["item", "count"],
}  # fmt: skip


@cache
def built() -> Built:
    return build(shop.sessions(12), tools=[tool("restock", RESTOCK)])


def test_a_world_refuses_before_it_looks_at_anything_and_changes_nothing():
    one = next(each for each in shop.sessions(12) if each.tool == "restock")
    state = State(one.before)
    without = replace(built(), contracts=Contracts()).resolver().answer("restock", {"item": "pen"}, state)
    assert without.source == "abstain"
    answer = built().resolver().answer("restock", {"item": "pen"}, state)
    assert (answer.source, answer.changes) == ("schema", ())
    assert answer.observation == {"error": "restock: argument count is missing"}
    assert answer.evidence == ("schema of restock",)
    assert built().resolver().answer("restock", one.arguments, state).source != "schema"


def test_a_file_keeps_what_is_forbidden_and_a_world_without_schemas_is_as_before(tmp_path):
    contracts = contracts_of([*TOOLS, tool("buy", BUY)], [*HEARD, told("buy", {"count": 1}, {"ok": True})])
    assert contracts.tools["buy"].lax == {Breach("missing", "item")}
    kept = World("kept", replace(built(), contracts=contracts), ())
    kept.save(tmp_path)
    again = load_world("kept", tmp_path)
    assert again.content == kept.content
    for name, arguments in (("buy", {"count": 1}), ("buy", {}), ("transfer", {"cents": 1}), ("steal", {})):
        assert again.built.contracts.refusal(name, arguments) == contracts.refusal(name, arguments)
    bare = World("kept", replace(built(), contracts=Contracts()), ())
    assert bare.content != kept.content
    assert "contracts" not in bare._answers()
