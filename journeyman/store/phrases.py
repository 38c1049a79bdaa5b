"""Finds the newest exchanges that say a phrase, without asking for all that ever said it.

Numbers rise as exchanges arrive, so the newest of them are nearly always the latest. The index is read from its newest
end, as far back as a page needs; then it is checked that nothing that arrived before can belong on that page.
"""

import json
from collections.abc import Callable, Collection, Sequence
from typing import Any

from sqlalchemy import Connection, select

from journeyman.store.payloads import PAYLOAD_COLUMNS, read_payloads
from journeyman.store.search import phrase_query, words_of
from journeyman.store.tables import payloads
from journeyman.store.words import part_word, tokens

_FIRST_WINDOW = 16_384
_WIDER = 4
_FEW = 16
"""Payloads that are read to see where they say the phrase; of more than that the index is asked."""

Fetch = Callable[[Collection[int]], Sequence[Any]]

_RANGE = "SELECT rowid FROM exchange_words WHERE exchange_words MATCH ? AND rowid > ? AND rowid <= ?"
# A plus keeps SQLite from walking the wrong one of two indexes.
_REACHING = """
SELECT number, parent, point FROM payloads WHERE +number > :floor AND parent > :floor - 4096 AND parent <= :floor UNION
SELECT number, parent, point FROM payloads INDEXED BY payloads_far
  WHERE number - parent > 4096 AND number > :floor AND parent <= :floor
"""
"""What goes on from a number up to the floor: near ones by their parents, the others in an index of their own."""
_ABOVE = """
WITH RECURSIVE above(number) AS (
  SELECT value FROM json_each(?) UNION
  SELECT payloads.parent FROM above JOIN payloads USING (number) WHERE payloads.parent IS NOT NULL)
SELECT payloads.number, payloads.parent, payloads.point FROM above JOIN payloads USING (number)
"""
_BELOW = """
WITH RECURSIVE
  said(number) AS (SELECT value FROM json_each(?)),
  hit(number) AS (
    SELECT value FROM json_each(?) UNION
    SELECT payloads.number FROM said JOIN payloads ON payloads.parent = said.number WHERE payloads.point > 0 UNION
    SELECT payloads.number FROM hit JOIN payloads ON payloads.parent = hit.number)
SELECT number FROM hit
"""
_EARLIER = "SELECT 1 FROM exchanges WHERE at >= ? AND at <= ? AND +number <= ? LIMIT 1"


class Saying:
    """What says a phrase, among all payloads with a number above `floor`; SQLite only."""

    def __init__(self, connection: Connection, phrase: str) -> None:
        self._connection = connection
        self._parts, self._match = phrase_query(connection, phrase)
        self._words = f" {' '.join(tokens(phrase))} "
        newest = connection.exec_driver_sql("SELECT max(number) FROM payloads").scalar()
        self.newest = self.floor = int(newest or 0)
        self.hits: set[int] = set()
        """The payloads that hold the phrase."""
        self._asked: set[int] = set()
        self._said: set[int] = set()

    def lower(self, floor: int) -> None:
        """Look further back."""
        new = self._found(self._match, floor, self.floor)
        asked, said = self._read(new) if len(new) <= _FEW else self._places(floor, self.floor)
        self.hits |= new
        self._asked |= asked
        self._said |= said
        self.floor = floor

    def numbers(self) -> set[int]:
        """Above the floor, all that say it: themselves, or in what they continue."""
        seeds = self._asked | self._reached()
        below = _rows(self._connection, _BELOW, (_list(self._said), _list(seeds)))
        return self.hits | {number for (number,) in below}

    def _found(self, match: str, low: int, high: int) -> set[int]:
        return {number for (number,) in _rows(self._connection, _RANGE, (match, low, high))}

    def _places(self, low: int, high: int) -> tuple[set[int], set[int]]:
        """Who says it in what it was asked, and who in its first reply."""
        return (
            self._found(f"{{asked}} : ({self._match})", low, high),
            self._found(f"{{said}} : ({self._match})", low, high),
        )

    def _read(self, numbers: Collection[int]) -> tuple[set[int], set[int]]:
        """The same, of few, by what they say; the index would have to be asked for each place anew."""
        rows = self._connection.execute(select(*PAYLOAD_COLUMNS).where(payloads.c.number.in_(numbers))).all()
        wanted = (self._words, *(f" {part_word(number)} " for number in self._parts))
        asked: set[int] = set()
        said: set[int] = set()
        for payload in read_payloads(self._connection, rows):
            own, reply, _ = words_of(payload)
            if any(each in own for each in wanted):
                asked.add(payload.number)
            if self._words in reply:
                said.add(payload.number)
        return asked, said

    def _reached(self) -> set[int]:
        """Those above the floor whose conversation began below it, where the phrase was said before it reached them."""
        if self.floor <= 0:
            return set()
        reaching = _rows(self._connection, _REACHING, {"floor": self.floor})
        parents = _list({parent for _, parent, _ in reaching})
        above = {
            number: (parent, point) for number, parent, point in self._connection.exec_driver_sql(_ABOVE, (parents,))
        }
        if not above:
            return set()
        asked, said = self._places(min(above) - 1, self.floor)
        says: dict[int, bool] = {}
        for number in sorted(above):  # a parent's number is the lower one
            parent, point = above[number]
            says[number] = number in asked or says.get(parent, False) or (bool(point) and parent in said)
        return {number for number, parent, point in reaching if says[parent] or (point and parent in said)}


def newest_saying(
    connection: Connection, phrases: Sequence[str], fetch: Fetch, limit: int, before: int | None
) -> Sequence[Any]:
    """Rows of exchanges that say all the phrases, newest first.

    `fetch` gives those rows of the page that are among certain numbers; no row is later than `before`.
    """
    if not limit:
        return []
    each_says = [Saying(connection, phrase) for phrase in phrases]
    newest, window, enough = each_says[0].newest, _FIRST_WINDOW, limit
    while True:
        floor = max(0, newest - window)
        for each in each_says:
            each.lower(floor)
        window *= _WIDER
        fewest = min(len(each.hits) for each in each_says)
        if floor and fewest < enough:
            continue
        rows = fetch(set.intersection(*(each.numbers() for each in each_says)))
        if not floor:
            return rows
        if len(rows) == limit:
            latest = rows[-1].at, (1 << 62 if before is None else before), floor
            if connection.exec_driver_sql(_EARLIER, latest).first() is None:
                return rows
        enough = fewest * (min(16, 1 + 3 * limit // (2 * len(rows))) if rows else 16)


def _rows(connection: Connection, query: str, values: Any) -> list[Any]:
    """Rows by the thousand, past SQLAlchemy, which takes longer for each than the database."""
    driver: Any = connection.connection.driver_connection
    return list(driver.execute(query, values).fetchall())


def _list(numbers: Collection[int]) -> str:
    return json.dumps(sorted(numbers))
