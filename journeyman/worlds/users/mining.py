"""How real users talk, read from captured conversations: what they do at each turn, and in which words."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from journeyman.capture.trajectories import join
from journeyman.errors import InvalidInput
from journeyman.records import Exchange, Message
from journeyman.worlds.compliance.events import sentences
from journeyman.worlds.users.card import Style, Talk, UserAct
from journeyman.worlds.users.controller import asked_for

Dialogue = Sequence[Message]
MOST_TEMPLATES = 40
"""Wordings kept of one act: the most frequent."""


class UserTurn(NamedTuple):
    """A turn of a user: what it does as far as its words tell, which facts it holds, and its words without them."""

    act: UserAct
    text: str
    facts: tuple[str, ...]
    template: str
    asked: tuple[str, ...]
    """The sorts of facts that the agent had asked for."""


def dialogues_of(exchanges: Iterable[Exchange]) -> list[tuple[Message, ...]]:
    """The conversations of captured calls, one for each session."""
    return [*dialogues_by_session(exchanges).values()]


def dialogues_by_session(exchanges: Iterable[Exchange]) -> dict[str, tuple[Message, ...]]:
    """The conversation of each session of captured calls: its longest, along the branch that ended last."""
    sessions: dict[str, list[Exchange]] = defaultdict(list)
    for exchange in exchanges:
        if exchange.session is not None and exchange.state == "complete":
            sessions[exchange.session].append(exchange)
    found = {}
    for session, calls in sessions.items():
        longest = max(join(calls), key=lambda conversation: len(conversation.turns))
        found[session] = max(longest.branches, key=lambda branch: len(branch.messages)).messages
    return found


def turns_of(dialogue: Dialogue, talk: Talk) -> list[UserTurn]:
    """The user's turns, read beside what the agent had said before each."""
    found: list[UserTurn] = []
    said = ""
    for message in dialogue:
        if message.role == "assistant" and message.text.strip():
            said = message.text
        elif message.role == "user":
            found.append(_turn(message.text, said, talk, is_first=not found))
    return found


def fit_style(dialogues: Sequence[Dialogue], talk: Talk) -> Style:
    """The style that the users of these conversations had; InvalidInput without any."""
    every = [turns for each in dialogues if (turns := turns_of(each, talk))]
    if not every:
        raise InvalidInput("no conversation with a user's turn was given; there is nothing to fit a style to")
    words: dict[str, Counter[str]] = defaultdict(Counter)
    for turn in (turn for turns in every for turn in turns):
        key = f"answer:{'+'.join(sorted(turn.facts))}" if turn.act == "answer" else turn.act
        if turn.act != "open" and turn.template.strip():
            words[key][turn.template] += 1
    greetings = [_begins(talk.greeting, turns[0].text) for turns in every]
    several = [turn for turns in every for turn in turns if len(turn.asked) > 1 and turn.act == "answer"]
    return Style(
        templates={
            # As often as they were said: a draw from the list is then a draw from what was said.
            act: tuple(text for text, count in seen.most_common(MOST_TEMPLATES) for _ in range(count))
            for act, seen in sorted(words.items())
        },
        greetings=tuple(each for each in greetings if each) or ("Hello.",),
        greets=sum(bool(each) for each in greetings) / len(every),
        one_by_one=sum(len(turn.facts) == 1 for turn in several) / len(several) if several else 0.0,
        patience=max((_vents(turns) for turns in every), default=0) or 1,
        conversations=len(every),
    )


def _turn(text: str, said: str, talk: Talk, *, is_first: bool) -> UserTurn:
    asked = asked_for(talk, said)
    kinds = {kind.name: kind for kind in talk.facts}
    # An opening may hold facts, too; who was asked for one, however, answers.
    wanted = [kinds[name] for name in asked]
    held = tuple(kind.name for kind in wanted if re.search(kind.value, text))
    template = text.replace("{", "{{").replace("}", "}}")
    for kind in wanted:
        template = re.sub(kind.value, f"{{{kind.name}}}", template, count=1)
    act = "open" if is_first else _act(text, said, held, talk)
    if act in ("vent", "request", "accept"):
        template = sentences(template)[0]
    return UserTurn(act, text, held if act == "answer" else (), template, asked)


def _act(text: str, said: str, held: Sequence[str], talk: Talk) -> UserAct:
    if held:
        return "answer"
    if any(re.search(each, said, re.IGNORECASE) for each in talk.asks_consent):
        for act, expression in (("refuse", talk.no), ("confirm", talk.yes)):
            if re.search(expression, text, re.IGNORECASE):
                return act  # type: ignore[return-value]
    if re.search(talk.thanks, text, re.IGNORECASE):
        return "request"
    return "vent"


def _begins(expression: str, text: str) -> str:
    found = re.search(expression, text, re.IGNORECASE)
    return found[0].strip() if found else ""


def _vents(turns: Sequence[UserTurn]) -> int:
    """The longest run of turns without help."""
    longest = run = 0
    for one, _ in pairwise([*turns, None]):
        run = run + 1 if one is not None and one.act == "vent" else 0
        longest = max(longest, run)
    return longest
