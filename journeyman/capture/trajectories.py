"""Joins the calls of a session, or of a trace, into the conversations that they were, with their branches.

A call continues another when its request begins with what the other was asked and replied: by token ids where both
have them, else by messages, or by the `previous_response_id` that it names. Calls that continue the same one are
branches (retries, best-of). A call that continues none begins a conversation of its own, such as a sub-agent's.
"""

import json
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from journeyman.capture.sub_agents import callers_by_span, callers_by_words
from journeyman.capture.turns import Join, Turn, all_turns
from journeyman.records import Exchange, Message, Score, Tokens, Trajectory

__all__ = ["Branch", "Conversation", "Join", "TokenRun", "Turn", "join", "token_runs"]


class TokenRun(NamedTuple):
    """Tokens as the engine saw them in one piece. `sampled` says which it sampled; `logprobs` are None for others."""

    ids: tuple[int, ...]
    sampled: tuple[bool, ...]
    logprobs: tuple[float | None, ...]


@dataclass(frozen=True)
class Branch:
    """One way through a conversation: to a turn, and to the one of its replies that nothing continues.

    `choice` is None when the turn has no reply.
    """

    turn: Turn
    choice: int | None

    @cached_property
    def steps(self) -> tuple[tuple[Exchange, int | None], ...]:
        """The exchanges in order, each with the index of the choice that this branch goes on with."""
        path = self.turn.path()
        return tuple(
            zip([turn.exchange for turn in path], [*(turn.choice for turn in path[1:]), self.choice], strict=True)
        )

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """The exchanges in order."""
        return tuple(exchange for exchange, _ in self.steps)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The whole conversation, with the last reply."""
        said: list[Message] = []
        path = self.turn.path()
        for turn, (exchange, choice) in zip(path, self.steps, strict=True):
            # A request repeats what was said, unless it names the response that it continues.
            said = [*said, *exchange.messages] if turn.by == "response_id" else [*exchange.messages]
            if choice is not None:
                said.append(exchange.choices[choice].message)
        return tuple(said)

    @property
    def token_runs(self) -> tuple[TokenRun, ...]:
        """The tokens of the branch. A new run begins where a prompt does not repeat the tokens before it exactly."""
        tokens = [None if choice is None else exchange.choices[choice].tokens for exchange, choice in self.steps]
        return token_runs([each for each in tokens if each is not None])

    def trajectory(self, scenario_id: str = "", scores: Sequence[Score] = ()) -> Trajectory:
        """The branch as one attempt; what was captured has no scenario unless the caller knows one."""
        exchanges, last = self.exchanges, self.turn.exchange
        costs = [exchange.cost_usd for exchange in exchanges]
        choices = [exchange.choices[choice] for exchange, choice in self.steps if choice is not None]
        told = [choice.tokens for choice in choices if choice.tokens is not None]
        return Trajectory(
            id=f"{last.id}-{self.choice}" if self.choice else last.id,
            at=last.at,
            scenario_id=scenario_id,
            model=last.model,
            session=last.session or last.trace or last.id,
            messages=self.messages,
            tools=last.tools,
            scores=tuple(scores),
            prompt_tokens=sum(exchange.usage.prompt_tokens for exchange in exchanges),
            completion_tokens=sum(exchange.usage.completion_tokens for exchange in exchanges),
            cost_usd=None if None in costs else sum(cost for cost in costs if cost is not None),
            latencies=tuple(exchange.latency or 0.0 for exchange in exchanges),
            # A turn without its tokens leaves a gap that nobody may fill by guessing.
            tokens=tuple(told) if len(told) == len(choices) else (),
            finish_reasons=tuple(choice.finish_reason for choice in choices),
            error=None if last.state == "complete" else last.error or last.state,
        )


@dataclass(frozen=True)
class Conversation:
    """Calls that belong together. `roots` are its first calls: several when the first one was tried again.

    `within` is the exchange of another conversation that called this sub-agent: its span encloses this one's, or, when
    `inferred`, the words and the times of a tool call that it made fit.
    """

    roots: tuple[Turn, ...]
    within: Exchange | None = None
    inferred: bool = False

    @property
    def turns(self) -> list[Turn]:
        """Every call, parents before children."""
        return all_turns(self.roots)

    @property
    def branches(self) -> list[Branch]:
        """Every way through the conversation."""
        found = []
        for turn in self.turns:
            continued = {child.choice for child in turn.children}
            found += [Branch(turn, choice) for choice in range(len(turn.exchange.choices)) if choice not in continued]
            if not turn.exchange.choices:
                found.append(Branch(turn, None))
        return found


def join(exchanges: Iterable[Exchange], spans: Mapping[str, str] | None = None) -> list[Conversation]:
    """The conversations that these exchanges were, in the order in which they began. Embeddings belong to none.

    `spans` gives each span's parent, where the caller's own trace is known: a conversation under a span of another's
    call is `within` it. Without, it is within the call whose tool call it answered, where words and times show that.
    """
    ordered = sorted(exchanges, key=lambda each: (each.at, each.id))
    turns = [Turn(exchange, number) for number, exchange in enumerate(ordered) if exchange.api != "embeddings"]
    family = _Family()
    _join_by_response_id(turns, family)
    _join_by_tokens(turns, family)
    founders = _join_by_messages(turns, family)
    first = _firsts(founders)
    roots: dict[int, list[Turn]] = {}
    for turn in turns:
        if turn.parent is None:
            roots.setdefault(first(turn).number, []).append(turn)
        else:
            turn.parent.children.append(turn)
    by_span, by_words = callers_by_span(turns, first, spans or {}), callers_by_words(list(roots.values()))
    found = []
    for group in roots.values():
        told, guessed = by_span(group[0]), by_words.get(group[0].number)
        found.append(Conversation(tuple(group), told or guessed, inferred=told is None and guessed is not None))
    return found


class _Family:
    """Gives turns their parents; a turn never becomes its own ancestor, whatever clocks and upstreams say."""

    def __init__(self) -> None:
        self._any_backwards = False

    def adopt(self, child: Turn, parent: Turn, choice: int, by: Join) -> None:
        backwards = parent.number > child.number
        if child.parent is not None or parent is child:
            return
        if (backwards or self._any_backwards) and child in parent.path():
            return
        self._any_backwards = self._any_backwards or backwards
        child.parent, child.choice, child.by = parent, choice, by

    def adopt_by_messages(self, child: Turn, parent: Turn, choice: int) -> None:
        """Also takes a child from a parent by tokens that lies further back.

        A prompt may spell a reply in other tokens than were sampled, and still begin with those of the turn before it.
        """
        before = child.parent, child.choice, child.by
        if child.by == "tokens" and len(before[0].exchange.messages if before[0] else ()) < len(
            parent.exchange.messages
        ):
            child.parent = None
        self.adopt(child, parent, choice, "messages")
        if child.parent is None:
            child.parent, child.choice, child.by = before


def _join_by_response_id(turns: list[Turn], family: _Family) -> None:
    named = {turn.exchange.response_id: turn for turn in turns if turn.exchange.api == "responses"}
    for turn in turns:
        previous = (turn.exchange.sampling.model_extra or {}).get("previous_response_id")
        parent = named.get(previous) if isinstance(previous, str) else None
        if parent is not None and parent.exchange.choices:
            family.adopt(turn, parent, 0, "response_id")


def _join_by_tokens(turns: list[Turn], family: _Family) -> None:
    asked: list[_Asked] = []
    said: list[_Said] = []
    for turn in turns:
        for choice, reply in enumerate(turn.exchange.choices):
            if reply.tokens is None or not reply.tokens.reply:
                continue
            try:
                prompt = array("I", reply.tokens.prompt).tobytes()
                ids = array("I", reply.tokens.reply).tobytes()
            except OverflowError:  # No vocabulary has such an id: these are not tokens that could be compared.
                continue
            if prompt and (not asked or asked[-1].turn is not turn):
                asked.append(_Asked(prompt, turn))
            said.append(_Said(prompt + ids, turn, choice))
    for turn, parent, choice, _ in _continuing(asked, said):
        if parent is not None:
            family.adopt(turn, parent, choice, "tokens")


def _join_by_messages(turns: list[Turn], family: _Family) -> dict[int, Turn]:
    """Also gives, by number, for a turn whose request begins with the request of another one, that other one."""
    identities = _Identities()
    asked: list[_Asked] = []
    said: list[_Said] = []
    founders: dict[int, Turn] = {}
    for turn in turns:
        request = identities.of(turn.exchange.messages)
        if request:
            asked.append(_Asked(request, turn))
            replies = enumerate(turn.exchange.choices)
            said += [_Said(request + identities.of([reply.message]), turn, choice) for choice, reply in replies]
    for turn, parent, choice, founder in _continuing(asked, said):
        if parent is not None:
            family.adopt_by_messages(turn, parent, choice)
        if founder is not None:
            founders[turn.number] = founder
    return founders


class _Asked(NamedTuple):
    """What a request said, as bytes that begin as those of its own beginnings do."""

    key: bytes
    turn: Turn


class _Said(NamedTuple):
    """A request and one of its replies, in the same way."""

    key: bytes
    turn: Turn
    choice: int


def _continuing(asked: list[_Asked], said: list[_Said]) -> Iterator[tuple[Turn, Turn | None, int, Turn | None]]:
    """For each request: the call and its choice that it continues, and the call whose request it begins with.

    In sorted order everything that a key begins with stands before it, so one pass with a stack finds the longest.
    Equal replies come from calls that were tried again: the last one before the request is the one it continues.
    """
    items: list[tuple[bytes, int, int, int, Turn]] = [(key, 0, turn.number, choice, turn) for key, turn, choice in said]
    items += [(key, 1, turn.number, 0, turn) for key, turn in asked]
    replies: list[tuple[bytes, list[tuple[int, int, Turn]]]] = []
    requests: list[tuple[bytes, Turn]] = []
    for key, is_request, number, choice, turn in sorted(items, key=lambda item: item[:4]):
        while replies and not key.startswith(replies[-1][0]):
            replies.pop()
        while requests and not key.startswith(requests[-1][0]):
            requests.pop()
        if is_request:
            parent, continued = None, 0
            if replies:
                candidates = replies[-1][1]
                _, continued, parent = candidates[max(bisect_left(candidates, (number,)) - 1, 0)]
            yield turn, parent, continued, requests[-1][1] if requests else None
            if not requests or requests[-1][0] != key:
                requests.append((key, turn))
        elif replies and replies[-1][0] == key:
            replies[-1][1].append((number, choice, turn))
        else:
            replies.append((key, [(number, choice, turn)]))


class _Identities:
    """Numbers messages: equal ones alike. What a client changes when it repeats a reply makes no difference."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        self._known: dict[int, tuple[Message, int]] = {}

    def of(self, messages: Iterable[Message]) -> bytes:
        """The numbers of messages, four bytes each."""
        return array("I", [self._number(message) for message in messages]).tobytes()

    def _number(self, message: Message) -> int:
        # A store gives one object for a message that many calls repeat: most are looked at once.
        known = self._known.get(id(message))
        if known is None:
            number = self._numbers.setdefault(_identity(message), len(self._numbers))
            known = self._known[id(message)] = (message, number)
        return known[1]


