"""Server-sent events as chat streams use them: split into events, their end recognised, unasked usage held back."""

import re
from collections.abc import Iterator
from itertools import pairwise

_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_DONE = re.compile(rb"(?:^|[\r\n])data: ?\[DONE\]\s*$")
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_USAGE = re.compile(rb'"usage"\s*:\s*\{')


def event_data(stream: bytes) -> Iterator[bytes]:
    """The data of each whole event; a last event without its blank line is not whole."""
    *whole, _ = _END.split(stream)
    for event in whole:
        lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
        if lines:
            yield b"\n".join(lines)


def is_done(stream: bytes | bytearray) -> bool:
    """Whether a stream's last event is `[DONE]`."""
    return _DONE.search(stream[-64:]) is not None


class UsageFilter:
    """Holds back the chunk that carries usage alone: the gateway asked for it, the client did not.

    Everything else passes byte for byte, as soon as its event is whole.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> bytes:
        """The bytes that may pass now."""
        stream = self._rest + chunk
        end = max(stream.rfind(mark) + len(mark) if mark in stream else 0 for mark in (b"\n\n", b"\r\n\r\n", b"\r\r"))
        whole, self._rest = stream[:end], stream[end:]
        if _USAGE.search(whole) is None:
            return whole
        starts = [0, *(match.end() for match in _END.finditer(whole))]
        parts = [whole[start:stop] for start, stop in pairwise(starts)]
        return b"".join(part for part in parts if not (_NO_CHOICES.search(part) and _USAGE.search(part)))

    def rest(self) -> bytes:
        """What is left at the end of a stream that broke off inside an event."""
        return self._rest
