"""Shows the conversations of a session as trees in a terminal: calls in order, branches indented."""

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from journeyman.capture.trajectories import Conversation, Turn
from journeyman.cli.thread import first_words, harmless, one_line
from journeyman.records import Message

SHORT_ID = 8
"""How much of an id's end is shown; `traces show` takes it."""
_DEEPEST = 12
"""Branches within branches are indented up to here."""


def print_conversations(console: Console, conversations: list[Conversation]) -> None:
    """Print every conversation: a line for each call, with what was said last and what was replied."""
    for number, conversation in enumerate(conversations, 1):
        turns, branches = len(conversation.turns), len(conversation.branches)
        how = " (inferred)" if conversation.inferred else ""
        within = f", within {conversation.within.id[-SHORT_ID:]}{how}" if conversation.within else ""
        told = f"conversation {number}: {_many(turns, 'call')}, {_many(branches, 'branch', 'branches')}{within}"
        console.print(Text(harmless(told), style="bold"))
        for depth, turn in _in_order(conversation):
            console.print(_line(depth, turn), soft_wrap=False, overflow="ellipsis", no_wrap=True)


def _in_order(conversation: Conversation) -> Iterator[tuple[int, Turn]]:
    """Turns with their depth: what goes on longest stays at its depth, and comes behind the branches beside it."""
    sizes: dict[int, int] = {}
    for turn in reversed(conversation.turns):
        sizes[turn.number] = 1 + sum(sizes[child.number] for child in turn.children)
    waiting = _beside(conversation.roots, 0, sizes)
    while waiting:
        depth, turn = waiting.pop()
        yield depth, turn
        waiting += _beside(turn.children, depth, sizes)


def _beside(turns: tuple[Turn, ...] | list[Turn], depth: int, sizes: dict[int, int]) -> list[tuple[int, Turn]]:
    """Turns that follow the same one, last first, the longest one first of all."""
    if not turns:
        return []
    longest = max(turns, key=lambda turn: (sizes[turn.number], turn.number))
    others = [(depth + 1, turn) for turn in reversed(turns) if turn is not longest]
    return [(depth, longest), *others]


def _line(depth: int, turn: Turn) -> Text:
    exchange = turn.exchange
    line = Text("  " + "│ " * min(depth, _DEEPEST), style="dim")
    line.append(f"{exchange.at:%H:%M:%S} {harmless(exchange.id[-SHORT_ID:])} ", style="dim")
    if exchange.state != "complete":
        line.append(f"{exchange.state} ", style="red")
    line.append_text(one_line(exchange.model, style="dim")).append(" ")
    line.append_text(_words(exchange.messages[-1] if exchange.messages else None, "cyan"))
    replies: list[Message | None] = [choice.message for choice in exchange.choices]
    for reply in replies or [None]:
        line.append(" → ", style="dim").append_text(_words(reply, "green"))
    return line


def _words(message: Message | None, style: str) -> Text:
    words = first_words(message)
    words.truncate(60, overflow="ellipsis")
    words.stylize(style)
    return words


def _many(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
