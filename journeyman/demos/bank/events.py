"""What happened in an episode, in order: what was said and which tools ran. The verifier judges this log."""

from typing import Any, Literal

from journeyman.records import Frozen

Act = Literal["request", "name", "identity", "city", "account", "confirm", "refuse", "agree", "nudge"]


class Said(Frozen):
    """Words of the agent or the customer, while the customer's goal number `goal` was open."""

    by: Literal["agent", "customer"]
    text: str
    goal: int
    act: Act | None = None
    """What the customer meant by it; none for the agent."""


class Ran(Frozen):
    """A tool call with valid arguments, and its result."""

    tool: str
    arguments: dict[str, str | int]
    result: dict[str, Any]
    goal: int


Event = Said | Ran
