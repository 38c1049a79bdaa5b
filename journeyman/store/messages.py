"""Keeps each message once: conversations are chains in which every message knows the one before it.

A conversation of n calls sends its first message n times; here it is one row. The hash of a message covers everything
that was said before it, so equal hashes mean equal conversations, and forks share their common start.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from journeyman.records import Message, Tool
from journeyman.store.tables import storable


class Link(NamedTuple):
    """One row of `messages`. `text` is the message's words, for searching; `body` is the rest of it as JSON."""

    hash: str
    parent: str | None
    text: str | None
    body: str


def chain(messages: Iterable[Message], parent: str | None = None) -> list[Link]:
    """The links for messages that follow `parent`, in order."""
    links: list[Link] = []
    for message in messages:
        link = _link(message, parent)
        links.append(link)
        parent = link.hash
    return links


def follow(tip: str | None, links: Mapping[str, tuple[str | None, Message]]) -> tuple[Message, ...]:
    """The conversation that ends with the message `tip`, given each hash's parent and message."""
    found: list[Message] = []
    while tip is not None:
        tip, message = links[tip]
        found.append(message)
    return tuple(reversed(found))


def read_message(text: str | None, body: str) -> Message:
    """The message that a link was made from, exactly."""
    fields = json.loads(body)
    if text is not None and "content" not in fields:
        fields["content"] = text
    return Message.model_validate(fields)


def tool_set(tools: Sequence[Tool]) -> tuple[str, str]:
    """The hash of tools offered together, and their JSON."""
    body = _written([tool.wire() for tool in tools])
    return hashlib.sha256(body.encode()).hexdigest(), body


def _link(message: Message, parent: str | None) -> Link:
    fields = message.wire()
    identity = hashlib.sha256(((parent or "") + _written(fields)).encode()).hexdigest()
    text = None if message.content is None else storable(message.text)
    if fields.get("content") == text and text is not None:
        del fields["content"]
    return Link(identity, parent, text, _written(fields))


def _written(value: Any) -> str:
    # Not sorted: the order of unknown fields and of JSON Schema keys reaches the model's prompt, so it is content.
    return json.dumps(value, separators=(",", ":"))
