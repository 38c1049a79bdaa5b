"""Calls as turns of the conversations that they belong to."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from journeyman.records import Exchange

Join = Literal["tokens", "messages", "response_id"]


@dataclass(eq=False, slots=True)
class Turn:
    """One call in its conversation; its `number` says where it was among all, by time.

    `choice` is the one of the parent's replies that it continues, `by` what shows that it does.
    """

    exchange: Exchange
    number: int
    parent: "Turn | None" = None
    choice: int = 0
    by: Join | None = None
    children: "list[Turn]" = field(default_factory=list)

    def path(self) -> "list[Turn]":
        """The turns from the first one to this."""
        found: list[Turn] = []
        turn: Turn | None = self
        while turn is not None:
            found.append(turn)
            turn = turn.parent
        return found[::-1]


def all_turns(roots: Iterable[Turn]) -> list[Turn]:
    """Every turn that begins with one of these, parents before children."""
    found, waiting = [], [*reversed([*roots])]
    while waiting:
        turn = waiting.pop()
        found.append(turn)
        waiting += reversed(turn.children)
    return found
