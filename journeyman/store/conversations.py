"""Finds what of a conversation is stored already, so that a call keeps only what its turn added.

A conversation is known by the hash of all its messages so far. Every exchange leaves up to three such hashes, its tips:
what was asked, what was asked and said, and what was asked and said as most clients send it back. An exchange whose
request begins with what a tip stands for keeps that exchange's number and the rest of its messages.
"""

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

Json = dict[str, Any]

ASKED, SAID, SENT_BACK = 0, 1, 2
"""Points of an exchange that others can continue from."""

TIP_BYTES = 16
_ROOT_BYTES = 4
_OPERATORS = ("system", "developer")


class Hashes(NamedTuple):
    """What a request's messages are known by, and their JSON, which is what was hashed.

    `chain` holds the hash of the first n messages at n - 1. `root` is the hash up to the first message that no
    operator wrote; tips begin with it, so that those of one conversation stand side by side in the index.
    """

    chain: list[bytes]
    root: bytes
    json: list[bytes]

    def tip(self, length: int) -> bytes:
        """The key of the first `length` messages."""
        before = self.chain[length - 1]
        return (self.root or before)[:_ROOT_BYTES] + before[: TIP_BYTES - _ROOT_BYTES]

    def after(self, reply: bytes) -> bytes:
        """The key of all messages and a reply."""
        following = sha256((self.chain[-1] if self.chain else b"") + reply).digest()
        return (self.root or following)[:_ROOT_BYTES] + following[: TIP_BYTES - _ROOT_BYTES]


def hash_messages(messages: Sequence[Json], write: Callable[[Any], bytes]) -> Hashes:
    """The hashes of a request's messages."""
    chain: list[bytes] = []
    json: list[bytes] = []
    root = before = b""
    for message in messages:
        body = write(message)
        before = sha256(before + body).digest()
        chain.append(before)
        json.append(body)
        if not root and message.get("role") not in _OPERATORS:
            root = before
    return Hashes(chain, root, json)


def places_to_continue(messages: Sequence[Json]) -> Iterator[int]:
    """How many messages of a request may be known: where a request ended or a reply did; the longest first."""
    last = len(messages)
    if last:
        yield last
    for place in range(last - 1, -1, -1):
        if messages[place].get("role") == "assistant":
            if place + 1 < last:
                yield place + 1
            if place:
                yield place
            last = place


def sent_back(reply: Json) -> Json:
    """A reply as most clients send it back: without the fields that only the answer has."""
    kept = {"role": reply.get("role"), "content": reply.get("content")}
    if calls := reply.get("tool_calls"):
        kept["tool_calls"] = calls
    return kept


def tips_of(hashes: Hashes, choices: Sequence[Json], write: Callable[[Any], bytes]) -> list[tuple[bytes, int]]:
    """The tips that an exchange leaves, each with its point."""
    tips = [(hashes.tip(len(hashes.chain)), ASKED)] if hashes.chain else []
    if choices and isinstance(reply := choices[0].get("message"), dict):
        tips.append((hashes.after(write(reply)), SAID))
        bare = sent_back(reply)
        if list(reply) != list(bare):
            tips.append((hashes.after(write(bare)), SENT_BACK))
    return tips


def said_until(own: Sequence[Json], choices: Sequence[Json], point: int) -> list[Json]:
    """What an exchange adds to the conversation of one that continues from its `point`."""
    if point == ASKED:
        return list(own)
    reply: Json = choices[0]["message"]
    return [*own, reply if point == SAID else sent_back(reply)]
