"""The seam between Journeyman and a database."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from journeyman.records import Filter, Record, WireExchange

R = TypeVar("R", bound=Record)


class Store(Protocol):
    """Keeps records and finds them again.

    `kind` is a record's class. `find` returns newest first (by `at`, then by id), and with `after` only what comes
    after the record of that id in this order, so that long lists are read page by page.
    Methods may be called from several threads. Putting a record whose id is already there replaces it only for an
    Exchange on its way from `started` to its final state; any other record with a known id is left as it was.
    A Tagging gives its tags to the exchanges that it names, to those that are there and to those that arrive later;
    on them it stays even when the Tagging itself is forgotten.
    """

    def put(self, *records: Record | WireExchange) -> None:
        """Keep records, all of them or none; a WireExchange is kept as the Exchange that it is, only faster."""

    def get(self, kind: type[R], id: str) -> R | None:
        """The record with that id; None when there is none."""

    def find(
        self, kind: type[R], where: Filter | None = None, after: str | None = None, limit: int = 1000
    ) -> Sequence[R]:
        """Records for which `where` holds, newest first."""

    def count(self, kind: type[Record], where: Filter | None = None, by: str | None = None) -> dict[str, int]:
        """How many records hold, by the value of the field `by` ({'': n} without it)."""

    def forget(self, kind: type[Record], where: Filter) -> int:
        """Remove records for good (retention, erasure); how many went. An empty filter is refused."""

    def close(self) -> None:
        """Release what it holds open."""
