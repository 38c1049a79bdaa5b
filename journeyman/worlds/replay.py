"""Answers that were given before: to the same call, in the same state as far as the tool reads it."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from journeyman.worlds.footprints import Footprint
from journeyman.worlds.state import Change, Path, State, difference
from journeyman.worlds.transitions import Transition


class Recorded(NamedTuple):
    """What came of a call: its answer, its changes, its kind of error; how sure, and the calls that say so."""

    observation: Any
    changes: tuple[Change, ...]
    error: str | None
    confidence: float
    evidence: tuple[str, ...]


class Replay:
    """Looks answers up by tool, arguments and the slice of state that the tool reads."""

    def __init__(self, transitions: Sequence[Transition], footprints: Mapping[str, Footprint]) -> None:
        self._reads = {tool: footprint.reads for tool, footprint in footprints.items()}
        self._answers: dict[tuple[str, str, str], list[Transition]] = {}
        for each in transitions:
            if each.before is not None and each.after is not None:
                key = self._key(each.tool, each.arguments, State(each.before))
                self._answers.setdefault(key, []).append(each)

    def answer(self, tool: str, arguments: Mapping[str, Any], state: State) -> Recorded | None:
        """The answer given most often; None when the call was never seen in such a state.

        Its confidence is the share of the recorded answers that agree, with one more that does not: two equal ones say
        more than one.
        """
        found = self._answers.get(self._key(tool, arguments, state))
        if not found:
            return None
        written = [_written(each) for each in found]
        best, count = Counter(written).most_common(1)[0]
        agreeing = [each for each, text in zip(found, written, strict=True) if text == best]
        one = agreeing[0]
        return Recorded(
            one.observation,
            difference(one.before, one.after),
            one.error,
            count / (len(found) + 1),
            tuple(each.name for each in agreeing[:3]),
        )

    def _key(self, tool: str, arguments: Mapping[str, Any], state: State) -> tuple[str, str, str]:
        reads: tuple[Path, ...] = self._reads.get(tool, ())
        return tool, json.dumps(dict(arguments), sort_keys=True), state.slice_hash(reads)


def _written(each: Transition) -> str:
    changes = [change.wire() for change in difference(each.before, each.after)]
    return json.dumps([each.observation, changes], sort_keys=True, default=str)
