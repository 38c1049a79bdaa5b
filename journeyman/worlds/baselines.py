"""What any world must beat: copies of the nearest call, what a tool mostly says, and that nothing ever changes."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from journeyman.worlds.resolver import Answer
from journeyman.worlds.state import State, difference
from journeyman.worlds.transitions import Transition


class Predictor(Protocol):
    """Anything that answers a call in a state, without committing it."""

    def answer(self, tool: str, arguments: Mapping[str, Any], state: State) -> Answer:
        """The answer."""
        ...


class NearestCopy:
    """The answer and the changes of the past call whose arguments are most alike, as they stand."""

    def __init__(self, transitions: Sequence[Transition]) -> None:
        self._calls: dict[str, list[tuple[set[str], Transition]]] = {}
        for each in transitions:
            self._calls.setdefault(each.tool, []).append((_parts(each.arguments), each))

    def answer(self, tool: str, arguments: Mapping[str, Any], state: State) -> Answer:
        """That of the most similar call; the first of equally similar ones."""
        wanted = _parts(arguments)
        found = max(self._calls.get(tool, ()), key=lambda each: _overlap(each[0], wanted), default=None)
        if found is None:
            return Answer(None, "abstain", 0.0, reason="the tool was never seen")
        parts, call = found
        return _copied(call, _overlap(parts, wanted))


class ToolMean:
    """What the tool said and changed most often."""

    def __init__(self, transitions: Sequence[Transition]) -> None:
        counts: dict[str, Counter[str]] = {}
        self._first: dict[tuple[str, str], Transition] = {}
        for each in transitions:
            text = json.dumps([each.observation, [c.wire() for c in difference(each.before, each.after)]], default=str)
            counts.setdefault(each.tool, Counter())[text] += 1
            self._first.setdefault((each.tool, text), each)
        self._mode = {tool: found.most_common(1)[0] for tool, found in counts.items()}
        self._total = {tool: sum(found.values()) for tool, found in counts.items()}

    def answer(self, tool: str, arguments: Mapping[str, Any], state: State) -> Answer:
        """The most frequent outcome."""
        if tool not in self._mode:
            return Answer(None, "abstain", 0.0, reason="the tool was never seen")
        text, count = self._mode[tool]
        return _copied(self._first[tool, text], count / self._total[tool])


class NothingChanges:
    """The nearest call's answer, and a state that stays as it is."""

    def __init__(self, transitions: Sequence[Transition]) -> None:
        self._nearest = NearestCopy(transitions)

    def answer(self, tool: str, arguments: Mapping[str, Any], state: State) -> Answer:
        """The nearest answer without its changes."""
        found = self._nearest.answer(tool, arguments, state)
        return Answer(found.observation, found.source, found.confidence, error=found.error, evidence=found.evidence)


def baselines(transitions: Sequence[Transition]) -> dict[str, Predictor]:
    """All of them, by name."""
    return {
        "nothing changes": NothingChanges(transitions),
        "nearest neighbour": NearestCopy(transitions),
        "tool mean": ToolMean(transitions),
    }


def _copied(call: Transition, confidence: float) -> Answer:
    changes = difference(call.before, call.after)
    return Answer(call.observation, "nearest", confidence, changes, call.error, (call.name,))


def _parts(arguments: Mapping[str, Any]) -> set[str]:
    found = set()
    for name, value in arguments.items():
        text = json.dumps(value, sort_keys=True)
        found.add(f"{name}={text}")
        found |= {f"{name}:{text[at : at + 3]}" for at in range(max(1, len(text) - 2))}
    return found


def _overlap(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other) if one or other else 1.0
