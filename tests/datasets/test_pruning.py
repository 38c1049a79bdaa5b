"""Text goes from prompts alone, the same way in rows and in requests."""

import pytest

from journeyman.datasets.pruning import check_rules, prune, prune_request, prune_rows
from journeyman.errors import InvalidInput
from journeyman.records import Message, Row
from journeyman.records.message import assistant, system, tool_result, user

RULES = ("Be very polite.", "(boilerplate)")


def test_what_the_assistant_said_stays():
    said = (system("Bank. Be very polite."), user("(boilerplate) Hello"), assistant("Be very polite."), user("Bye"))
    assert prune(said, RULES) == (system("Bank."), user("Hello"), assistant("Be very polite."), user("Bye"))


def test_a_system_message_with_nothing_left_is_dropped_and_a_users_is_not():
    assert prune((system("Be very polite."), user("(boilerplate)")), RULES) == (user(""),)


def test_parts_and_results_of_tools_are_pruned_and_other_parts_kept():
    image = {"type": "image_url", "image_url": {"url": "data:,(boilerplate)"}}
    parts = Message(role="user", content=[{"type": "text", "text": "Look (boilerplate)"}, image])
    after = prune((parts, tool_result("1", "done (boilerplate)")), RULES)
    assert after[0].content == [{"type": "text", "text": "Look"}, image]
    assert after[1] == tool_result("1", "done")


def test_what_no_rule_touches_stays_to_the_last_blank():
    said = (system("  two blanks  "), Message(role="user", content="Hi ", name="Ann"))
    assert prune(said, RULES) == said
    assert prune(said, ()) == said


def test_pruning_twice_changes_nothing():
    rules = ("ab", "x  y")
    once = prune((user("aabb c x ab y d"),), rules)
    assert once == (user("c  d"),)
    assert prune(once, rules) == once


@pytest.mark.parametrize(
    ("fields", "changed"),
    [
        ({"messages": [{"role": "user", "content": "(boilerplate) x"}], "stream": True},
         {"messages": [{"role": "user", "content": "x"}]}),
        ({"messages": [{"role": "user", "content": "x"}]}, {}),
        ({"messages": "(boilerplate) no list"}, {"messages": "no list"}),
        ({"system": [{"type": "text", "text": "a (boilerplate)"}]}, {"system": [{"type": "text", "text": "a"}]}),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result", "content": "a (boilerplate)"}]}]},
         {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": "a"}]}]}),
        ({"prompt": ["(boilerplate) a", "b"]}, {"prompt": ["a", "b"]}),
        ({"prompt": [1, 2]}, {}),
        ({"instructions": "Be very polite. z", "input": [{"role": "user", "content": "(boilerplate) y"}, "?"]},
         {"instructions": "z", "input": [{"role": "user", "content": "y"}, "?"]}),
        ({"user": "(boilerplate)", "metadata": {"text": "(boilerplate)"}}, {}),
    ],
)  # fmt: skip
def test_requests_of_every_api_are_pruned(fields, changed):
    assert prune_request(fields, RULES) == changed


def test_what_is_saved_is_counted_by_the_tokenizer_that_is_given():
    rows = [
        Row(messages=(system("a b Be very polite."), user("x"), assistant("y")), conversation="1", source="1"),
        Row(messages=(user("x"), assistant("y")), conversation="2", source="2"),
    ]
    pruned, changed, saved = prune_rows(rows, RULES, lambda text: len(text.split()))
    assert (changed, saved) == (1, 3)
    assert pruned[1] is rows[1]
    assert "split" not in pruned[0].model_fields_set
    assert prune_rows(rows, RULES)[2] == 4  # 19 and 3 characters, at four each


def test_what_was_rejected_is_pruned_too():
    said = (user("(boilerplate) x"), assistant("good"))
    row = Row(messages=said, rejected=(said[0], assistant("bad")), conversation="1", source="1")
    pruned, _, _ = prune_rows([row], RULES)
    assert pruned[0].rejected == (user("x"), assistant("bad"))


def test_a_blank_rule_is_refused():
    with pytest.raises(InvalidInput, match="blank"):
        check_rules(["fine", "  "])
