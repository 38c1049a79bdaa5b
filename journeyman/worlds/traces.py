"""Captured conversations read as transitions: which calls there were, in which order, with which results.

Calls without a result and arguments that are no JSON object are left out, counted and named, never guessed at. Answers
of one session that contradict each other are named too, and kept: something outside may have changed what they tell.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from journeyman.capture.redact import Redactor
from journeyman.capture.redact_patterns import BUILT_IN
from journeyman.capture.trajectories import Branch, join
from journeyman.records import Exchange, FunctionCall, Message, Tool, Trajectory
from journeyman.worlds.transitions import (
    Transition,
    arguments_of,
    contradictions,
    error_kind,
    read_result,
    with_common_kinds,
)

_MOST_NAMED = 20


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
    before = Counter(redactor.counts)
    traces, heard = Traces(), _Heard()
    for trajectory in map(redactor.trajectory, trajectories):
        traces.tools |= {tool.function.name: tool for tool in trajectory.tools}
        heard.add(trajectory, [_Said(message, trajectory.at) for message in trajectory.messages])
    return _finished(traces, heard, redactor, before)


def from_exchanges(exchanges: Iterable[Exchange], redactor: Redactor | None = None) -> Traces:
    """The transitions in captured calls; one that several branches share, or that a later request repeats, counts once.

    A session is one run of time, whatever conversations and branches it has: its calls stand in the order in which
    their results came. The time between a reply and the request that brings its results bounds the latency of the tools
    in it from above.
    """
    redactor = redactor or Redactor(BUILT_IN)
    before = Counter(redactor.counts)
    traces, heard = Traces(), _Heard()
    for branch, trajectory in _branches(exchanges):
        traces.tools |= {tool.function.name: tool for tool in trajectory.tools}
        heard.add(trajectory, _said(branch))
    return _finished(traces, heard, redactor, before)


def attempts_of(exchanges: Iterable[Exchange]) -> list[Trajectory]:
    """Every branch of captured calls, under the session that `from_exchanges` knows it by."""
    return [trajectory for _, trajectory in _branches(exchanges)]


def _branches(exchanges: Iterable[Exchange]) -> Iterator[tuple[Branch, Trajectory]]:
    """Each session is joined apart: what began with the same words in two of them is not the same.

    Branches without a session are of their conversation's first call, however often that was tried.
    """
    sessions: dict[str, list[Exchange]] = {}
    for each in sorted(exchanges, key=lambda each: (each.at, each.id)):
        sessions.setdefault(each.session or each.trace or "", []).append(each)
    for session, calls in sessions.items():
        for conversation in join(calls):
            name = session or conversation.roots[0].exchange.id
            for branch in conversation.branches:
                yield branch, branch.trajectory().model_copy(update={"session": name})


class _Said(NamedTuple):
    """A message, when it was first sent, which reply it is (empty for what no captured reply brought), and the seconds
    that each tool that it calls may have taken."""

    message: Message
    at: datetime
    reply: str = ""
    wait: float | None = None


class _Call(NamedTuple):
    """A call that was heard of: when its result came, or when the last was heard of it where none did."""

    came: tuple[datetime, int]
    function: FunctionCall
    result: Message | None
    latency: float | None
    trajectory: Trajectory


_Words = tuple[str, str, str, str]
"""A call's session, id, tool and arguments: all that a request that repeats it shows."""


