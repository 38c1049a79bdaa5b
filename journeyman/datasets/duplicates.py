"""Recognises conversations that say the same, whatever ids and wire details they came with.

The same message looks different when a client sends it back: null content becomes absent, provider's extra fields
are dropped, arguments are written anew. What a model can learn from it stays the same, and only that is compared.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

from journeyman.records import Message, Row, Tool


def essence(messages: Iterable[Message], tools: Sequence[Tool] = ()) -> list[str]:
    """One hash per message: of the tools, of all that was said before it, and of what it says itself.

    A conversation that starts like another has its hashes as a prefix. Tool calls count by their order, not their id.
    """
    running = hashlib.sha256(json.dumps([tool.wire() for tool in tools], sort_keys=True).encode())
    order: dict[str, int] = {}
    number = count()
    hashes = []
    for message in messages:
        calls = []
        for call in message.tool_calls or ():
            order[call.id] = next(number)
            calls.append([call.function.name, _arguments(call.function.arguments)])
        answered = order.get(message.tool_call_id, message.tool_call_id) if message.tool_call_id else None
        said = [message.role, message.name, message.content or "", calls, answered]
        running.update(json.dumps(said, sort_keys=True).encode())
        hashes.append(running.hexdigest())
    return hashes


def without_duplicates(rows: Sequence[Row]) -> tuple[list[Row], int]:
    """Rows of which no two say the same (the first one stays), and how many were dropped."""
    first: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        rejected = essence(row.rejected, row.tools)[-1] if row.rejected else None
        first.setdefault((essence(row.messages, row.tools)[-1], rejected, row.label, row.score), row)
    return list(first.values()), len(rows) - len(first)


def _arguments(written: str) -> str:
    try:
        return json.dumps(json.loads(written), sort_keys=True)
    except ValueError:
        return written
