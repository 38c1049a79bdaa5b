"""What a rule's check says of an attempt: the violations, each with the place and the words or the call that show it.

Checks are pure functions of the conversation, the scenario's facts and the system's states before and after, so that a
stored attempt can be judged again, also under an edited policy.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from journeyman.records import Message
from journeyman.worlds.compliance.conditions import Known, is_mentioned, resolve
from journeyman.worlds.compliance.events import Event, clauses, events_of, sentences
from journeyman.worlds.compliance.pack import (
    CallCheck,
    Expressions,
    JudgeCheck,
    OrderCheck,
    Pack,
    Pattern,
    Rule,
    StateCheck,
    WordCheck,
)

_SHOWN = 300
"""Characters of a call that a quotation keeps."""


class Breach(NamedTuple):
    """One violation; `message` is the place in the conversation, None where only the end state shows it."""

    message: int | None
    quote: str
    reason: str


@dataclass(frozen=True)
class Conduct:
    """An attempt as checks see it. `facts` are the scenario's; states are there where the environment shows them."""

    messages: Sequence[Message]
    facts: Mapping[str, Any] = field(default_factory=dict)
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None

    @property
    def known(self) -> dict[str, Any]:
        """Everything that a value can name."""
        states = {"before": self.before, "after": self.after}
        return {**self.facts, **{name: state for name, state in states.items() if state is not None}}


def breaches(pack: Pack, rule: Rule, conduct: Conduct) -> list[Breach] | None:
    """The violations of a rule, in order; None where its check can say nothing: a fact is missing, or a judge must."""
    known = conduct.known
    state_is_missing = isinstance(rule.check, StateCheck) and conduct.after is None
    if isinstance(rule.check, JudgeCheck) or state_is_missing or rule.facts - known.keys():
        return None
    return _CHECKS[rule.check.kind](pack, rule.check, events_of(conduct.messages), known)


def _calls(pack: Pack, check: CallCheck, events: Sequence[Event], known: Known) -> list[Breach]:
    wanted = Pattern(tool=check.tool, where=check.where)
    told = "; ".join(f"{each.field} {each.op} {each.value}" for each in check.where) or "it must not be called"
    return [_of_call(event, told) for event in events if _matches(pack, wanted, event, known)]


def _state(pack: Pack, check: StateCheck, events: Sequence[Event], known: Known) -> list[Breach]:
    if not all(each.holds(known, known) for each in check.where):
        return []
    told = "; ".join(f"{each.field} {each.op} {each.value}" for each in check.where)
    return [Breach(None, "", f"in the end: {told}")]


def _order(pack: Pack, check: OrderCheck, events: Sequence[Event], known: Known) -> list[Breach]:
    found = []
    used: set[int] = set()
    for place, event in enumerate(events):
        if not _matches(pack, check.trigger, event, known):
            continue
        if check.then is not None:
            if not _followed(pack, check, events, place, known):
                found.append(_of(event, f"{_said(check.then)} did not follow"))
            continue
        assert check.first is not None
        allowed = _before(pack, check, events, place, known)
        free = [each for each in allowed if each not in used] if check.each else allowed
        if not free:
            found.append(_of(event, f"before {_said(check.first)}"))
        elif check.each:
            used.add(free[-1])
    return found


def _before(pack: Pack, check: OrderCheck, events: Sequence[Event], place: int, known: Known) -> list[int]:
    """Where what must come first has come, since it was last made void."""
    trigger, first = events[place], check.first
    assert first is not None
    here = {**known, "trigger": trigger}
    allowed: list[int] = []
    for at, event in enumerate(events[: place + 1]):
        if check.renew is not None and at < place and _matches(pack, check.renew, event, known):
            allowed = []
        earlier = at < place if check.here else event.message < trigger.message
        # Calls of one message are made in their order, but nobody saw the first one's result before the second.
        if (earlier or (check.here and event.message == trigger.message)) and _matches(pack, first, event, here):
            allowed.append(at)
    return allowed


def _followed(pack: Pack, check: OrderCheck, events: Sequence[Event], place: int, known: Known) -> bool:
    trigger, then = events[place], check.then
    assert then is not None
    here = {**known, "trigger": trigger}
    passed: set[int] = set()
    for event in events[place + (not check.here) :]:
        if event.message == trigger.message and not check.here:
            continue
        if event.kind != "user" and event.message != trigger.message:
            passed.add(event.message)
        if check.within is not None and len(passed) > check.within + 1:
            return False
        if _matches(pack, then, event, here):
            return True
    return False


def _words(pack: Pack, check: WordCheck, events: Sequence[Event], known: Known) -> list[Breach]:
    forbidden = [str(text) for each in check.forbids for text in _texts(resolve(each, known))]
    found: list[Breach] = []
    heard = not check.after_user
    for event in events:
        if event.kind == "user":
            heard = heard or _any(check.after_user, event.text)
        if event.kind != "agent" or not heard:
            continue
        for sentence in sentences(event.text):
            secret = next((text for text in forbidden if is_mentioned(text, sentence)), None)
            if secret is not None:
                found.append(Breach(event.message, sentence, f"says {secret}"))
            elif _says(check, sentence):
                found.append(Breach(event.message, sentence, "says what it must not"))
    return found


def _says(check: WordCheck, sentence: str) -> bool:
    if sentence.endswith("?") and not check.questions:
        return False
    parts = (sentence, *clauses(sentence))
    return any(_any(check.says, part) and not _any(check.unless, part) for part in parts)


_CHECKS: dict[str, Callable[..., list[Breach]]] = {
    "calls": _calls, "state": _state, "order": _order, "words": _words,
}  # fmt: skip


def _matches(pack: Pack, pattern: Pattern, event: Event, known: Known) -> bool:
    if pattern.tool:
        # In examples a role can stand for whatever fills it.
        is_meant = event.kind == "call" and event.tool in (*pattern.tool, *pack.tools_of(pattern.tool))
        return is_meant and all(each.holds(event, known) for each in pattern.where)
    is_meant = event.kind == pattern.said_by and (not pattern.matches or _any(pattern.matches, event.text))
    return is_meant and all(each.holds(event, known) for each in pattern.where)


def _any(expressions: Expressions, text: str) -> bool:
    return any(re.search(each, text, re.IGNORECASE) for each in expressions)


def _texts(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _of(event: Event, reason: str) -> Breach:
    return _of_call(event, reason) if event.kind == "call" else Breach(event.message, event.text, reason)


def _of_call(event: Event, reason: str) -> Breach:
    arguments = event.arguments if isinstance(event.arguments, str) else json.dumps(event.arguments, ensure_ascii=False)
    return Breach(event.message, f"{event.tool}({arguments})"[:_SHOWN], f"{event.tool}: {reason}")


def _said(pattern: Pattern) -> str:
    if pattern.tool:
        return " or ".join(pattern.tool)
    return f"{pattern.said_by} saying {' or '.join(pattern.matches) or 'anything'}"
