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
_SEVERAL = 500
"""Payloads that are followed, or looked up in the index, one by one."""
_NEAR = 4096
"""Numbers between a payload and its parent up to which they are near: the index of the others begins there."""

Fetch = Callable[[Collection[int]], Sequence[Any]]

_RANGE = "SELECT rowid FROM exchange_words WHERE exchange_words MATCH ? AND rowid > ? AND rowid <= ? LIMIT ?"
_GIVEN = """
SELECT exchange_words.rowid FROM json_each(?) AS given CROSS JOIN exchange_words ON exchange_words.rowid = given.value
  WHERE exchange_words MATCH ?
"""
_LEADING = """
WITH RECURSIVE below(root, number) AS (
  SELECT value, value FROM json_each(?) UNION ALL
  SELECT below.root, payloads.number FROM below JOIN payloads ON payloads.parent = below.number)
SELECT DISTINCT root FROM below WHERE number > ?
"""
# A plus keeps SQLite from walking the wrong one of two indexes.
_REACHING = f"""
SELECT number, parent, point FROM payloads
  WHERE +number > :floor AND parent > :floor - {_NEAR} AND parent <= :floor UNION
SELECT number, parent, point FROM payloads INDEXED BY payloads_far
  WHERE number - parent > {_NEAR} AND number > :floor AND parent <= :floor
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
        asked, said = self._places(new, floor, self.floor)
        self.hits |= new
        self._asked |= asked
        self._said |= said
        self.floor = floor

    def numbers(self) -> set[int]:
        """Above the floor, all that say it: themselves, or in what they continue."""
        return self.hits | self._below(self._said, self._asked | self._reached())

    def _below(self, said: Collection[int], asked: Collection[int]) -> set[int]:
        """Those, and all that goes on from them; from replies only what goes on behind them."""
        return {number for (number,) in _rows(self._connection, _BELOW, (_list(said), _list(asked)))}

    def _found(self, match: str, low: int, high: int, most: int = -1) -> set[int]:
        return {number for (number,) in _rows(self._connection, _RANGE, (match, low, high, most))}

    def _places(self, holding: Collection[int], low: int, high: int) -> tuple[set[int], set[int]]:
        """Of those that hold it, all of them between two numbers: who was asked it, and whose first reply says it."""
        if len(holding) <= _FEW:
            return self._read(holding)
        return (
            self._found(f"{{asked}} : ({self._match})", low, high),
            self._found(f"{{said}} : ({self._match})", low, high),
        )

    def _among(self, numbers: Collection[int]) -> set[int]:
        """Which of those numbers, all up to the floor, hold it."""
        near, far = self.floor - _NEAR, [number for number in numbers if number <= self.floor - _NEAR]
        if len(far) > _SEVERAL:
            return self._found(self._match, min(far) - 1, self.floor) & set(numbers)
        looked_up = {number for (number,) in _rows(self._connection, _GIVEN, (_list(far), self._match))}
        return looked_up | (self._found(self._match, near, self.floor) & set(numbers))

    def _read(self, numbers: Collection[int]) -> tuple[set[int], set[int]]:
        """The same by what they say; the index would have to be asked for each place anew."""
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
        past = self._found(self._match, 0, self.floor, _SEVERAL + 1)
        return self._led_to(past) if len(past) <= _SEVERAL else self._reached_from_below()

    def _led_to(self, past: Collection[int]) -> set[int]:
        """The same, when these are all that hold the phrase below the floor: down from them."""
        leading = {root for (root,) in _rows(self._connection, _LEADING, (_list(past), self.floor))}
        asked, said = self._places(leading, 0, self.floor)
        return {number for number in self._below(said, asked) if number > self.floor}

    def _reached_from_below(self) -> set[int]:
        """The same, when many hold it: up from all that reach above the floor."""
        reaching = _rows(self._connection, _REACHING, {"floor": self.floor})
        parents = _list({parent for _, parent, _ in reaching})
        above = {number: (parent, point) for number, parent, point in _rows(self._connection, _ABOVE, (parents,))}
        if not above:
            return set()
        asked, said = self._places(self._among(above), min(above) - 1, self.floor)
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
        fewest = min(len(each.hits) for each in each_says)
        if floor and fewest < enough:
            window *= _WIDER
            continue
        rows = fetch(set.intersection(*(each.numbers() for each in each_says)))
        if not floor:
            return rows
        if len(rows) == limit:
            latest = rows[-1].at, (1 << 62 if before is None else before), floor
            if connection.exec_driver_sql(_EARLIER, latest).first() is None:
                return rows
        # So much further back that it should be enough; where nothing was found, no more is asked for soon.
        window = int(window * min(_WIDER, 1.5 * limit / len(rows))) if rows else window * _WIDER
        enough = limit if rows else 16 * fewest


def _rows(connection: Connection, query: str, values: Any) -> list[Any]:
    """Rows by the thousand, past SQLAlchemy, which takes longer for each than the database."""
    driver: Any = connection.connection.driver_connection
    return list(driver.execute(query, values).fetchall())


def _list(numbers: Collection[int]) -> str:
    return json.dumps(sorted(numbers))
