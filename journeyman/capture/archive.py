"""What happens to raw bytes after the store has what they said: kept for a while, compressed, or put aside."""

import contextlib
import json
import logging
import os
import time
from pathlib import Path

import zstandard

from journeyman.capture.segments import ARCHIVE, ASIDE, SUFFIX, Segment

_DAY = 86_400.0

log = logging.getLogger(__name__)


def retire(segment: Segment, keep_days: float) -> None:
    """A segment is in the store to its last frame: compress it into the archive, or remove it."""
    if keep_days <= 0:
        segment.path.unlink(missing_ok=True)
        return
    folder = segment.path.parent / ARCHIVE
    partial = folder / f"{segment.path.name}.partial"
    try:
        folder.mkdir(exist_ok=True)
        with segment.path.open("rb") as raw, partial.open("wb") as packed:
            zstandard.ZstdCompressor(level=3).copy_stream(raw, packed)
            packed.flush()
            os.fsync(packed.fileno())
        partial.replace(folder / f"{segment.path.name}.zst")
    except OSError as error:
        # A full disk must become emptier: what the bytes said is in the store.
        log.warning("%s is not kept in the archive: %s", segment.path.name, error)
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    segment.path.unlink(missing_ok=True)


def archived(folder: Path, since: float = 0.0) -> list[Path]:
    """The archived segments that were finished after `since` (seconds since 1970), the oldest first."""
    found = [(path.stat().st_mtime, path) for path in (folder / ARCHIVE).glob(f"*{SUFFIX}.zst")]
    return [path for modified, path in sorted(found) if modified >= since]


def unpack(path: Path) -> bytes:
    """The bytes of an archived segment; ValueError when they are not what was archived."""
    try:
        with path.open("rb") as packed, zstandard.ZstdDecompressor().stream_reader(packed) as reader:
            return reader.read()
    except zstandard.ZstdError as error:
        raise ValueError(f"{path.name} is damaged: {error}") from error


def expire(folder: Path, keep_days: float) -> int:
    """Remove archived segments older than that; how many went."""
    before = time.time() - keep_days * _DAY
    gone = 0
    for path in (folder / ARCHIVE).glob(f"*{SUFFIX}.zst"):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                path.unlink()
                gone += 1
    return gone


def put_aside(folder: Path, name: str, data: bytes, why: str) -> Path:
    """Keep bytes that could not be stored, with the reason beside them: nothing captured is thrown away unseen."""
    aside = folder / ASIDE
    aside.mkdir(exist_ok=True)
    path = aside / name
    number = 0
    while path.exists():
        number += 1
        path = aside / f"{name}.{number}"
    path.write_bytes(data)
    path.with_name(path.name + ".why").write_text(json.dumps({"why": why, "bytes": len(data)}) + os.linesep)
    return path
