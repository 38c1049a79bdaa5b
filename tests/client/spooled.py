"""What is in a home's spool, read frame by frame: no ingester, no parser."""

from pathlib import Path
from typing import Any, NamedTuple

import orjson

from journeyman.capture.frames import Damage, Kind, read_frames, read_record, read_start


class Spooled(NamedTuple):
    """A call as it lies in the spool; `end` is None while it has not ended."""

    start: dict[str, Any]
    body: bytes
    answer: bytes
    end: dict[str, Any] | None

    @property
    def state(self) -> str | None:
        """How it ended."""
        return self.end["state"] if self.end else None


def spooled(home: Path) -> list[Spooled]:
    """All calls of a home, in the order in which they began."""
    found: dict[tuple[str, int], Spooled] = {}
    for path in sorted((home / "spool").glob("*.spool")):
        for _, frame in read_frames(path.read_bytes()):
            assert not isinstance(frame, Damage), frame
            key = (path.name.rsplit("-", 1)[0], frame.call)
            if frame.kind == Kind.START:
                start, body = read_start(frame.payload)
                found[key] = Spooled(dict(start), body, b"", None)
            elif frame.kind == Kind.CHUNK:
                found[key] = found[key]._replace(answer=found[key].answer + frame.payload)
            elif frame.kind == Kind.END:
                assert found[key].end is None, "ended twice"
                found[key] = found[key]._replace(end=orjson.loads(frame.payload))
    return sorted(found.values(), key=lambda call: call.start["id"])


def records(home: Path) -> list[tuple[str, dict[str, Any], bytes]]:
    """All records of a home that are no calls."""
    paths = sorted((home / "spool").glob("*.spool"))
    frames = [frame for path in paths for _, frame in read_frames(path.read_bytes()) if not isinstance(frame, Damage)]
    return [read_record(frame.payload) for frame in frames if frame.kind == Kind.RECORD]
