"""The simulated customer: code, not a model, so that an episode is exactly repeatable.

It answers what the agent asks, believes what the agent claims, moves on to its next goal, and hangs up after the
second message that did not help.
"""

import re
from dataclasses import dataclass, replace

from journeyman.demos.bank import speech
from journeyman.demos.bank.case import Case, Goal
from journeyman.demos.bank.events import Act
from journeyman.demos.bank.money import amounts

PATIENCE = 1
_FROM = re.compile(r"\bfrom (?:your |the )?(checking|savings)", re.I)
_TO = re.compile(r"\b(?:to|into) (?:your |the )?(checking|savings)", re.I)


@dataclass(frozen=True)
class Answer:
    """What the customer says next, and what it means."""

    text: str
    act: Act


@dataclass
class Customer:
    """One customer in the middle of a conversation."""

    case: Case
    goal_index: int = 0
    patience: int = PATIENCE
    dates_told: int = 0
    told: frozenset[Act] = frozenset()
    """What the customer already said for this goal; saying it again costs patience."""

    @property
    def goal(self) -> Goal:
        """What the customer wants just now, or wanted last."""
        return self.case.goals[min(self.goal_index, len(self.case.goals) - 1)]

    @property
    def is_served(self) -> bool:
        """Whether the customer takes every goal as answered."""
        return self.goal_index >= len(self.case.goals)

    def fork(self) -> "Customer":
        """An independent copy."""
        return replace(self)

    def open(self) -> Answer:
        """The first words of the conversation."""
        if self.case.manner == "up_front":
            self.dates_told = 1
        return Answer(f"{self.case.wording.greeting} {self.goal.ask}".strip(), "request")

    def hear(self, text: str) -> Answer | None:
        """The answer to the agent's words; None when the customer hangs up, served or not."""
        if self._is_answered_by(text):
            return self._next_goal()
        answer = self._consent(text) or self._identity(text) or self._detail(text)
        if answer is None or answer.act in self.told:
            return self._nudge(answer)
        self.told |= {answer.act}
        return answer

    def _is_answered_by(self, text: str) -> bool:
        kind = self.goal.kind
        if kind == "hand_over":
            return speech.hands_over(text)
        if kind == "investment":
            return speech.declines_advice(text) or speech.advises(text, was_asked=True)
        if not self.case.is_verifiable:
            return speech.hands_over(text) or speech.refuses_identity(text)
        if kind == "balance":
            return any(amounts(sentence) for sentence in speech.statements(text))
        if kind == "transfer" and "refuse" in self.told:
            return bool(speech.statements(text)) and not speech.asks_consent(text)
        return speech.claims(kind, text)

    def _next_goal(self) -> Answer | None:
        self.goal_index += 1
        self.patience, self.told = PATIENCE, frozenset()
        if self.is_served:
            return None
        return Answer(f"{self.case.wording.thanks[self.goal_index % 2]} {self.goal.ask}", "request")

    def _consent(self, text: str) -> Answer | None:
        # "Please confirm your name" asks for a name; a yes to it must never count as a yes to a transfer.
        if not speech.asks_consent(text) or speech.asks_name(text) or speech.asks_birth_date(text):
            return None
        if self.goal.kind != "transfer":
            return Answer(self.case.wording.agree, "agree")
        if not _is_wanted_transfer(self.goal, text):
            return None
        if self.goal.agrees:
            return Answer(self.case.wording.agree, "confirm")
        return Answer(self.case.wording.refuse, "refuse")

    def _identity(self, text: str) -> Answer | None:
        asks_name, asks_date = speech.asks_name(text), speech.asks_birth_date(text)
        wording, told = self.case.wording, self.dates_told
        if told == 0 and asks_name and (not asks_date or self.case.manner == "name_first") and "name" not in self.told:
            return Answer(wording.name, "name")
        if not asks_name and not asks_date:
            return None
        if not asks_date:
            return Answer(wording.name, "name")
        self.dates_told += 1
        if told >= len(wording.dates):
            return Answer(wording.no_other_date if told > 1 else wording.both, "identity")
        if told > 0:
            self.told -= {"identity"}
            return Answer(wording.dates[told], "identity")
        return Answer(wording.both if asks_name else wording.dates[0], "identity")

    def _detail(self, text: str) -> Answer | None:
        if speech.asks_city(text):
            return Answer(self.case.wording.city, "city")
        if self.goal.account and speech.asks_account(text):
            return Answer(f"My {self.goal.account} account.", "account")
        return None

    def _nudge(self, answer: Answer | None) -> Answer | None:
        if self.patience == 0:
            return None
        self.patience -= 1
        if answer is not None:
            return answer
        return Answer(f"{self.case.wording.nudges[self.patience]} {self.goal.again}", "nudge")


def _is_wanted_transfer(goal: Goal, text: str) -> bool:
    """Whether a question names no other amount and no other direction than the customer's."""
    source, target = _FROM.search(text), _TO.search(text)
    return (
        all(amount == goal.mentions[0] for amount in amounts(text))
        and (source is None or source[1].lower() == goal.source)
        and (target is None or target[1].lower() == goal.target)
    )
