"""Who a simulated user is: what they want, know, do not know and keep to themselves, and how they talk."""

from typing import Any, Literal

from pydantic import Field, model_validator

from journeyman.records import Frozen
from journeyman.worlds.compliance.conditions import Condition

UserAct = Literal[
    "open",
    "request",
    "answer",
    "cannot_say",
    "confirm",
    "refuse",
    "object",
    "act",
    "vent",
    "accept",
    "close",
    "abandon",
]
"""What a user does with a turn. `accept` takes a refusal or a hand-over; `close` and `abandon` end the conversation."""


class FactKind(Frozen):
    """A sort of fact: `asked` are expressions by which an agent asks for it, `value` one that finds it in words."""

    name: str = Field(pattern=r"^[a-z_]+$")
    asked: tuple[str, ...]
    value: str


class Talk(Frozen):
    """How a domain's talk is understood: the sorts of facts, and what questions, consents and refusals sound like."""

    facts: tuple[FactKind, ...]
    asks_consent: tuple[str, ...]
    hands_over: tuple[str, ...]
    yes: str
    no: str
    thanks: str = r"^\W*(thanks|thank you|great|good|perfect|yes)\b[^.!,]*[.!,]?\s*"
    """How a user goes on to another wish once the first was granted."""
    greeting: str = r"^\W*(hi|hello|hey|good (morning|afternoon|evening))\b[^.!,]*[.!,]?\s*"


class Goal(Frozen):
    """One thing a user wants, in two wordings, and what must be observed for it to be reached.

    `reached` are conditions on the system's state (`after.…`, `before.…`); where nothing changes, `answered` finds the
    answer in the agent's words. Agreeing is not finishing: without the effect the goal stays open.
    """

    ask: str
    again: str
    reached: tuple[Condition, ...] = ()
    answered: tuple[str, ...] = ()
    consents: bool = True


class Objection(Frozen):
    """A constraint that the user keeps to themselves until the agent says what matches `trigger`."""

    trigger: str
    says: str


class OwnTool(Frozen):
    """Something that only the user can do, when the agent tells them to; `sees` is what they report then."""

    name: str
    told: str
    sees: str
    sets: dict[str, Any] = Field(default_factory=dict)
    """What it changes on the user's side."""


class Style(Frozen):
    """How somebody talks, as mined from logs (`conversations` of them) or made up (none).

    `templates` word each act, with `{slots}` for facts. `greets` is the share of conversations that open with a
    greeting, `one_by_one` the share of questions for several facts that are answered with one of them.
    """

    templates: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    greetings: tuple[str, ...] = ("Hello.",)
    greets: float = Field(0.5, ge=0, le=1)
    one_by_one: float = Field(0.0, ge=0, le=1)
    patience: int = Field(1, ge=0)
    conversations: int = 0


class UserCard(Frozen):
    """One user. `facts` they know, by sort; `unknown` are sorts that they say they do not know, without minding the
    first question for them. `patience`: turns without help until they leave, the style's where it is not given."""

    id: str
    goals: tuple[Goal, ...] = Field(min_length=1)
    facts: dict[str, str] = Field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    objections: tuple[Objection, ...] = ()
    tools: tuple[OwnTool, ...] = ()
    style: Style = Style()
    patience: int | None = None

    @model_validator(mode="after")
    def _known_or_not(self) -> "UserCard":
        both = sorted(self.facts.keys() & set(self.unknown))
        if both:
            raise ValueError(f"user {self.id} knows and does not know {', '.join(both)}")
        return self
