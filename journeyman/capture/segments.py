"""The spool's files: what they are called, which writer they belong to, and whether it still lives.

A writer holds a lock on the segment that it writes; when it dies, however it dies, the system lets go of the lock. Its
segments are numbered, and all before the last are complete.
"""

import contextlib
import os
import re
import time
from pathlib import Path
from typing import NamedTuple

try:
    import fcntl
except ImportError:  # pragma: no cover - not on this system
    fcntl = None  # type: ignore[assignment]

SUFFIX, LOCK = ".spool", "ingester.lock"
_OPENING = ".opening"
ARCHIVE, ASIDE = "archive", "aside"
"""Folders inside the spool's: raw bytes of what is stored, and what could not be."""
_NAME = re.compile(r"(?P<writer>.+-\d+-\d+)-(?P<number>\d{6,})\.spool")


class Segment(NamedTuple):
    """One file of a writer."""

    path: Path
    writer: str
    number: int


def writer_name(name: str, pid: int, started: int) -> str:
    """What a writer is called that began at `started` (µs since 1970); its name sorts by nothing of meaning."""
    return f"{name}-{pid}-{started}"


def segment_path(folder: Path, writer: str, number: int) -> Path:
    """Where a writer's segment of that number is."""
    return folder / f"{writer}-{number:06d}{SUFFIX}"


def list_segments(folder: Path) -> list[Segment]:
    """All segments in the folder, by writer, in the order in which they were written."""
    found = []
    for entry in _entries(folder):
        match = _NAME.fullmatch(entry.name)
        if match is not None:
            found.append(Segment(Path(entry.path), match["writer"], int(match["number"])))
    return sorted(found, key=lambda segment: (segment.writer, segment.number))


def bytes_in(folder: Path) -> tuple[int, int]:
    """Bytes that wait for the store, and bytes in the archive."""
    waiting = _size(folder)
    return waiting, _size(folder / ARCHIVE)


def drop_oldest_archived(folder: Path, wanted: int) -> int:
    """Remove archived segments, the oldest first, until `wanted` bytes are free; how many bytes that made."""
    freed = 0
    for entry in sorted(_entries(folder / ARCHIVE), key=_modified):
        if freed >= wanted:
            break
        with contextlib.suppress(OSError):
            size = entry.stat().st_size
            os.unlink(entry.path)
            freed += size
    return freed


def hold(descriptor: int) -> None:
    """Take the lock that tells that a segment's writer lives; OSError when another has it."""
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def longest_waiting(folder: Path) -> float:
    """Seconds that a byte in the folder may have waited at most: since its oldest writer began. 0 when it is empty."""
    began = [int(segment.writer.rpartition("-")[2]) for segment in list_segments(folder)]
    return max(0.0, time.time() - min(began) / 1e6) if began else 0.0


def lock_folder(folder: Path) -> int:
    """The descriptor that keeps other ingesters from this folder, made where it is missing.

    BlockingIOError when one works there already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        hold(lock)
    except OSError:
        os.close(lock)
        raise
    return lock


def open_segment(path: Path) -> int:
    """A new segment's descriptor, to append to. It shows under its name only once it is held."""
    unseen = path.with_name(path.name + _OPENING)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
    descriptor = os.open(unseen, flags, 0o600)
    try:
        hold(descriptor)
        unseen.rename(path)
    except OSError:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            unseen.unlink()
        raise
    return descriptor


def let_go(descriptor: int) -> None:
    """Give the lock back, and keep the descriptor."""
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def is_alive(last: Segment) -> bool:
    """Whether the writer of that segment, the last that was seen of it, still lives.

    It holds its next segment before it lets go of this one: one that is not held, and has no successor, is the end.
    """
    return is_held(last.path) or segment_path(last.path.parent, last.writer, last.number + 1).exists()


def is_held(path: Path) -> bool:
    """Whether a living writer holds that segment."""
    if fcntl is None:  # pragma: no cover - not on this system
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if entry.is_file(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _modified(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat().st_mtime
    except OSError:
        return 0.0


def _size(folder: Path) -> int:
    total = 0
    for entry in _entries(folder):
        with contextlib.suppress(OSError):
            total += entry.stat().st_size
    return total
