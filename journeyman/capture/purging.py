"""Takes the calls that were erased out of the archived raw segments, so that these cannot bring them back.

What a call's writer had written after it was purged is known by `purged.json` beside the archive: numbers only. Batches
of spans are not taken apart; they go when their segment does (`keep_raw_days`), and `Erasures` holds back what is in
them until then.
"""

import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import orjson
import zstandard

from journeyman.capture.archive import unpack
from journeyman.capture.erasure import Erasures
from journeyman.capture.frames import CallStart, Frame, Kind, frame, read_frames, read_start
from journeyman.capture.parsing import parse_unended
from journeyman.capture.segments import ARCHIVE, list_segments
from journeyman.records import new_id

_MEMORY = "purged.json"
_SUFFIX = ".spool.zst"


def purge_archive(folder: Path, erasures: Erasures) -> int:
    """Rewrite the spool folder's archived segments without the calls that were erased; how many calls went.

    A segment is read again only after a further erasure. Safe to stop at any point, and to repeat.
    """
    erasures.refresh(now=True)
    archive = folder / ARCHIVE
    files = sorted(archive.glob(f"*{_SUFFIX}")) if archive.is_dir() else []
    memory = _remembered(archive)
    calls: dict[str, set[int]] = defaultdict(set, {name: set(each) for name, each in memory["calls"].items()})
    checked: dict[str, int] = {}
    purged = 0
    for file in files:
        if memory["files"].get(file.name) != erasures.count:
            purged += _purge(file, erasures, calls[_writer(file)])
        checked[file.name] = erasures.count
    if files or memory["files"]:
        living = {_writer(file) for file in files} | {segment.writer for segment in list_segments(folder)}
        kept = {name: sorted(each) for name, each in calls.items() if each and name in living}
        _write(archive / _MEMORY, orjson.dumps({"files": checked, "calls": kept}))
    return purged


def _purge(file: Path, erasures: Erasures, gone: set[int]) -> int:
    """Rewrite one segment if it must be; `gone` are its writer's purged calls, and grows."""
    kept: list[bytes] = []
    begun, dropped = 0, False
    for _, found in read_frames(unpack(file)):
        if not isinstance(found, Frame):
            continue
        if found.kind == Kind.START and _is_erased(found.payload, erasures):
            gone.add(found.call)
            begun += 1
        if found.kind != Kind.RECORD and found.call in gone:
            dropped = True
        else:
            kept.append(frame(found.kind, found.call, found.payload))
    if dropped:
        stamp = file.stat()
        _write(file, zstandard.ZstdCompressor().compress(b"".join(kept)))
        # Its age decides when it goes for good: a purge must not make it younger.
        os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    return begun


def _is_erased(payload: bytes, erasures: Erasures) -> bool:
    try:
        start, body = read_start(payload)
    except ValueError:
        return False
    if start["id"] in erasures.ids:
        return True
    person = start.get("person") or _person(start, body)
    return erasures.names(person, start.get("session"), start["at"])


def _person(start: CallStart, body: bytes) -> str | None:
    """The person as the request's own body names one."""
    return parse_unended(start, body, b"").person


def _writer(file: Path) -> str:
    return file.name.removesuffix(_SUFFIX).rpartition("-")[0]


def _remembered(archive: Path) -> dict[str, Any]:
    try:
        known = orjson.loads((archive / _MEMORY).read_bytes())
        return {"files": dict(known["files"]), "calls": dict(known["calls"])}
    except (OSError, ValueError, KeyError, TypeError):
        # Without it everything is only looked through once more.
        return {"files": {}, "calls": {}}


def _write(file: Path, content: bytes) -> None:
    unfinished = file.with_name(f".{file.name}.{new_id()}.part")
    try:
        with unfinished.open("wb") as written:
            written.write(content)
            written.flush()
            os.fsync(written.fileno())
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
