"""What is said to an action apart from the status lines: looked up by what it depends on, the status carried over.

A twin for verbs that lead nowhere. That the menu of possible actions differs from place to place makes every answer
another one; what the verb says, and what it takes from the menu and adds to it, often depends on little else than what
was done before.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from journeyman.worlds.expressions import Unknown
from journeyman.worlds.state import Change, difference
from journeyman.worlds.texts.form import ROOT, UNOFFERED, TextForm
from journeyman.worlds.transitions import Transition
from journeyman.worlds.trials import Trial, without_each_session

_SLOT = "\u27e8object\u27e9"
Told = tuple[str, Mapping[str, Any], str]
"""An action, the state that it met, and what was said, as JSON."""
Edit = tuple[list[str], list[str]]
"""What a status line lost and what it gained."""


class Sayings:
    """The twin of one verb. Of an object that it was never used on it tells what it told of all others, by its name.

    Actions that the menu does not offer count as one verb: of a new one it tells what it told of all others.
    """

    def __init__(self, tool: str, form: TextForm, memory: Iterable[Transition]) -> None:
        self.tool, self._form = tool, form
        calls = [each for each in memory if each.tool == tool and each.before is not None]
        told = [(each.arguments, (each.before or {})[ROOT], self._taken_apart(each)) for each in calls]
        self._of_action = Lookup([(each["action"], here, said) for each, here, said in told])
        self._of_verb = Lookup([
            (tool, here, _slotted(said, each.get("rest", "")))
            for each, here, said in told if each.get("rest") or tool == UNOFFERED
        ])  # fmt: skip

    def run(self, arguments: Mapping[str, Any], document: Any) -> tuple[Any, tuple[Change, ...], str | None]:
        """The one answer recorded of what the verb depends on; Unknown where there is none, or several."""
        here, rest = document[ROOT], arguments.get("rest", "")
        found = self._of_action.answer(arguments["action"], here)
        if found is None and (rest or self.tool == UNOFFERED):
            of_verb = self._of_verb.answer(self.tool, here)
            found = None if of_verb is None else _filled(of_verb, rest)
        if found is None:
            raise Unknown(f"{self.tool} {rest}")
        said, edits = json.loads(found)
        answer = {"said": said, **{label: _edited(here.get(label), edit, label) for label, edit in edits.items()}}
        return answer, difference(document, self._form.after(document, arguments["action"], answer)), None

    def _taken_apart(self, each: Transition) -> str:
        here = (each.before or {})[ROOT]
        edits = {
            label: _edit(here.get(label, []), each.observation[label])
            for label in self._form.labels
            if label in each.observation
        }
        return json.dumps([each.observation["said"], edits], ensure_ascii=False)


class Lookup:
    """Answers by an action and the parts of the state without which it was answered differently."""

    def __init__(self, told: Sequence[Told]) -> None:
        self._reads = _reads(told)
        self._answers: dict[str, set[str]] = {}
        for action, here, said in told:
            self._answers.setdefault(_key(action, here, self._reads), set()).add(said)

    def answer(self, action: str, here: Mapping[str, Any]) -> str | None:
        """The only one recorded; None where there is none, or several."""
        found = self._answers.get(_key(action, here, self._reads), set())
        return next(iter(found)) if len(found) == 1 else None


def judged_sayings(tool: str, form: TextForm, memory: Sequence[Transition]) -> Trial:
    """How the twin of a verb does on each session's calls, made from what the other sessions were told."""
    return without_each_session(lambda others: Sayings(tool, form, others), tool, memory)


def sayings_of(form: TextForm, memory: Sequence[Transition]) -> dict[str, Sayings]:
    """The twins of the verbs that were admitted."""
    return {tool: Sayings(tool, form, memory) for tool in form.spoken}


def _slotted(said: str, rest: str) -> str:
    return re.sub(rf"\b{re.escape(_written(rest))}\b", _SLOT, said) if rest else said


def _filled(said: str, rest: str) -> str:
    return said.replace(_SLOT, _written(rest))


def _written(rest: str) -> str:
    return json.dumps(rest, ensure_ascii=False)[1:-1]


def _edit(before: Sequence[str], after: Sequence[str]) -> Edit:
    return sorted(set(before) - set(after)), sorted(set(after) - set(before))


def _edited(before: Sequence[str] | None, edit: Edit, label: str) -> list[str]:
    """The line after the edit, in order where it was in order."""
    lost, gained = edit
    if before is None or not set(lost) <= set(before) or set(gained) & set(before):
        raise Unknown(label)
    after = [*(each for each in before if each not in lost), *gained]
    return sorted(after) if list(before) == sorted(before) else after


def _reads(told: Sequence[Told]) -> tuple[str, ...]:
    """The parts of the state without which one action was answered differently, found one after the other.

    Of parts that tell as many answers apart, the one with the fewest values: it says the most of what it was not seen
    with.
    """
    chosen: tuple[str, ...] = ()
    rest = list(dict.fromkeys(part for _, here, _ in told for part in here))
    left = _conflicts(told, chosen)
    while left and rest:
        counts = {part: _conflicts(told, (*chosen, part)) for part in rest}
        values = {part: len({json.dumps(here.get(part)) for _, here, _ in told}) for part in rest}
        best = min(rest, key=lambda part: (counts[part], values[part]))
        if counts[best] >= left:
            break
        chosen, left = (*chosen, best), counts[best]
        rest.remove(best)
    return chosen


def _conflicts(told: Sequence[Told], reads: Sequence[str]) -> int:
    found: dict[str, set[str]] = {}
    for action, here, said in told:
        found.setdefault(_key(action, here, reads), set()).add(said)
    return sum(len(answers) - 1 for answers in found.values())


def _key(action: str, here: Mapping[str, Any], reads: Sequence[str]) -> str:
    return json.dumps([action, *(here.get(part) for part in reads)])
