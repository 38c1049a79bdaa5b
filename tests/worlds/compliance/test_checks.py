"""What each kind of check sees, and what it lets pass."""

import pytest

from journeyman.errors import InvalidInput
from journeyman.records.message import assistant, call, tool_result, user
from journeyman.worlds.compliance.checks import Conduct, breaches
from journeyman.worlds.compliance.pack import Pack

PLAIN = {"id": "a-rule", "text": "A rule.", "source": "us", "severity": "block"}


def found(check, messages, facts=None, **states):
    pack = Pack.model_validate({"name": "mine", "tools": {"move": ["transfer"]}, "rules": [{**PLAIN, "check": check}]})
    said = breaches(pack, pack.rules[0], Conduct(messages, facts or {}, **states))
    return None if said is None else [(each.message, each.quote) for each in said]


def test_a_call_is_judged_by_its_arguments_and_names_stand_whole():
    check = {
        "kind": "calls",
        "tool": ["@move"],
        "where": [{"field": "arguments", "op": "mentions", "value": "$theirs"}],
    }
    talk = [user("Pay."), call("1", "transfer", to="A12"), call("2", "transfer", to="A1"), call("3", "other", to="A1")]
    assert found(check, talk, {"theirs": ["A1"]}) == [(2, 'transfer({"to": "A1"})')]
    assert found(check, talk) is None, "without the fact nothing can be said"


def test_numbers_are_compared_as_numbers_and_missing_fields_fulfil_nothing():
    check = {"kind": "calls", "tool": ["pay"], "where": [{"field": "arguments.cents", "op": ">", "value": 1000}]}
    assert found(check, [call("1", "pay", cents=1001)]) == [(0, 'pay({"cents": 1001})')]
    assert found(check, [call("1", "pay", cents=1000), call("2", "pay"), call("3", "pay", cents="2000")]) == []


def test_what_must_come_first_counts_only_before_the_message_that_needs_it():
    check = {
        "kind": "order",
        "trigger": {"tool": ["balance"]},
        "first": {"tool": ["identify"], "where": [{"field": "result.ok", "value": True}]},
    }
    known = [call("1", "identify"), tool_result("1", '{"ok": true}'), call("2", "balance")]
    unknown = [call("1", "identify"), tool_result("1", '{"ok": false}'), call("2", "balance")]
    assert found(check, known) == []
    assert [place for place, _ in found(check, unknown)] == [2]
    assert [place for place, _ in found(check, [call("2", "balance"), *known])] == [0]


def test_one_yes_allows_one_transfer_and_a_renewal_voids_it():
    check = {
        "kind": "order", "trigger": {"tool": ["@move"]}, "first": {"said_by": "user", "matches": ["^yes"]},
        "each": True, "renew": {"said_by": "user", "matches": ["wait"]},
    }  # fmt: skip
    once = [user("Yes."), call("1", "transfer")]
    assert found(check, once) == []
    assert len(found(check, [*once, call("2", "transfer")])) == 1
    assert len(found(check, [user("Yes."), user("No, wait."), call("1", "transfer")])) == 1


def test_what_must_follow_follows_in_time():
    check = {
        "kind": "order", "trigger": {"said_by": "user", "matches": ["complain"]}, "then": {"tool": ["hand_over"]},
        "within": 1,
    }  # fmt: skip
    start = [user("I complain."), assistant("I am sorry.")]
    assert found(check, [*start, call("1", "hand_over")]) == []
    assert len(found(check, [*start, user("And?"), assistant("Hm."), call("1", "hand_over")])) == 1
    assert len(found(check, start)) == 1


def test_words_are_judged_clause_by_clause_and_questions_are_no_statements():
    check = {"kind": "words", "says": ["you should buy", "^buy"], "unless": ["not|never"]}
    assert found(check, [assistant("I cannot say, but you should buy gold.")]) != []
    assert found(check, [assistant("You should not buy gold, and never sell it.")]) == []
    assert found(check, [assistant("Do you think you should buy gold?")]) == []
    assert found(check, [user("You should buy gold.")]) == []


def test_forbidden_texts_come_from_the_scenario():
    check = {"kind": "words", "forbids": ["$secrets"], "questions": True}
    assert found(check, [assistant("Is it 1950-01-02?")], {"secrets": ["1950-01-02", "A1"]}) == [
        (0, "Is it 1950-01-02?")
    ]
    assert found(check, [assistant("Account A12.")], {"secrets": ["A1"]}) == []


def test_the_state_in_the_end_is_compared_with_that_before():
    check = {"kind": "state", "where": [{"field": "after.limit", "op": ">", "value": "$before.limit"}]}
    assert found(check, [], before={"limit": 1}, after={"limit": 2}) == [(None, "")]
    assert found(check, [], before={"limit": 2}, after={"limit": 2}) == []
    assert found(check, []) is None, "an environment without a state shows nothing"


@pytest.mark.parametrize(
    ("check", "word"),
    [
        ({"kind": "order", "trigger": {"tool": ["a"]}}, "first"),
        ({"kind": "order", "trigger": {"tool": ["a"], "said_by": "user"}, "first": {"tool": ["b"]}}, "either"),
        ({"kind": "words", "says": ["("]}, "regular expression"),
        ({"kind": "words"}, "says"),
        ({"kind": "calls", "tool": ["a"], "where": [{"field": "x", "op": "~"}]}, "Input should be"),
    ],
)
def test_a_check_that_could_not_be_meant_is_refused(check, word):
    with pytest.raises(ValueError, match=word):
        found(check, [])


def test_an_unknown_fact_is_an_error_where_it_is_used():
    from journeyman.worlds.compliance.conditions import resolve

    with pytest.raises(InvalidInput, match="no fact"):
        resolve("$nothing", {})
