"""Where adapters act: the linear layers of a network, those with the same input taken together."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Member:
    """One linear layer, as PEFT names it: its outputs are the columns `column … column + outputs` of its site."""

    name: str
    column: int
    outputs: int


@dataclass(frozen=True, slots=True)
class Site:
    """Linear layers computed as one: the same `inputs`, and `outputs` side by side."""

    inputs: int
    outputs: int
    members: tuple[Member, ...]


def site(inputs: int, *members: tuple[str, int]) -> Site:
    """A site of (name, outputs) in the order of their columns."""
    placed, column = list[Member](), 0
    for name, outputs in members:
        placed.append(Member(name, column, outputs))
        column += outputs
    return Site(inputs, column, tuple(placed))
