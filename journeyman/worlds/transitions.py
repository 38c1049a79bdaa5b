"""What a system did, call by call: the material that a world is made of.

A transition is one tool call and what came of it. Calls without a result and arguments that are no JSON object are left
out, counted and named, never guessed at. Answers of one session that contradict each other are named too, and kept:
something outside may have changed what they tell.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from typing import Any

from journeyman.capture.redact import Redactor
from journeyman.capture.redact_patterns import BUILT_IN
from journeyman.capture.trajectories import join
from journeyman.records import Exchange, FunctionCall, Message, Tool, Trajectory

Json = Any
_QUOTED = re.compile(r"(?<!\w)[bfru]?'[^']*'|\"[^\"]*\"|\[[^\]]*\]")
_NUMBER = re.compile(r"[A-Za-z]{0,2}\d[\w.:-]*")
_LONGEST_KIND = 80
_MOST_NAMED = 20


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


@dataclass
class Traces:
    """Transitions, what was left out of them, and the tools that were on offer.

    `left_out` counts by reason, as does `in_doubt` what is used all the same; `named` lists some of each, so that a
    person can look.
    """

    transitions: list[Transition] = field(default_factory=list)
    tools: dict[str, Tool] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    in_doubt: Counter[str] = field(default_factory=Counter)
    named: dict[str, list[str]] = field(default_factory=dict)
    redacted: Counter[str] = field(default_factory=Counter)

    def leave_out(self, reason: str, name: str) -> None:
        """Count what cannot be used, and name it."""
        self.left_out[reason] += 1
        self._name(reason, name)

    def doubt(self, reason: str, name: str) -> None:
        """Count what is used though it may not be as it seems, and name it."""
        self.in_doubt[reason] += 1
        self._name(reason, name)

    def _name(self, reason: str, name: str) -> None:
        names = self.named.setdefault(reason, [])
        if len(names) < _MOST_NAMED:
            names.append(name)


def from_trajectories(trajectories: Iterable[Trajectory], redactor: Redactor | None = None) -> Traces:
    """The transitions of attempts, in the order of their conversations. `redactor`: every built-in rule, if None."""
    redactor = redactor or Redactor(BUILT_IN)
    traces, seen = Traces(), set[tuple[str, str, str]]()
    for trajectory in trajectories:
        traces.tools |= {tool.function.name: tool for tool in trajectory.tools}
        _collect(traces, trajectory, trajectory.messages, {}, seen)
    return _finished(traces, redactor)


def from_exchanges(exchanges: Iterable[Exchange], redactor: Redactor | None = None) -> Traces:
    """The transitions in captured calls; a call that several branches of a conversation share counts once.

    The time between a reply and the request that brings its results bounds the latency of the tools in it from above.
    """
    redactor = redactor or Redactor(BUILT_IN)
    traces, seen = Traces(), set[tuple[str, str, str]]()
    for conversation in join(exchanges):
        for branch in conversation.branches:
            trajectory = branch.trajectory()
            traces.tools |= {tool.function.name: tool for tool in trajectory.tools}
            waits = _waits(branch.exchanges)
            _collect(traces, trajectory, branch.messages, waits, seen)
    return _finished(traces, redactor)


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


def _collect(
    traces: Traces,
    trajectory: Trajectory,
    messages: Sequence[Message],
    waits: Mapping[str, float],
    seen: set[tuple[str, str, str]],
) -> None:
    session, at = trajectory.session, trajectory.at
    times: Counter[str] = Counter()
    for order, (call, function, result) in enumerate(_calls(messages)):
        # Agents may use an id again: calls are told apart by how often it was used before.
        key = (session, f"{call}/{times[call]}", function.arguments)
        times[call] += 1
        if key in seen:
            continue
        seen.add(key)
        where = f"{session}#{order} {function.name}"
        if result is None:
            traces.leave_out("calls without a result", where)
            continue
        arguments = arguments_of(function)
        if arguments is None:
            traces.leave_out("arguments that are no JSON object", where)
            continue
        observation = read_result(result.text)
        traces.transitions.append(Transition(
            function.name, arguments, observation, session, order, latency=waits.get(call), at=at,
            policy=trajectory.model,
        ))  # fmt: skip


def arguments_of(call: FunctionCall) -> dict[str, Json] | None:
    """A call's arguments; None where they are no JSON object. An empty text, which some servers send, means none."""
    return call.read() if call.arguments else {}


def read_result(text: str) -> Json:
    """A tool's result as JSON; the text itself where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _calls(messages: Sequence[Message]) -> Iterator[tuple[str, FunctionCall, Message | None]]:
    """Each call's id, what it called, and the first result after it that names its id."""
    for place, message in enumerate(messages):
        for call in message.tool_calls or ():
            results = (each for each in messages[place + 1 :] if each.role == "tool" and each.tool_call_id == call.id)
            yield call.id, call.function, next(results, None)


def _waits(exchanges: Sequence[Exchange]) -> dict[str, float]:
    waits: dict[str, float] = {}
    for one, after in pairwise(exchanges):
        reply = one.reply
        passed = (after.at - one.at).total_seconds() - (one.latency or 0.0)
        if reply is None or not reply.tool_calls or one.latency is None or passed < 0:
            continue
        waits |= {call.id: passed / len(reply.tool_calls) for call in reply.tool_calls}
    return waits


def _finished(traces: Traces, redactor: Redactor) -> Traces:
    """Without secrets, with the kinds of errors, and with what contradicts itself named."""
    before = Counter(redactor.counts)
    cleaned = []
    for each in traces.transitions:
        text = redactor.text(json.dumps([each.arguments, each.observation], ensure_ascii=False))
        arguments, observation = json.loads(text)
        cleaned.append(
            replace(each, arguments=arguments, observation=observation, error=error_kind(observation, arguments))
        )
    traces.redacted = Counter(redactor.counts) - before
    cleaned = with_common_kinds(cleaned)
    traces.transitions = cleaned
    for _, other in contradictions(cleaned):
        traces.doubt("answers that contradict the one before", f"{other.name} {other.tool}")
    return traces
