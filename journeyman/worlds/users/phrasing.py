"""Words a user's act: by templates, or by a model that is shown how real users said it. Either is checked."""

import random
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from journeyman.engines.engine import Engine
from journeyman.errors import UpstreamFailed
from journeyman.records import Message, Sampling
from journeyman.records.message import system, user
from journeyman.worlds.users.card import UserCard
from journeyman.worlds.users.controller import Decision

DEFAULTS: dict[str, tuple[str, ...]] = {
    "cannot_say": ("I do not know that.", "I cannot tell you that."),
    "confirm": ("Yes, please.", "Yes, go ahead."),
    "refuse": ("No, please do not.", "No, leave it."),
    "vent": ("That does not help me.", "Sorry, what?"),
    "accept": ("All right.", "Okay, thank you."),
    "close": ("Thank you, that is all.", "Thanks, bye."),
    "abandon": ("Forget it.", "This leads nowhere. Goodbye."),
}
FACTUAL = re.compile(r"[A-Za-z]*\d[\w.,/-]*\w|\d")
"""What in a sentence is a fact: amounts, dates, ids."""


class Phrasing(NamedTuple):
    """A turn in words. `fault` says what was wrong with the words that the model gave; templates stand in for them."""

    text: str
    fault: str | None = None


class Phraser(Protocol):
    """Words an act."""

    async def phrase(
        self, card: UserCard, goal: int, decision: Decision, heard: Sequence[Message], rng: random.Random
    ) -> Phrasing:
        """The user's words for the act, after what was `heard`."""
        ...


class Templates:
    """Words acts by the style's templates, and by defaults where it has none: the same seed, the same words."""

    async def phrase(
        self, card: UserCard, goal: int, decision: Decision, heard: Sequence[Message], rng: random.Random
    ) -> Phrasing:
        """A template's words."""
        return Phrasing(worded(card, goal, decision, rng))


class ModelPhraser:
    """Lets a model word the act. Words that tell what was not decided are asked for once more, then replaced."""

    def __init__(self, engine: Engine, model: str, sampling: Sampling = Sampling(temperature=0.7)) -> None:
        self.engine, self.model, self.sampling = engine, model, sampling

    async def phrase(
        self, card: UserCard, goal: int, decision: Decision, heard: Sequence[Message], rng: random.Random
    ) -> Phrasing:
        """The model's words where they are grounded, else the template's with the fault."""
        plain = worded(card, goal, decision, rng)
        shown = list(card.style.templates.get(decision.act, ()))[:5]
        asked = [
            system(
                "You word what a client says to a support agent. Say exactly what the draft says: add no fact, number "
                f"or wish, and end nothing that it does not end. Real clients talk like this: {shown}. Answer with the "
                "client's words alone."
            ),
            user(f"The agent said: {heard[-1].text if heard else '(nothing yet)'}\nDraft: {plain}"),
        ]
        fault: str | None = None
        for _ in range(2):
            try:
                text = (await self.engine.reply(self.model, asked, (), self.sampling)).message.text.strip()
            except UpstreamFailed as problem:
                return Phrasing(plain, f"no words of the model: {problem}")
            fault = "empty" if not text else ungrounded(card, plain, heard, text)
            if fault is None:
                return Phrasing(text)
        return Phrasing(plain, fault)


def worded(card: UserCard, goal: int, decision: Decision, rng: random.Random) -> str:
    """The act in the words of a template."""
    style, wanted = card.style, card.goals[goal]
    if decision.act == "open":
        greeting = f"{rng.choice(style.greetings)} " if rng.random() < style.greets else ""
        return f"{greeting}{wanted.ask}"
    if decision.objection is not None:
        return decision.objection.says
    if decision.tool is not None:
        return decision.tool.sees
    if decision.act in ("request", "accept"):
        thanks = style.templates.get(decision.act) or DEFAULTS["accept"]
        return f"{rng.choice(thanks)} {wanted.ask}"
    if decision.act == "answer":
        return _answered(card, decision.facts, rng)
    said = rng.choice(style.templates.get(decision.act) or DEFAULTS[decision.act])
    return f"{said} {wanted.again}" if decision.act == "vent" else said


def ungrounded(card: UserCard, plain: str, heard: Sequence[Message], text: str) -> str | None:
    """What a turn tells that was neither decided nor heard: a number from nowhere, or a fact that was not its time."""
    allowed = f"{plain} " + " ".join(message.text for message in heard)
    invented = [each for each in FACTUAL.findall(text) if each not in allowed]
    if invented:
        return f"tells {', '.join(invented)}, which nobody gave it"
    leaked = [value for value in _unsaid(card) if value in text and value not in allowed]
    return f"leaks {', '.join(leaked)}" if leaked else None


def _unsaid(card: UserCard) -> Iterable[str]:
    yield from card.facts.values()
    yield from (each.says for each in card.objections)
    yield from (each.ask for each in card.goals)


def _answered(card: UserCard, facts: Sequence[str], rng: random.Random) -> str:
    key = "answer:" + "+".join(sorted(facts))
    templates = card.style.templates.get(key) or (", ".join(f"{{{name}}}" for name in facts) + ".",)
    return rng.choice(templates).format(**card.facts)
