"""Joins the frames of one writer into calls: what has begun, and has not ended yet."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import orjson

from journeyman.capture.frames import HEADER, CallEnd, CallStart, Frame, Kind, frame, read_start, start_payload

MOST_HELD = 128 << 20
"""Bytes of calls under way that an ingester keeps in memory; of what is beyond, only the place in its segment."""

# Looked up here for every frame, where an enumeration's members take longer.
_START, _CHUNK = int(Kind.START), int(Kind.CHUNK)
_HEADER_BYTES = HEADER.size


class _Place(NamedTuple):
    path: Path
    begins: int
    size: int

    def read(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                file.seek(self.begins)
                return file.read(self.size)
        except FileNotFoundError:  # somebody removed the segment: the parser tells what is missing
            return b""


_Piece = bytes | _Place


@dataclass
class Held:
    """How many bytes are held, of `most` that may be: shared by the writers of a folder."""

    most: float = MOST_HELD
    now: int = 0


@dataclass(slots=True)
class OpenCall:
    """A call under way: `first` is the number of the segment in which it began."""

    start: CallStart
    request: _Piece
    first: int
    seen: float = field(default_factory=time.monotonic)
    pieces: list[_Piece] = field(default_factory=list)
    held: int = 0
    shown: bool = False

    @property
    def body(self) -> bytes:
        """The request's."""
        return _bytes(self.request)

    def answer(self) -> bytes:
        """The bytes of the answer that came so far."""
        return _bytes(self.pieces[0]) if len(self.pieces) == 1 else b"".join(map(_bytes, self.pieces))


@dataclass(slots=True)
class EndedCall:
    """A call with its end; `end` is None when its writer died first."""

    start: CallStart
    body: bytes
    answer: bytes
    end: CallEnd | None
    shown: bool = False

    def frames(self) -> bytes:
        """The call as a spool has it, with its answer in one piece."""
        answer = frame(Kind.CHUNK, 1, self.answer) if self.answer else b""
        end = b"" if self.end is None else frame(Kind.END, 1, orjson.dumps(self.end))
        return frame(Kind.START, 1, start_payload(self.start, self.body)) + answer + end


class Joining:
    """The open calls of one writer."""

    def __init__(self, held: Held) -> None:
        self._open: dict[int, OpenCall] = {}
        self._held = held
        self.strays = 0
        """Frames of calls whose beginning was never seen."""

    def take(self, frame: Frame, path: Path, begins: int, segment: int) -> EndedCall | None:
        """Add a frame that begins at that offset of its segment; the call that it ends, if it does.

        ValueError when its payload is not what its kind promises.
        """
        kind, number, payload = frame
        begins += _HEADER_BYTES
        if kind == _START:
            start, body = read_start(payload)
            call = OpenCall(start, b"", segment)
            call.request = self._hold(call, body, path, begins + len(payload) - len(body))
            self._open[number] = call
            return None
        found = self._open.get(number)
        if found is None:
            self.strays += 1
            return None
        if kind == _CHUNK:
            found.pieces.append(self._hold(found, payload, path, begins))
            return None
        end: CallEnd = orjson.loads(payload)
        return self._ended(number, end)

    def die(self) -> Iterator[EndedCall]:
        """The writer is dead: its open calls end here, one by one as they are asked for."""
        while self._open:
            yield self._ended(next(iter(self._open)), None)

    def first_segment(self) -> int | None:
        """The oldest segment that an open call still needs."""
        return min((call.first for call in self._open.values()), default=None)

    def lasting(self, seconds: float) -> Iterator[OpenCall]:
        """Calls that have been open for so long, and were not yet shown; they count as shown from now on."""
        before = time.monotonic() - seconds
        for call in self._open.values():
            if not call.shown and call.seen <= before:
                call.shown = True
                yield call

    def __len__(self) -> int:
        return len(self._open)

    def _hold(self, call: OpenCall, piece: bytes, path: Path, begins: int) -> _Piece:
        size = len(piece)
        if self._held.now + size > self._held.most:
            return _Place(path, begins, size)
        call.held += size
        self._held.now += size
        return piece

    def _ended(self, number: int, end: CallEnd | None) -> EndedCall:
        call = self._open[number]
        # Read before it is let go of: the disk may fail.
        ended = EndedCall(call.start, call.body, call.answer(), end, call.shown)
        del self._open[number]
        self._held.now -= call.held
        return ended


def _bytes(piece: _Piece) -> bytes:
    return piece if isinstance(piece, bytes) else piece.read()
