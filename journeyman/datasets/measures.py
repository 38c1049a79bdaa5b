"""What a dataset is made of, in numbers: rows, tokens, lengths, roles, tools."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from journeyman.datasets.pruning import estimated_tokens
from journeyman.records import Row
from journeyman.statistics import quantile

LONGEST_BAR = 40
BUCKETS = 8


class Lengths(NamedTuple):
    """How long rows are, in tokens."""

    total: int
    median: float
    p95: float
    longest: int


class Bucket(NamedTuple):
    """Rows of at least `begin` and fewer than `end` tokens."""

    begin: int
    end: int
    rows: int


class Measures(NamedTuple):
    """A dataset in numbers. `learned` are the tokens of assistant turns; `roles` counts messages, `tools` calls.

    `rows_offered` counts the rows in which a tool is offered. `exact` is false when tokens are estimated.
    """

    rows: dict[str, int]
    conversations: int
    lengths: Lengths
    learned: int
    histogram: list[Bucket]
    roles: dict[str, int]
    tools: dict[str, int]
    rows_offered: dict[str, int]
    exact: bool


def measure(rows: Sequence[Row], count_row: Callable[[Row], int] | None = None) -> Measures:
    """The numbers of a dataset's rows; `count_row` counts the tokens of one with the template of the model to train."""
    sizes = [(count_row or _estimated)(row) for row in rows]
    said = [message for row in rows for message in row.messages]
    called = Counter(call.function.name for message in said for call in message.tool_calls or ())
    offered = Counter(name for row in rows for name in {tool.function.name for tool in row.tools})
    learned = sum(_words(row, learned=True) for row in rows)
    return Measures(
        rows=dict(Counter(row.split for row in rows)),
        conversations=len({row.conversation for row in rows}),
        lengths=Lengths(sum(sizes), quantile(sizes, 0.5), quantile(sizes, 0.95), max(sizes)),
        learned=learned,
        histogram=histogram(sizes),
        roles=dict(Counter(message.role for message in said).most_common()),
        tools=dict(called.most_common()),
        rows_offered=dict(offered.most_common()),
        exact=count_row is not None,
    )


def histogram(sizes: Sequence[int]) -> list[Bucket]:
    """How many sizes fall into each of eight intervals that double in width, from the smallest to the largest."""
    edges = [0]
    width = max(1, -(-max(sizes) // (2**BUCKETS - 1)))
    while edges[-1] <= max(sizes):
        edges.append(edges[-1] + width)
        width *= 2
    return [Bucket(begin, end, sum(begin <= size < end for size in sizes)) for begin, end in pairwise(edges)]


def bar(rows: int, most: int) -> str:
    """A bar for a number of rows, as long as it is large."""
    return "█" * max(1, round(LONGEST_BAR * rows / most)) if rows else ""


def _estimated(row: Row) -> int:
    return _words(row) + sum(estimated_tokens(tool.model_dump_json(exclude_unset=True)) for tool in row.tools)


def _words(row: Row, *, learned: bool = False) -> int:
    texts = []
    for message in row.messages:
        if learned and message.role != "assistant":
            continue
        texts.append(message.text)
        texts += [f"{call.function.name}{call.function.arguments}" for call in message.tool_calls or ()]
    return sum(estimated_tokens(text) for text in texts)
