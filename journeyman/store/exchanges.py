"""Takes an exchange apart into rows that share what repeats, and puts it together again exactly."""

import json
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, select
from sqlalchemy.dialects.sqlite import insert

from journeyman.records import UNFINISHED, Exchange, Message, Tool
from journeyman.store.messages import chain, follow, read_message, tool_set
from journeyman.store.tables import exchange_tips, exchanges, messages, microseconds, storable, tool_sets

_AT_ONCE = 500
"""Exchanges read per query; bounds the number of SQL parameters."""


def put_exchange(connection: Connection, exchange: Exchange) -> None:
    """Keep an exchange, unless one with its id has already come to its final state."""
    state = connection.scalar(select(exchanges.c.state).where(exchanges.c.id == exchange.id))
    if state is not None and state not in UNFINISHED:
        return
    request = chain(exchange.messages)
    head = request[-1].hash if request else None
    replies = [chain([choice.message], head)[0] for choice in exchange.choices]
    links = [link._asdict() for link in (*request, *replies)]
    if links:
        connection.execute(insert(messages).on_conflict_do_nothing(), links)
    tools = None
    if exchange.tools:
        tools, body = tool_set(exchange.tools)
        connection.execute(insert(tool_sets).on_conflict_do_nothing(), {"hash": tools, "body": body})
    row = {
        "id": exchange.id,
        "at": microseconds(exchange.at),
        "session": None if exchange.session is None else storable(exchange.session),
        "state": exchange.state,
        "tools": tools,
        "tokens": _packed_tokens(exchange),
        "body": _body(exchange, head, [reply.hash for reply in replies]),
    }
    connection.execute(insert(exchanges).on_conflict_do_update(index_elements=["id"], set_=row), row)
    connection.execute(delete(exchange_tips).where(exchange_tips.c.exchange == exchange.id))
    tips = {reply.hash for reply in replies} | ({head} if head else set())
    if tips:
        connection.execute(insert(exchange_tips), [{"exchange": exchange.id, "message": tip} for tip in sorted(tips)])


def read_exchanges(connection: Connection, rows: Sequence[Row[Any]]) -> Iterator[Exchange]:
    """The exchanges that those rows of the table hold; their messages are fetched in bulk."""
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        links = _links(connection, [row.id for row in part])
        tools = _tools(connection, {row.tools for row in part if row.tools})
        for row in part:
            yield _exchange(row, links, tools.get(row.tools, ()))


def sweep(connection: Connection) -> None:
    """Remove messages and tools that no exchange needs any more."""
    kept = select(exchange_tips.c.message.label("hash")).cte("kept", recursive=True)
    parents = select(messages.c.parent).join(kept, messages.c.hash == kept.c.hash).where(messages.c.parent.is_not(None))
    connection.execute(delete(messages).where(messages.c.hash.not_in(select(kept.union(parents).c.hash))))
    used = select(exchanges.c.tools).where(exchanges.c.tools.is_not(None))
    connection.execute(delete(tool_sets).where(tool_sets.c.hash.not_in(used)))


def _body(exchange: Exchange, head: str | None, replies: Sequence[str]) -> dict[str, Any]:
    body = exchange.model_dump(mode="json", exclude={"messages", "tools", "choices"})
    choices = [
        {"message": reply, "finish_reason": choice.finish_reason}
        for reply, choice in zip(replies, exchange.choices, strict=True)
    ]
    return {**body, "messages": head, "choices": choices}


def _exchange(row: Row[Any], links: dict[str, tuple[str | None, Message]], tools: Sequence[Tool]) -> Exchange:
    body: dict[str, Any] = dict(row.body)
    tokens = json.loads(zlib.decompress(row.tokens)) if row.tokens else [None] * len(body["choices"])
    choices = [
        {**choice, "message": links[choice["message"]][1], "tokens": sampled}
        for choice, sampled in zip(body["choices"], tokens, strict=True)
    ]
    return Exchange.model_validate(
        {**body, "messages": follow(body["messages"], links), "tools": tools, "choices": choices}
    )


def _packed_tokens(exchange: Exchange) -> bytes | None:
    """Tokens of all choices. JSON writes floats so that they read back exactly, and compresses as well as raw ones."""
    if all(choice.tokens is None for choice in exchange.choices):
        return None
    written = [choice.tokens and choice.tokens.model_dump() for choice in exchange.choices]
    return zlib.compress(json.dumps(written, separators=(",", ":")).encode(), level=3)


def _links(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[str | None, Message]]:
    tips = select(exchange_tips.c.message.label("hash")).where(exchange_tips.c.exchange.in_(ids))
    wanted = tips.cte("wanted", recursive=True)
    parents = select(messages.c.parent).join(wanted, messages.c.hash == wanted.c.hash)
    wanted = wanted.union(parents.where(messages.c.parent.is_not(None)))
    rows = connection.execute(select(messages).join(wanted, messages.c.hash == wanted.c.hash))
    return {row.hash: (row.parent, read_message(row.text, row.body)) for row in rows}


def _tools(connection: Connection, hashes: set[str]) -> dict[str, tuple[Tool, ...]]:
    rows = connection.execute(select(tool_sets).where(tool_sets.c.hash.in_(hashes)))
    return {row.hash: tuple(Tool.model_validate(tool) for tool in json.loads(row.body)) for row in rows}
