"""What one scenario holds: who the customer is, what they want, how they word it, and what must come of it."""

from typing import Literal

from journeyman.demos.bank.database import Split
from journeyman.records import Frozen

GoalKind = Literal["balance", "dispute", "freeze", "transfer", "investment", "hand_over"]


class Effect(Frozen):
    """One change that the bank must show in the end, as the tool call that makes it."""

    tool: Literal["freeze_card", "dispute_transaction", "transfer", "hand_over"]
    arguments: dict[str, str | int]


class Goal(Frozen):
    """One thing the customer wants, in two wordings: the first time, and when the agent did not get on."""

    kind: GoalKind
    ask: str
    again: str
    effect: Effect | None = None
    facts: tuple[int, ...] = ()
    """Amounts in cents that the agent must say."""
    mentions: tuple[int, ...] = ()
    """Amounts in cents that the agent may say besides."""
    source: str = ""
    target: str = ""
    account: str = ""
    agrees: bool = True
    """Whether the customer says yes when asked to confirm a transfer."""


class Wording(Frozen):
    """How this customer words the small acts."""

    greeting: str
    both: str
    name: str
    dates: tuple[str, ...]
    """The birth date as told when asked for it once, and again."""
    city: str
    agree: str
    refuse: str
    no_other_date: str
    nudges: tuple[str, ...]
    thanks: tuple[str, ...]


class Case(Frozen):
    """Everything about one scenario; it travels as the data of a `Scenario`."""

    split: Split
    seed: str
    customer: str
    name: str
    city: str
    is_namesake: bool
    birth_dates: tuple[str, ...]
    """What the customer says, in this order; the last one is right unless they never know it."""
    is_verifiable: bool
    manner: Literal["when_asked", "name_first", "up_front"]
    wording: Wording
    goals: tuple[Goal, ...]
    fault: str | None = None
    """The tool whose first call times out."""