def _identity(message: Message) -> Any:
    others = message.content if isinstance(message.content, list) else []
    parts = tuple(json.dumps(part, sort_keys=True) for part in others if part.get("type") != "text")
    calls = tuple((call.id, call.function.name, _spelled(call.function.arguments)) for call in message.tool_calls or ())
    extra = message.model_extra or {}
    # What an assistant's reply has beside words and calls, such as reasoning, clients often leave out.
    items = None if message.role == "assistant" else extra.get("items")
    told = [each for each in (extra.get("prompt_token_ids"), extra.get("as_sent"), items) if each is not None]
    rest = json.dumps(told, sort_keys=True) if told else None
    return message.role, message.text.strip(), parts, calls, message.tool_call_id, rest


def _spelled(arguments: str) -> str:
    """Arguments in one spelling, as some clients write them anew."""
    try:
        return json.dumps(json.loads(arguments), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments.strip()


def _firsts(founders: dict[int, Turn]) -> Callable[[Turn], Turn]:
    """What tells the first turn of the conversation that a turn belongs to."""
    known: dict[int, Turn] = {}

    def first(turn: Turn) -> Turn:
        passed: dict[int, Turn] = {}
        while turn.number not in known and turn.number not in passed:
            passed[turn.number] = turn
            turn = turn.parent or founders.get(turn.number, turn)
        found = known.get(turn.number, turn)
        known.update(dict.fromkeys(passed, found))
        return found

    return first


def token_runs(calls: Iterable[Tokens]) -> tuple[TokenRun, ...]:
    """The tokens of calls in order; a new run begins where a prompt does not repeat the tokens before it exactly."""
    runs: list[_Run] = []
    for tokens in calls:
        if not runs or not runs[-1].goes_on(tokens):
            runs.append(_Run())
        runs[-1].add(tokens)
    return tuple(run.whole() for run in runs)


class _Run:
    """A run of tokens under way."""

    def __init__(self) -> None:
        self._ids: tuple[int, ...] = ()
        self._sampled: list[bool] = []
        self._logprobs: list[float | None] = []

    def goes_on(self, tokens: Tokens) -> bool:
        """Whether a prompt repeats the run exactly."""
        return tokens.prompt[: len(self._ids)] == self._ids

    def add(self, tokens: Tokens) -> None:
        fresh = len(tokens.prompt) - len(self._ids)
        self._ids = tokens.prompt + tokens.reply
        self._sampled += [False] * fresh + [True] * len(tokens.reply)
        self._logprobs += [*[None] * fresh, *tokens.logprobs]

    def whole(self) -> TokenRun:
        return TokenRun(self._ids, tuple(self._sampled), tuple(self._logprobs))
