"""What a judge sees of an attempt: the same for attempts that did the same, whatever ids they came under."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from journeyman.records import Message, Tool, Trajectory

Shown = dict[str, Any]
"""A message as a judge sees it."""


class Content(NamedTuple):
    """An attempt's messages and error as they are judged; `key` is a hash of them."""

    key: str
    messages: tuple[Shown, ...]
    error: str | None


def content_of(trajectory: Trajectory) -> Content:
    """The attempt without what only tells it from its copies: ids of calls are numbered in their order."""
    numbers: dict[str, str] = {}
    messages = tuple(_shown(message, numbers) for message in trajectory.messages)
    return Content(hash_of(messages, trajectory.error), messages, trajectory.error)


def shared_start(contents: Sequence[Content]) -> int:
    """How many of the first messages all of them have in common, at the most all but one message of the shortest."""
    shortest = min(len(content.messages) for content in contents)
    for at in range(shortest):
        if any(content.messages[at] != contents[0].messages[at] for content in contents):
            return at
    return max(0, shortest - 1)


def shown_tools(tools: Sequence[Tool]) -> list[dict[str, Any]] | None:
    """Tools with what a judge needs to know of them; None without any."""
    return [tool.function.wire() for tool in tools] or None


def hash_of(*parts: Any) -> str:
    """24 hex digits of a SHA-256 over the parts as JSON."""
    written = json.dumps(parts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(written.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _shown(message: Message, numbers: dict[str, str]) -> Shown:
    shown: Shown = {"role": message.role}
    if message.text:
        shown["content"] = message.text
    if isinstance(message.content, list):
        other = [part for part in message.content if part.get("type") != "text"]
        if other:
            shown["not_text"] = [f"{part.get('type')} {hash_of(part)}" for part in other]
    if message.tool_calls:
        shown["calls"] = [
            {
                "call": numbers.setdefault(call.id, str(len(numbers) + 1)),
                "function": call.function.name,
                "arguments": call.function.arguments,
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        shown["answers_call"] = numbers.setdefault(message.tool_call_id, str(len(numbers) + 1))
    return shown
