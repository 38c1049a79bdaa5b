"""That data was erased, without saying whose."""

import hashlib
from typing import Literal

from journeyman.records.record import Record

Erased = Literal["person", "session", "filter"]


class Erasure(Record):
    """What was erased of a person, of a session, or by a filter, so that data from elsewhere can be checked against it.

    `who` is `who_hash` of the name. `exchanges` are the ids of the exchanges that went, `records` how many other
    records (feedback, taggings, trajectories) went with them. A large erasure leaves several of these.
    """

    what: Erased
    who: str
    exchanges: tuple[str, ...] = ()
    records: int = 0
    by: str


def who_hash(what: Erased, name: str) -> str:
    """The hash under which the erasure of that person or session, or by that filter, is known."""
    return hashlib.sha256(f"{what}\n{name}".encode("utf-8", "surrogatepass")).hexdigest()
