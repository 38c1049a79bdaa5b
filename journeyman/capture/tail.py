"""Reads one segment as it grows: frames as soon as they are whole, damage when it is certain."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from journeyman.capture.frames import HEADER, Damage, Frame, read_frames

_READ = 8 << 20
_HEADER_BYTES = HEADER.size


class Tail:
    """Where the reading of a segment has come to. `at` is the offset behind what was read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.at = 0
        self._synced = 0

    def sync(self) -> None:
        """Put on the disk itself what was read and may still be in the system's memory only."""
        if self.at > self._synced:
            at = self.at
            with contextlib.suppress(FileNotFoundError), self.path.open("rb") as file:
                os.fdatasync(file.fileno())
            self._synced = at

    def read(self, *, complete: bool) -> Iterator[tuple[int, Frame | Damage]]:
        """What came since the last reading, each with the offset where its bytes begin.

        `complete` says that nothing more will be written: then a torn end is damage, else it is read next time. What
        was given out is read; a reader that stops half-way goes on behind it.
        """
        want = _READ
        with self.path.open("rb") as file:
            while True:
                base = self.at
                file.seek(base)
                data = file.read(want)
                if not data:
                    return
                last = len(data) < want
                for behind, found in read_frames(data, complete=last and complete):
                    if isinstance(found, Frame):
                        self.at = base + behind
                        yield self.at - _HEADER_BYTES - len(found.payload), found
                    elif not found.torn:
                        self.at = base + found.end
                        yield base + found.start, found
                    elif last and complete:
                        self.at = base + len(data)
                        yield base + found.start, found
                if self.at == base:
                    if last:
                        return
                    want *= 2  # a frame that is larger than what was read
