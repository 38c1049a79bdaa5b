"""What happened in an attempt, in order, as a policy speaks of it: who said what, and which call had which result."""

import json
import re
from collections.abc import Sequence
from typing import Any, Literal

from journeyman.records import Frozen, Message

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
# "I cannot tell, but you should buy" refuses in one clause and advises in the next; "not to sell, hold or buy" is one.
_CLAUSE_END = re.compile(
    r",\s*(?=(?:i|you|we|it|they|he|she|so|then|just|please)\b)|[;:]|\b(?:but|however|although|though)\b", re.IGNORECASE
)


class Event(Frozen):
    """One event; `message` is its place in the conversation. A call stands where it was made, with its later result.

    `arguments` are as they were written where they are no JSON object; `ok` is False for a result that is an error.
    """

    kind: Literal["user", "agent", "call"]
    message: int
    text: str = ""
    tool: str = ""
    arguments: Any = None
    result: Any = None
    ok: bool = True


def events_of(messages: Sequence[Message]) -> tuple[Event, ...]:
    """The events of a conversation; the system's words are none."""
    results = {each.tool_call_id: each.text for each in messages if each.role == "tool"}
    found: list[Event] = []
    for place, message in enumerate(messages):
        if message.role == "user":
            found.append(Event(kind="user", message=place, text=message.text))
        elif message.role == "assistant":
            if message.text.strip():
                found.append(Event(kind="agent", message=place, text=message.text))
            found += [
                _call(place, call.function.name, call.function.arguments, results.get(call.id))
                for call in message.tool_calls or ()
            ]
    return tuple(found)


def sentences(text: str) -> list[str]:
    """The sentences of a text, questions included."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part.strip()]


def clauses(sentence: str) -> list[str]:
    """The parts of a sentence that a negation in another part leaves as they are."""
    return [part.strip() for part in _CLAUSE_END.split(sentence) if part.strip()]


def _call(place: int, tool: str, arguments: str, result: str | None) -> Event:
    read = _json(result or "")
    failed = result is None or (isinstance(read, dict) and bool(read.get("error")))
    text = result or ""
    return Event(
        kind="call", message=place, text=text, tool=tool, arguments=_json(arguments), result=read, ok=not failed
    )


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
