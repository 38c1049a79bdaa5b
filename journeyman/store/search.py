"""Full-text search: which exchanges say a phrase.

Only what an exchange added to its conversation is indexed under its number; who continues it says the same. Words are
indexed after the exchange is stored, because they take longer than all the rest: in idle time, or at the latest when
somebody searches. SQLite's index is an FTS5 table, PostgreSQL's a GIN index over the same words.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, Connection, TextualSelect, bindparam, select, text, update

from journeyman.store.parts import read_parts
from journeyman.store.payloads import PARTS, PAYLOAD_COLUMNS, Payload, read_payloads
from journeyman.store.tables import parts, payloads, text_index
from journeyman.store.words import WORDS, indexed_words, part_word, tokens

_SQLITE_HITS = """
WITH RECURSIVE
  hit(number) AS (
    SELECT rowid FROM exchange_words WHERE exchange_words MATCH
      (SELECT '{asked} : (' || :phrase || coalesce(group_concat(' OR "' || :part || rowid || '"', ''), '') || ')'
       FROM part_words WHERE part_words MATCH :phrase)
    UNION
    SELECT payloads.number FROM exchange_words JOIN payloads ON payloads.parent = exchange_words.rowid
      WHERE exchange_words MATCH '{said} : ' || :phrase AND payloads.point > 0
    UNION
    SELECT payloads.number FROM hit JOIN payloads ON payloads.parent = hit.number)
SELECT number FROM hit
UNION SELECT rowid FROM exchange_words WHERE exchange_words MATCH '{said others} : ' || :phrase
"""
_POSTGRES_HITS = """
WITH RECURSIVE
  found AS MATERIALIZED (
    SELECT number,
      strpos(asked, :phrase) > 0 OR string_to_array(asked, ' ') && (SELECT names FROM named) AS is_asked,
      strpos(said, :phrase) > 0 AS is_said, strpos(others, :phrase) > 0 AS is_other
    FROM exchange_words, (SELECT string_to_array(:words, ' ') AS wanted) AS phrase
    WHERE string_to_array(asked || said || others, ' ') @> wanted
      OR string_to_array(asked || said || others, ' ') && (SELECT names FROM named)),
  named AS MATERIALIZED (
    SELECT coalesce(array_agg(:part || number), ARRAY[]::TEXT[]) AS names FROM part_words
    WHERE string_to_array(words, ' ') @> string_to_array(:words, ' ') AND strpos(words, :phrase) > 0),
  hit(number) AS (
    SELECT number FROM found WHERE is_asked
    UNION
    SELECT continued.number FROM (
      SELECT payloads.number FROM found JOIN payloads ON payloads.parent = found.number
        WHERE found.is_said AND payloads.point > 0
      ) AS continued
    UNION
    SELECT payloads.number FROM hit JOIN payloads ON payloads.parent = hit.number)
SELECT number FROM hit UNION SELECT number FROM found WHERE is_said OR is_other
"""
_POSTGRES_COUNT = """
SELECT count(*) FROM (
  SELECT 1 FROM exchange_words
  WHERE string_to_array(asked || said || others, ' ') @> string_to_array(:words, ' ')
    OR string_to_array(asked || said || others, ' ') && (
      SELECT coalesce(array_agg(:part || number), ARRAY[]::TEXT[]) FROM part_words
      WHERE string_to_array(words, ' ') @> string_to_array(:words, ' '))
  LIMIT :most) AS hits
"""
_INDEX_AT_ONCE = 500


def saying(phrase: str, dialect: str) -> TextualSelect:
    """A query for the numbers of the exchanges that say the phrase; the index must be up to date."""
    query = text(_POSTGRES_HITS if dialect == "postgresql" else _SQLITE_HITS)
    bound: list[Any] = [bindparam(name, value, unique=True) for name, value in _asked_for(phrase, dialect).items()]
    return query.bindparams(*bound).columns(number=BigInteger)


def phrase_query(connection: Connection, phrase: str) -> tuple[list[int], str]:
    """The pieces kept apart that say the phrase, and what SQLite's index is asked for to find it or them."""
    words = _asked_for(phrase, "sqlite")["phrase"]
    query = "SELECT rowid FROM part_words WHERE part_words MATCH ?"
    pieces = [number for (number,) in connection.exec_driver_sql(query, (words,))]
    return pieces, " OR ".join([words, *(f'"{part_word(number)}"' for number in pieces)])


def count_said(connection: Connection, phrase: str, most: int) -> int:
    """How many payloads in PostgreSQL hold the phrase, counted up to `most`."""
    values = _asked_for(phrase, "postgresql")
    del values["phrase"]
    return int(connection.scalar(text(_POSTGRES_COUNT), {**values, "most": most}) or 0)


