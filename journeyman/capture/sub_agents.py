"""Finds who called a sub-agent: the call of another conversation within which a conversation took place.

An agent's own trace tells it where it is known. Elsewhere it is inferred, carefully: a conversation that began after a
tool was called and ended before its result came back, and whose words went in or came out.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from journeyman.capture.turns import Turn, all_turns
from journeyman.records import Exchange

_TELLING = 20
"""Characters from which on words that are found within others are no coincidence."""


def callers_by_span(
    turns: list[Turn], first: Callable[[Turn], Turn], spans: Mapping[str, str]
) -> Callable[[Turn], Exchange | None]:
    """What tells the last call before a turn, of another conversation, under whose span the turn's own span is."""
    by_span: dict[str, list[Turn]] = {}
    for turn in turns if spans else ():
        if turn.exchange.span:
            by_span.setdefault(turn.exchange.span, []).append(turn)

    def within(root: Turn) -> Exchange | None:
        span, seen = spans.get(root.exchange.span or ""), set[str]()
        while span is not None and span not in seen:
            seen.add(span)
            before = [turn for turn in by_span.get(span, ()) if turn.number < root.number]
            if before and first(before[-1]) is not first(root):
                return before[-1].exchange
            span = spans.get(span)
        return None

    return within


def callers_by_words(conversations: Sequence[Sequence[Turn]]) -> dict[int, Exchange]:
    """For conversations, each given by its first turns: by the first turn's number, the call that it answered to.

    The tool call's result is the conversation's last reply, or holds it; or the conversation was asked what the call's
    arguments say. Of several such calls the last one counts; a conversation that none fits is absent.
    """
    work = [(number, each) for number, roots in enumerate(conversations) for each in _tool_work(roots)]
    work.sort(key=lambda item: item[1].began)
    found: dict[int, Exchange] = {}
    for number, roots in enumerate(conversations) if work else ():
        turns = all_turns(roots)
        first, last = min(turn.number for turn in turns), max(turns, key=lambda turn: turn.number)
        for owner, tool in reversed(work):
            if owner != number and tool.began < first and last.number < tool.ended and _fits(tool, roots[0], last):
                found[roots[0].number] = tool.caller
                break
    return found


class _ToolWork(NamedTuple):
    """A tool call that an agent ran itself: the turns between which that was, by number, and what went in and out."""

    caller: Exchange
    began: int
    ended: int
    given: tuple[str, ...]
    result: str


def _tool_work(roots: Sequence[Turn]) -> list[_ToolWork]:
    found = []
    for turn in all_turns(roots):
        if turn.parent is None:
            continue
        results = {
            message.tool_call_id: message.text.strip() for message in turn.exchange.messages if message.tool_call_id
        }
        for call in turn.parent.exchange.choices[turn.choice].message.tool_calls or ():
            if call.id in results:
                given = tuple(_texts(call.function.arguments))
                found.append(_ToolWork(turn.parent.exchange, turn.parent.number, turn.number, given, results[call.id]))
    return found


def _fits(tool: _ToolWork, first: Turn, last: Turn) -> bool:
    replies = [choice.message.text.strip() for choice in last.exchange.choices]
    if any(reply and reply == tool.result for reply in replies):
        return True
    if any(len(reply) >= _TELLING and reply in tool.result for reply in replies):
        return True
    asked = [message.text for message in first.exchange.messages if message.role == "user"]
    return any(len(given) >= _TELLING and given in words for given in tool.given for words in asked)


def _texts(arguments: str) -> list[str]:
    """The texts in a call's arguments, however deep."""
    try:
        waiting: list[Any] = [json.loads(arguments)]
    except (ValueError, RecursionError):
        return [arguments.strip()]
    found = []
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            found.append(value.strip())
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return found
