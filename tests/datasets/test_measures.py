from itertools import pairwise

from journeyman.datasets.measures import bar, histogram, measure
from journeyman.records import Row, Tool
from journeyman.records.message import assistant, call, system, tool_result, user

BALANCE = Tool.model_validate({"type": "function", "function": {"name": "balance", "parameters": {}}})


def row(conversation, *messages, **fields):
    return Row(messages=messages, conversation=conversation, source=conversation, **fields)


def test_a_dataset_in_numbers():
    rows = [
        row("a", user("12345678"), assistant("1234")),
        row("a", user("1234"), call("1", "balance"), tool_result("1", "12"), tools=(BALANCE,)),
        row("b", system("1234"), user("1234"), assistant("1234"), split="validation"),
    ]
    found = measure(rows)
    assert (found.rows, found.conversations, found.exact) == ({"train": 2, "validation": 1}, 2, False)
    assert found.roles == {"user": 3, "assistant": 3, "tool": 1, "system": 1}
    assert (found.tools, found.rows_offered) == ({"balance": 1}, {"balance": 1})
    assert found.learned == 1 + 3 + 1  # "balance{}" is nine characters


def test_tokens_are_those_of_the_model_that_is_given():
    rows = [row(str(number), user("x"), assistant("y" * number)) for number in range(1, 101)]
    found = measure(rows, lambda row: len(row.messages[-1].text))
    assert found.exact
    assert (found.lengths.total, found.lengths.median, found.lengths.longest) == (5050, 50.5, 100)
    assert found.lengths.p95 == 95.05


def test_the_histogram_holds_every_row_once():
    for sizes in ([0], [1], [3, 3, 3], list(range(1000)), [5, 100_000]):
        buckets = histogram(sizes)
        assert sum(bucket.rows for bucket in buckets) == len(sizes)
        assert len(buckets) <= 9
        assert all(one.end == other.begin for one, other in pairwise(buckets))


def test_a_bar_is_as_long_as_the_number_is_large():
    assert (bar(0, 10), len(bar(10, 10)), len(bar(1, 1000))) == ("", 40, 1)
