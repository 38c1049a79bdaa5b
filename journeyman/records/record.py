"""What every stored noun has in common: an identity, a time, and that it is never edited."""

import os
import threading
import time
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field

_id_lock = threading.Lock()
_last_id = 0


def new_id() -> str:
    """A unique id that sorts by creation time: 48 bits of milliseconds, then 80 random bits, in hex.

    Within one process ids always rise, also inside a millisecond: what is made later sorts later.
    """
    global _last_id
    with _id_lock:
        fresh = (time.time_ns() // 1_000_000 << 80) | int.from_bytes(os.urandom(10))
        _last_id = max(fresh, _last_id + 1)
        return f"{_last_id:032x}"


def now() -> datetime:
    """The present moment, in UTC."""
    return datetime.now(UTC)


class Frozen(BaseModel):
    """A pure value: compared by content, never changed, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Record(Frozen):
    """Something with an identity that the store keeps. Never edited: a change is a new record."""

    id: str = Field(default_factory=new_id)
    at: datetime = Field(default_factory=now)
