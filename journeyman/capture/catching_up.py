"""Waits until what was captured before now can be found in the store: whoever reads it wants all of it."""

import contextlib
import time
from pathlib import Path

import orjson

from journeyman.capture.ingest import REPORT
from journeyman.capture.segments import LOCK, is_held, list_segments

_LOOK_EVERY_SECONDS = 0.05
PATIENCE_SECONDS = 15.0
_STARTING_SECONDS = 1.0
"""An ingester that is started again does not work for a moment."""


def missing_in_store(spool: Path, patience: float = PATIENCE_SECONDS) -> str | None:
    """Wait, `patience` seconds at most, for the ingester to store all that was captured before this call.

    None when it has; otherwise a sentence that says what may be missing, and what to do.
    """
    began = last_held = time.time()
    while True:
        waiting = _bytes_waiting(spool)
        if not waiting or _stored_until(spool) >= began:
            return None
        now = time.time()
        if is_held(spool / LOCK):
            last_held = now
        elif now - last_held > _STARTING_SECONDS:
            return (
                f"{_megabytes(waiting)} MB of captured calls wait in {spool}, and no ingester is running: the newest "
                "calls may be missing here. Store them first: journeyman ingest"
            )
        if now - began > patience:
            return (
                f"waited {patience:g} s for the ingester, which has not stored all yet: the "
                f"newest calls may be missing here. They are safe in {spool}; try again later, or see "
                "logs/ingester.log in the home folder"
            )
        time.sleep(_LOOK_EVERY_SECONDS)


def _stored_until(spool: Path) -> float:
    """Everything captured before that time (seconds since 1970) is in the store; 0 when nobody knows."""
    try:
        report = orjson.loads((spool / REPORT).read_bytes())
        return float(report["at"]) - float(report["lag"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def _bytes_waiting(spool: Path) -> int:
    waiting = 0
    for segment in list_segments(spool):
        with contextlib.suppress(FileNotFoundError):  # stored meanwhile
            waiting += segment.path.stat().st_size
    return waiting


def _megabytes(size: int) -> str:
    return f"{max(size / 1e6, 0.1):.1f}"
