"""A call, how far it came, and who made it, as the gateway's own parts tell each other."""

import hashlib
import os
import time
from dataclasses import dataclass, field

from journeyman.prices import Price
from journeyman.records import State, new_id
from journeyman.registry.resolve import Target

ANONYMOUS = "anonymous"
"""Whoever gives no token."""


def fingerprint(authorization: str) -> str:
    """Who asked, told from the Authorization header: 12 hex digits of a hash of the bearer token, never the token."""
    kind, _, token = authorization.partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        return ANONYMOUS
    return hashlib.sha256(token.strip().encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Call:
    """A call that an engine is to answer: what the ledger must know of it.

    `model` is the name that was asked for, `choices` how many replies; `key` the caller's fingerprint, `price` what
    the tokens cost, if known.
    """

    model: str
    target: Target
    key: str = ANONYMOUS
    price: Price | None = None
    choices: int = 1
    id: str = field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended, as the transfer shows it, and the bytes of its answer that tell the usage.

    `body` is a whole answer, or of a stream the events with a usage.
    """

    state: State
    status: int | None = None
    body: bytes = b""
    streamed: bool = False


class CallIds:
    """Ids of calls, as `records.new_id` makes them, for less: random bytes are drawn from the system 400 at a time.

    `microseconds` is when the call began, since 1970.
    """

    def __init__(self) -> None:
        self._random, self._used = b"", 0

    def new(self, microseconds: int) -> str:
        """A unique id that sorts by the call's beginning: 48 bits of milliseconds, then 80 random ones, in hex."""
        if self._used >= len(self._random):
            self._random, self._used = os.urandom(4000), 0
        self._used += 10
        return f"{microseconds // 1000:012x}{self._random[self._used - 10 : self._used].hex()}"


def microseconds() -> int:
    """Now, in microseconds since 1970."""
    return time.time_ns() // 1000
