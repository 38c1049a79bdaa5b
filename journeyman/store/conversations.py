"""Finds what of a conversation is stored already, so that a call keeps only what its turn added.

A conversation is known by the hash of all its messages so far. Every exchange leaves up to three such hashes, its tips:
what was asked, what was asked and said, and what was asked and said as most clients send it back. An exchange whose
request begins with what a tip stands for keeps that exchange's number and the rest of its messages.
"""

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from itertools import islice
from typing import Any

Json = dict[str, Any]

ASKED, SAID, SENT_BACK = 0, 1, 2
"""Points of an exchange that others can continue from."""

TIP_BYTES = 16
_ROOT_BYTES = 4
_REST_BYTES = TIP_BYTES - _ROOT_BYTES
_OPERATORS = ("system", "developer")
_SENT_BACK = ["role", "content"]
_SENT_BACK_CALLS = [*_SENT_BACK, "tool_calls"]


class Hashes:
    """What a request's messages are known by, and their JSON, which is what was hashed.

    `chain` holds the hash of the first n messages at n - 1. `root` is the hash up to the first message that no
    operator wrote; tips begin with it, so that those of one conversation stand side by side in the index.
    """

    __slots__ = ("chain", "json", "root")

    def __init__(self, messages: Sequence[Json], write: Callable[[Any], bytes]) -> None:
        self.json = json = [*map(write, messages)]
        self.root: bytes = b""
        self.chain: list[bytes] = []
        chain, before = self.chain, b""
        for body in json:
            before = sha256(before + body).digest()
            chain.append(before)
        for place, message in enumerate(messages):
            if message.get("role") not in _OPERATORS:
                self.root = chain[place][:_ROOT_BYTES]
                break

    def tip(self, length: int) -> bytes:
        """The key of the first `length` messages."""
        before = self.chain[length - 1]
        return (self.root or before[:_ROOT_BYTES]) + before[:_REST_BYTES]

    def after(self, reply: bytes) -> bytes:
        """The key of all messages and a reply."""
        following = sha256((self.chain[-1] if self.chain else b"") + reply).digest()
        return (self.root or following[:_ROOT_BYTES]) + following[:_REST_BYTES]


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


def nearest_places(messages: Sequence[Json], most: int) -> Sequence[int]:
    """The first of the `places_to_continue`; quick where nobody has answered yet."""
    if not messages or "assistant" in [message.get("role") for message in messages]:
        return [*islice(places_to_continue(messages), most)]
    return (len(messages),)


def sent_back(reply: Json) -> Json:
    """A reply as most clients send it back: without the fields that only the answer has."""
    kept = {"role": reply.get("role"), "content": reply.get("content")}
    if calls := reply.get("tool_calls"):
        kept["tool_calls"] = calls
    return kept


def tips_after(hashes: Hashes, reply: Json, body: bytes, write: Callable[[Any], bytes]) -> list[tuple[bytes, int]]:
    """The tips that an exchange leaves by its reply, each with its point; `body` is the reply's JSON."""
    tips = [(hashes.after(body), SAID)]
    if [*reply] != (_SENT_BACK_CALLS if reply.get("tool_calls") else _SENT_BACK):
        tips.append((hashes.after(write(sent_back(reply))), SENT_BACK))
    return tips


def said_until(own: Sequence[Json], choices: Sequence[Json], point: int) -> list[Json]:
    """What an exchange adds to the conversation of one that continues from its `point`."""
    if point == ASKED:
        return list(own)
    reply: Json = choices[0]["message"]
    return [*own, reply if point == SAID else sent_back(reply)]
