"""Turns a call's raw bytes into an exchange. Parsers have versions: what one read can be read again by a newer one.

A record says by `parser` which version made it. `VERSIONS` holds every version that has made records; `PARSER` is the
newest, which `parse` uses.
"""

from collections.abc import Callable

from journeyman.capture.frames import CallEnd, CallStart
from journeyman.capture.parsing.version1 import parser as version1
from journeyman.records import WireExchange

Parser = Callable[[CallStart, bytes, bytes, CallEnd | None], WireExchange]

VERSIONS: dict[int, Parser] = {version1.VERSION: version1.parse}
PARSER = max(VERSIONS)


def parse(start: CallStart, body: bytes, answer: bytes, end: CallEnd) -> WireExchange:
    """The exchange that a call amounts to. Never raises: what cannot be read is told in its error and fidelity."""
    return version1.parse(start, body, answer, end)


def parse_unended(start: CallStart, body: bytes, answer: bytes) -> WireExchange:
    """The exchange of a call whose writer died before the call ended: what came of it, with the state `killed`."""
    return version1.parse(start, body, answer, None)
