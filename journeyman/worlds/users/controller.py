"""Decides what a user does next: code, not a model, so that no goal leaks and nobody leaves before they were served."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from journeyman.worlds.compliance.events import sentences
from journeyman.worlds.users.card import Goal, Objection, OwnTool, Talk, UserAct, UserCard


class Decision(NamedTuple):
    """The act, and what it is about: sorts of facts that are told, an objection, a tool of the user's own."""

    act: UserAct
    facts: tuple[str, ...] = ()
    objection: Objection | None = None
    tool: OwnTool | None = None


@dataclass(frozen=True)
class Mood:
    """Where a user stands: which goal, how much patience is left, what they have told and objected already."""

    goal: int = 0
    patience: int = 1
    told: frozenset[str] = frozenset()
    objected: frozenset[str] = frozenset()
    own: Mapping[str, Any] = field(default_factory=dict)
    """The state on the user's side, which their own tools change."""
    since: Mapping[str, Any] | None = None
    """The system's state when the present goal was opened."""


def asked_for(talk: Talk, text: str) -> tuple[str, ...]:
    """The sorts of facts that an agent's words ask for."""
    asking = [each for each in sentences(text) if re.search(_ASKING, each, re.IGNORECASE)]
    return tuple(kind.name for kind in talk.facts if any(_any(kind.asked, each) for each in asking))


def decide(
    card: UserCard, talk: Talk, mood: Mood, said: str, state: Mapping[str, Any] | None, rng: random.Random
) -> tuple[Decision, Mood]:
    """What the user does after the agent's words, and where they stand then.

    `state` is the system's as it is now: whether a goal is reached is read from it, never from what the agent claims.
    """
    goal = card.goals[mood.goal]
    if _is_reached(goal, mood, said, state):
        return _next(card, mood, state, "request")
    if _any(talk.hands_over, _statements(said)):
        return _next(card, mood, state, "accept")
    objection = next(
        (each for each in card.objections if each.says not in mood.objected and _any((each.trigger,), said)), None
    )
    if objection is not None:
        return Decision("object", objection=objection), replace(mood, objected=mood.objected | {objection.says})
    tool = next((each for each in card.tools if _any((each.told,), said)), None)
    if tool is not None and tool.name not in mood.told:
        return Decision("act", tool=tool), replace(mood, told=mood.told | {tool.name}, own={**mood.own, **tool.sets})
    asked = asked_for(talk, said)
    if asked:
        return _answer(card, mood, asked, rng)
    if _any(talk.asks_consent, said):
        return Decision("confirm" if goal.consents else "refuse"), mood
    return _unhelped(mood)


def opened(card: UserCard, state: Mapping[str, Any] | None) -> Mood:
    """Where a user stands before the first word."""
    return Mood(patience=card.style.patience if card.patience is None else card.patience, since=state)


def _is_reached(goal: Goal, mood: Mood, said: str, state: Mapping[str, Any] | None) -> bool:
    if goal.reached:
        known = {"before": mood.since, "after": state, "own": mood.own}
        return state is not None and all(each.holds(known, known) for each in goal.reached)
    return bool(goal.answered) and _any(goal.answered, _statements(said))


def _next(card: UserCard, mood: Mood, state: Mapping[str, Any] | None, act: UserAct) -> tuple[Decision, Mood]:
    fresh = card.style.patience if card.patience is None else card.patience
    moved = replace(mood, goal=mood.goal + 1, patience=fresh, since=state)
    if moved.goal == len(card.goals):
        return Decision("close"), replace(moved, goal=mood.goal)
    return Decision(act), moved


def _answer(card: UserCard, mood: Mood, asked: Sequence[str], rng: random.Random) -> tuple[Decision, Mood]:
    known = [name for name in asked if name in card.facts]
    if not known:
        is_fair = set(asked) <= set(card.unknown) - mood.told
        patience = mood.patience if is_fair else mood.patience - 1
        if patience < 0:
            return Decision("abandon"), mood
        return Decision("cannot_say", tuple(asked)), replace(mood, told=mood.told | set(asked), patience=patience)
    fresh = [name for name in known if name not in mood.told]
    # Being asked again for what was told already costs patience; the answer is given all the same.
    patience = mood.patience if fresh else mood.patience - 1
    if patience < 0:
        return Decision("abandon"), mood
    told = tuple(fresh or known)
    if len(told) > 1 and rng.random() < card.style.one_by_one:
        told = told[:1]
    return Decision("answer", told), replace(mood, told=mood.told | set(told), patience=patience)


def _unhelped(mood: Mood) -> tuple[Decision, Mood]:
    if mood.patience <= 0:
        return Decision("abandon"), mood
    return Decision("vent"), replace(mood, patience=mood.patience - 1)


_ASKING = r"\?|\b(?:please|provide|need|tell me|give me|share|state)\b"


def _statements(said: str) -> str:
    return " ".join(each for each in sentences(said) if not each.endswith("?"))


def _any(expressions: Sequence[str], text: str) -> bool:
    return any(re.search(each, text, re.IGNORECASE) for each in expressions)