def _asked_for(phrase: str, dialect: str) -> dict[str, str]:
    words = " ".join(tokens(phrase))
    if dialect == "postgresql":
        return {"phrase": f" {words} ", "words": words, "part": part_word("")}
    return {"phrase": f'"{words}"', "part": part_word("")}


def is_behind(connection: Connection) -> bool:
    """Whether something is stored whose words are not indexed."""
    query = "SELECT words, indexed < (SELECT max(number) FROM payloads) FROM text_index"
    words, is_more = connection.exec_driver_sql(query).one()
    return words != WORDS or bool(is_more)


def index_more(connection: Connection) -> int:
    """Index the words of the next payloads, at most some hundreds; how many there were. The caller holds the lock."""
    state = connection.execute(select(text_index)).one()
    if state.words != WORDS:
        _start_anew(connection)
        return index_more(connection)
    next_ones = select(*PAYLOAD_COLUMNS).where(payloads.c.number > state.indexed).order_by(payloads.c.number)
    found = read_payloads(connection, connection.execute(next_ones.limit(_INDEX_AT_ONCE)).all())
    if found:
        add_words(connection, found)
        connection.execute(update(text_index).values(indexed=found[-1].number))
    return len(found)


def add_words(connection: Connection, found: Sequence[Payload]) -> None:
    """Index payloads, as they are stored: without the pieces that are kept apart."""
    used = sorted({number for payload in found for number in _spoken_parts(payload)})
    for start in range(0, len(used), _INDEX_AT_ONCE):
        some = used[start : start + _INDEX_AT_ONCE]
        new = connection.scalars(select(parts.c.number).where(parts.c.number.in_(some), parts.c.searched == 0)).all()
        if new:
            pieces = [(number, _part_words(piece)) for number, piece in read_parts(connection, new).items()]
            _write(connection, "INSERT INTO part_words ({rowid}, words) VALUES ({0}, {0})", pieces)
            connection.execute(update(parts).where(parts.c.number.in_(new)).values(searched=1))
    rows = [(payload.number, *words_of(payload)) for payload in found]
    _write(connection, "INSERT INTO exchange_words ({rowid}, asked, said, others) VALUES ({0}, {0}, {0}, {0})", rows)


def forget_words(connection: Connection, payload: Payload) -> None:
    """Remove a payload, as it is stored, from the index."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("DELETE FROM exchange_words WHERE number = %s", (payload.number,))
        return
    # A table that keeps no content must be told what it is to forget.
    connection.exec_driver_sql(
        "INSERT INTO exchange_words (exchange_words, rowid, asked, said, others) VALUES ('delete', ?, ?, ?, ?)",
        (payload.number, *words_of(payload)),
    )


def forget_parts(connection: Connection, pieces: Mapping[int, Any]) -> None:
    """Remove pieces from the index."""
    for number, piece in pieces.items():
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("DELETE FROM part_words WHERE number = %s", (number,))
        else:
            connection.exec_driver_sql(
                "INSERT INTO part_words (part_words, rowid, words) VALUES ('delete', ?, ?)",
                (number, _part_words(piece)),
            )


def _start_anew(connection: Connection) -> None:
    for table in ("exchange_words", "part_words"):
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"DELETE FROM {table}")
        else:
            connection.exec_driver_sql(f"INSERT INTO {table} ({table}) VALUES ('delete-all')")
    connection.execute(update(parts).values(searched=0))
    connection.execute(update(text_index).values(indexed=0, words=WORDS))


def words_of(payload: Payload) -> tuple[str, str, str]:
    """The words that the payload's exchange added to its request, of its first reply, and of its others."""
    said = [choice["message"] for choice in payload.choices]
    asked = indexed_words(payload.own, _spoken_parts(payload))
    return _spaced(asked), _spaced(indexed_words(said[:1])), _spaced(indexed_words(said[1:]))


def _part_words(piece: Any) -> str:
    return _spaced(" ".join(tokens(piece)) if isinstance(piece, str) else "")


def _spaced(words: str) -> str:
    return f" {words} " if words else ""


def _spoken_parts(payload: Payload) -> list[int]:
    """The parts that stand where words are searched; an image does not."""
    found = []
    for number, place, *path in payload.body.get(PARTS, ()):
        if path == ["content"] or (
            len(path) == 3 and path[2] == "text" and payload.own[place]["content"][path[1]].get("type") == "text"
        ):
            found.append(number)
    return found


def _write(connection: Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    postgres = connection.dialect.name == "postgresql"
    connection.exec_driver_sql(
        statement.format("%s" if postgres else "?", rowid="number" if postgres else "rowid"), list(rows)
    )
