"""What a system did, call by call: the material that a world is made of."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Any

from journeyman.records import FunctionCall

Json = Any
_QUOTED = re.compile(r"(?<!\w)[bfru]?'[^']*'|\"[^\"]*\"|\[[^\]]*\]")
_NUMBER = re.compile(r"[A-Za-z]{0,2}\d[\w.:-]*")
_LONGEST_KIND = 80


@dataclass(frozen=True, slots=True)
class Transition:
    """One call to a tool and its result.

    `observation` is the result as JSON, a text where it is none. `error` is the kind of error, its varying parts taken
    out; None when the call did what it should. `latency` is in seconds, where the trace tells it. `before` and `after`
    are the system's whole state as a JSON object, where it could be asked for (a staging system, a benchmark).
    `family` names sessions that began alike: they are no independent witnesses of each other. `policy` is the model
    that made the call.
    """

    tool: str
    arguments: Mapping[str, Json]
    observation: Json
    session: str
    order: int
    error: str | None = None
    latency: float | None = None
    at: datetime | None = None
    before: Mapping[str, Json] | None = None
    after: Mapping[str, Json] | None = None
    family: str = ""
    policy: str = ""

    @property
    def name(self) -> str:
        """Where to find it: its session and its place there."""
        return f"{self.session}#{self.order}"


def with_families(transitions: Sequence[Transition]) -> list[Transition]:
    """The same calls, each with the name of the state in which its session began; its session where none is known."""
    starts: dict[str, str] = {}
    for each in sorted(transitions, key=lambda found: found.order):
        if each.session not in starts:
            begun = each.session if each.before is None else json.dumps(each.before, sort_keys=True, default=str)
            starts[each.session] = hashlib.sha256(begun.encode()).hexdigest()[:16]
    return [replace(each, family=starts[each.session]) for each in transitions]


def error_kind(observation: Json, arguments: Mapping[str, Json] = {}) -> str | None:
    """The kind of error that a result tells of, without names and numbers; None when it tells of none.

    "unknown account A17" for account A17 is `unknown account {account}`, so that one kind has one name.
    """
    found = observation
    if isinstance(observation, list) and len(observation) == 1:
        found = observation[0]
    if isinstance(found, Mapping):
        said = found.get("error")
        if not said:
            return None
    elif isinstance(found, str) and found[:5].lower() == "error":
        said = found
    else:
        return None
    text = said if isinstance(said, str) else json.dumps(said, sort_keys=True)
    for name, value in sorted(arguments.items(), key=lambda item: -len(str(item[1]))):
        if isinstance(value, str) and value:
            text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", f"{{{name}}}", text)
    text = _NUMBER.sub("#", _QUOTED.sub("'…'", text))
    return " ".join(text.split())[:_LONGEST_KIND] or "error"


def with_common_kinds(transitions: Sequence[Transition]) -> list[Transition]:
    """The same calls, each error under the commonest kind of its tool that says the same words here.

    "unknown account account" is `unknown account {account}` like the others, though the name stands in it twice.
    """
    counts = Counter((each.tool, each.error) for each in transitions if each.error is not None)
    ranked: dict[str, list[str]] = {}
    for (tool, kind), _ in counts.most_common():
        ranked.setdefault(tool, []).append(str(kind))
    found = []
    for each in transitions:
        said = None if each.error is None else _filled(each.error, each.arguments)
        kinds = ranked.get(each.tool, ()) if each.error is not None else ()
        common = next((kind for kind in kinds if _filled(kind, each.arguments) == said), each.error)
        found.append(each if common == each.error else replace(each, error=common))
    return found


def _filled(kind: str, arguments: Mapping[str, Json]) -> str:
    text = kind
    for name, value in arguments.items():
        if isinstance(value, str):
            text = text.replace(f"{{{name}}}", value)
    return text


def contradictions(transitions: Sequence[Transition]) -> list[tuple[Transition, Transition]]:
    """Pairs of one call made twice in succession that were answered differently, by a tool that otherwise repeats.

    A tool that changes what it tells (a counter, a clock) contradicts itself most of the time and is none of these.
    """
    pairs = [
        (one, other)
        for one, other in pairwise(transitions)
        if one.session == other.session
        and one.tool == other.tool
        and one.arguments == other.arguments
        and one.error is None
        and other.error is None
    ]
    repeats, same = Counter(one.tool for one, _ in pairs), Counter[str]()
    same.update(one.tool for one, other in pairs if one.observation == other.observation)
    return [
        (one, other)
        for one, other in pairs
        if one.observation != other.observation and 2 * same[one.tool] > repeats[one.tool]
    ]


def arguments_of(call: FunctionCall) -> dict[str, Json] | None:
    """A call's arguments; None where they are no JSON object. An empty text, which some servers send, means none."""
    return call.read() if call.arguments else {}


def read_result(text: str) -> Json:
    """A tool's result as JSON; the text itself where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text
