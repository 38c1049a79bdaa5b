"""What an answer tells of its usage, in each API's words; and the events of a stream that do so, found as they pass."""

import re
from itertools import pairwise
from typing import Any

import orjson

from journeyman.records import Usage

_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_MARKS = (b"\n\n", b"\r\n\r\n", b"\r\r")
_MOST_WAITING = 1 << 20
"""Bytes of an event that is not whole yet: beyond, it passes as it is."""


class UsageFilter:
    """Finds the events of a stream that tell its usage, and holds back the one that carries nothing else.

    The gateway asked for that one, the client did not. With `hold=False` it passes, too. Everything else passes byte
    for byte, as soon as its event is whole. `told` are the first and the last event with a usage.
    """

    def __init__(self, hold: bool = True) -> None:
        self.told: list[bytes] = []
        self._hold = hold
        self._rest = b""

    def feed(self, chunk: bytes) -> bytes:
        """The bytes that may pass now."""
        stream = self._rest + chunk if self._rest else chunk
        if stream.endswith(b"\n\n"):
            whole, rest = stream, b""
        else:
            end = max(stream.rfind(mark) + len(mark) if mark in stream else 0 for mark in _MARKS)
            whole, rest = stream[:end], stream[end:]
        passed = whole if _USAGE.search(whole) is None else self._without_usage(whole)
        if not self._hold:
            self._rest = rest[-_MOST_WAITING:]
            return chunk
        if len(rest) > _MOST_WAITING:
            passed, rest = passed + rest, b""
        self._rest = rest
        return passed

    def rest(self) -> bytes:
        """What is left at the end of a stream that broke off inside an event."""
        return self._rest if self._hold else b""

    def _without_usage(self, whole: bytes) -> bytes:
        starts = [0, *(match.end() for match in _END.finditer(whole))]
        passed = []
        for part in (whole[start:stop] for start, stop in pairwise(starts)):
            if _USAGE.search(part):
                self.told = [*self.told[:1], part]
                if _NO_CHOICES.search(part):
                    continue
            passed.append(part)
        return b"".join(passed)


def read_usage(body: bytes, streamed: bool) -> Usage | None:
    """The tokens that an answer, or the events of a stream that tell its usage, say were used; None when they do not.

    What is part of the prompt counts to it, also where the API tells it apart (Anthropic's cache).
    """
    found: dict[str, Any] = {}
    for document in _data(body) if streamed else [body]:
        try:
            said = orjson.loads(document)
        except ValueError:
            continue
        for place in (said, said.get("message"), said.get("response")) if isinstance(said, dict) else ():
            usage = place.get("usage") if isinstance(place, dict) else None
            if isinstance(usage, dict):
                found.update({key: value for key, value in usage.items() if value is not None})
    return _usage(found) if found else None


def _usage(told: dict[str, Any]) -> Usage:
    details = told.get("prompt_tokens_details") or told.get("input_tokens_details")
    cached = _number(details, "cached_tokens") + _number(told, "cache_read_input_tokens")
    prompt = _number(told, "prompt_tokens") or _number(told, "input_tokens")
    return Usage(
        prompt_tokens=prompt + _number(told, "cache_read_input_tokens") + _number(told, "cache_creation_input_tokens"),
        completion_tokens=_number(told, "completion_tokens") or _number(told, "output_tokens"),
        cached_prompt_tokens=cached,
    )


def _number(where: Any, name: str) -> int:
    value = where.get(name) if isinstance(where, dict) else None
    return value if isinstance(value, int) and value > 0 else 0


def _data(events: bytes) -> list[bytes]:
    return [line[5:] for line in events.splitlines() if line.startswith(b"data:")]
