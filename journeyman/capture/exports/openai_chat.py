"""Exchanges as OpenAI's chat fine-tuning rows: `{"messages": […, reply], "tools": […]}`, one a line.

What such a row cannot say is left out and counted, never bent: calls that did not complete, replies without content
and without tool calls, roles in an order that training refuses. Of a message only the format's own fields are written.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from journeyman.capture.imports.rows import encoded
from journeyman.records import Exchange, Message

_FIELDS = ("role", "content", "name", "tool_calls", "tool_call_id", "weight", "refusal")
_PARTS = ("text", "image_url", "input_audio", "file", "refusal")


def lines(exchanges: Iterable[Exchange], left_out: Counter[str]) -> Iterator[bytes]:
    """A line for each exchange that can be told; `left_out` counts the others, and the parts, by reason."""
    for exchange in exchanges:
        problem = what_cannot_be_told(exchange)
        if problem:
            left_out[problem] += 1
            continue
        left_out["further choice of a call that has several"] += len(exchange.choices) - 1
        messages = [_told(message, left_out) for message in (*exchange.messages, exchange.choices[0].message)]
        tools = {"tools": [tool.wire() for tool in exchange.tools]} if exchange.tools else {}
        yield encoded({"messages": messages, **tools}) + b"\n"


def what_cannot_be_told(exchange: Exchange) -> str | None:
    """Why the exchange is no row of this format; None when it is one."""
    if exchange.state != "complete":
        return f"call with the state {exchange.state}"
    if exchange.api == "embeddings":
        return "embeddings call"
    reply = exchange.reply
    if reply is None or not (reply.content or reply.tool_calls):
        return "reply without content and without tool calls"
    if not exchange.messages:
        return "request without messages"
    pending: set[str] = set()
    for message in exchange.messages:
        if isinstance(message.content, list) and any(part.get("type") not in _PARTS for part in message.content):
            return "content part that the format does not know"
        if message.role == "tool":
            if message.tool_call_id not in pending:
                return "tool message that answers no call before it"
            continue
        pending = {call.id for call in message.tool_calls or ()}
    return None


def _told(message: Message, left_out: Counter[str]) -> dict[str, Any]:
    wire = message.wire()
    for name in wire.keys() - set(_FIELDS):
        left_out[f"message field {name}"] += 1
    return {name: wire[name] for name in _FIELDS if name in wire}