class _Heard:
    """The calls of every session, each once however many branches share it or requests repeat it."""

    def __init__(self) -> None:
        self.sessions: dict[str, list[_Call]] = {}
        self._by_reply: dict[tuple[str, str, int], int] = {}
        self._by_words: dict[tuple[_Words, int], int] = {}
        self._said = Counter[_Words]()

    def add(self, trajectory: Trajectory, said: Sequence[_Said]) -> None:
        """Those of one branch. What no captured reply brought was repeated by a request: it may be known already."""
        session = self.sessions.setdefault(trajectory.session, [])
        repeated = Counter[_Words]()
        for number, (asked, place, answer) in enumerate(_calls(said)):
            call = (asked.message.tool_calls or ())[place]
            words = (trajectory.session, call.id, call.function.name, call.function.arguments)
            reply = (trajectory.session, asked.reply, place)
            # Agents may use an id again: calls are told apart by how often it was used before.
            at = self._by_reply.get(reply) if asked.reply else self._by_words.get((words, repeated[words]))
            repeated[words] += 1
            came, result = (said[-1].at, None) if answer is None else (answer.at, answer.message)
            found = _Call((came, number), call.function, result, asked.wait, trajectory)
            if at is None:
                self._by_reply[reply] = self._by_words[words, self._said[words]] = len(session)
                self._said[words] += 1
                session.append(found)
            elif session[at].result is None and result is not None:
                session[at] = found


def _said(branch: Branch) -> list[_Said]:
    """The messages of a branch. A request repeats what was said, unless it names the response that it continues."""
    said: list[_Said] = []
    messages, steps = branch.messages, branch.steps
    for number, (turn, (exchange, choice)) in enumerate(zip(branch.turn.path(), steps, strict=True)):
        sent = len(exchange.messages) + (len(said) if turn.by == "response_id" else 0)
        said = [*said[:sent], *(_Said(message, exchange.at) for message in messages[len(said) : sent])]
        if choice is not None:
            after = steps[number + 1][0] if number + 1 < len(steps) else None
            reply = exchange.choices[choice].message
            said.append(_Said(reply, exchange.at, f"{exchange.id}/{choice}", _wait(exchange, reply, after)))
    # Clients may write anew what was said: the last request has the last word.
    return [each._replace(message=message) for each, message in zip(said, messages, strict=True)]


def _wait(exchange: Exchange, reply: Message, after: Exchange | None) -> float | None:
    """Seconds from a reply to the request after it, for each call in it; None where the trace does not tell."""
    if after is None or exchange.latency is None or not reply.tool_calls:
        return None
    passed = (after.at - exchange.at).total_seconds() - exchange.latency
    return passed / len(reply.tool_calls) if passed >= 0 else None


def _read(traces: Traces, session: str, calls: Sequence[_Call]) -> None:
    for order, each in enumerate(sorted(calls, key=lambda call: call.came)):
        where = f"{session}#{order} {each.function.name}"
        if each.result is None:
            traces.leave_out("calls without a result", where)
            continue
        arguments = arguments_of(each.function)
        if arguments is None:
            traces.leave_out("arguments that are no JSON object", where)
            continue
        traces.transitions.append(Transition(
            each.function.name, arguments, read_result(each.result.text), session, order, latency=each.latency,
            at=each.trajectory.at, policy=each.trajectory.model,
        ))  # fmt: skip


def _calls(said: Sequence[_Said]) -> Iterator[tuple[_Said, int, _Said | None]]:
    """For each call: what it stands in, where there, and its result: the first with its id until the id comes again."""
    taken: set[int] = set()
    for place, asked in enumerate(said):
        for number, call in enumerate(asked.message.tool_calls or ()):
            found = next((after for after in _results(said, place, call.id) if after not in taken), None)
            taken |= set() if found is None else {found}
            yield asked, number, None if found is None else said[found]


def _results(said: Sequence[_Said], place: int, id: str) -> Iterator[int]:
    for after in range(place + 1, len(said)):
        message = said[after].message
        if any(call.id == id for call in message.tool_calls or ()):
            return
        if message.role == "tool" and message.tool_call_id == id:
            yield after


def _finished(traces: Traces, heard: _Heard, redactor: Redactor, before: Counter[str]) -> Traces:
    """Without secrets, with the kinds of errors, and with what contradicts itself named."""
    for session, calls in heard.sessions.items():
        _read(traces, session, calls)
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
