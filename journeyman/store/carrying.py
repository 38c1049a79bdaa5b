"""Carries the exchanges of schemas 1 and 2, in which every message was a row, into the newest schema."""

import json
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, inspect, text

from journeyman.records import Exchange
from journeyman.store.writing import put_exchanges

_AT_ONCE = 500
Links = dict[str, tuple[str | None, dict[str, Any]]]

_PAGE = text(
    "SELECT id, at, tools, tokens, body FROM old_exchanges WHERE at > :at OR (at = :at AND id > :id)"
    " ORDER BY at, id LIMIT :number"
)
_LINKS = text(
    "WITH RECURSIVE wanted(hash) AS (SELECT message FROM exchange_tips WHERE exchange IN :ids"
    " UNION SELECT parent FROM messages JOIN wanted ON messages.hash = wanted.hash WHERE parent IS NOT NULL)"
    " SELECT messages.hash, parent, text, body FROM messages JOIN wanted ON messages.hash = wanted.hash"
).bindparams(bindparam("ids", expanding=True))
_TOOLS = text("SELECT hash, body FROM tool_sets WHERE hash IN :hashes").bindparams(
    bindparam("hashes", expanding=True)
)  # fmt: skip


def carry_over(connection: Connection) -> None:
    """Write the exchanges that a migration set aside into the tables of the newest schema; then theirs go."""
    if not inspect(connection).has_table("old_exchanges"):
        return
    for page in _pages(connection):
        links, tools = _links(connection, page), _tools(connection, page)
        put_exchanges(connection, [_exchange(row, links, tools) for row in page])
    for table in ("exchange_tips", "old_exchanges", "messages", "tool_sets"):
        connection.exec_driver_sql(f"DROP TABLE {table}")


def _pages(connection: Connection) -> Iterator[Sequence[Any]]:
    at, id = -(1 << 62), ""
    while page := connection.execute(_PAGE, {"at": at, "id": id, "number": _AT_ONCE}).all():
        yield page
        at, id = page[-1].at, page[-1].id


def _links(connection: Connection, page: Sequence[Any]) -> Links:
    """Each message's parent and its JSON, by its hash; plain text was kept beside the rest of it."""
    links: Links = {}
    for row in connection.execute(_LINKS, {"ids": [row.id for row in page]}):
        message = json.loads(row.body)
        if row.text is not None and "content" not in message:
            message["content"] = row.text
        links[row.hash] = (row.parent, message)
    return links


def _tools(connection: Connection, page: Sequence[Any]) -> dict[str | None, list[Any]]:
    hashes = sorted({row.tools for row in page if row.tools})
    found: dict[str | None, list[Any]] = {None: []}
    for row in connection.execute(_TOOLS, {"hashes": hashes}):
        found[row.hash] = json.loads(row.body)
    return found


def _exchange(row: Any, links: Links, tools: dict[str | None, list[Any]]) -> Exchange:
    body = json.loads(row.body) if isinstance(row.body, str) else row.body
    tokens = json.loads(zlib.decompress(row.tokens)) if row.tokens else [None] * len(body["choices"])
    choices = [
        {**choice, "message": links[choice["message"]][1], "tokens": sampled}
        for choice, sampled in zip(body["choices"], tokens, strict=True)
    ]
    messages: list[dict[str, Any]] = []
    head = body["messages"]
    while head is not None:
        head, message = links[head]
        messages.insert(0, message)
    return Exchange.model_validate({**body, "messages": messages, "tools": tools[row.tools], "choices": choices})
