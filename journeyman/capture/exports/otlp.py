"""Exchanges as OpenTelemetry spans in OTLP/JSON, with the attributes of the GenAI semantic conventions.

A span's trace is that of the caller where one is known, its parent the caller's span; calls of one session without a
trace share one. Messages, tools and system instructions are the conventions' opt-in content, as JSON strings. Token
ids, log-probabilities and unknown message fields have no place there: a span is lossy.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

from journeyman.capture.imports.rows import encoded, nested
from journeyman.records import Exchange, Message

Json = dict[str, Any]

SPANS_AT_ONCE = 100
"""Spans in one ExportTraceServiceRequest; a few hundred kilobytes for usual conversations."""

_OPERATIONS = {"completions": "text_completion", "embeddings": "embeddings"}
_HEX = re.compile(r"[0-9a-f]{32}")
_SPAN_HEX = re.compile(r"[0-9a-f]{16}")
_CLIENT, _ERROR = 3, 2
_SAMPLING = {
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens", "seed": "seed", "n": "choice.count",
    "frequency_penalty": "frequency_penalty", "presence_penalty": "presence_penalty",
}  # fmt: skip


def requests(exchanges: Iterable[Exchange]) -> Iterator[tuple[bytes, int]]:
    """ExportTraceServiceRequests in JSON, each with the number of its spans."""
    waiting: list[Json] = []
    for exchange in exchanges:
        waiting.append(span(exchange))
        if len(waiting) == SPANS_AT_ONCE:
            yield _request(waiting), len(waiting)
            waiting = []
    if waiting:
        yield _request(waiting), len(waiting)


def span(exchange: Exchange) -> Json:
    """The span of an exchange."""
    begun = int(exchange.at.timestamp() * 1_000_000) * 1000
    operation = _OPERATIONS.get(exchange.api, "chat")
    told: Json = {
        "traceId": _trace(exchange),
        "spanId": hashlib.blake2b(exchange.id.encode(), digest_size=8).hexdigest(),
        "name": f"{operation} {exchange.model}",
        "kind": _CLIENT,
        "startTimeUnixNano": str(begun),
        "endTimeUnixNano": str(begun + int((exchange.latency or 0) * 1e9)),
        "attributes": [{"key": name, "value": _value(each)} for name, each in _attributes(exchange, operation).items()],
    }
    if exchange.span and _SPAN_HEX.fullmatch(exchange.span):
        told["parentSpanId"] = exchange.span
    if exchange.state != "complete":
        told["status"] = {"code": _ERROR, "message": exchange.error or exchange.state}
    return told


def _request(spans: list[Json]) -> bytes:
    scope = {"scope": {"name": "journeyman"}, "spans": spans}
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "journeyman"}}]}
    return encoded({"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]}) + b"\n"


def _trace(exchange: Exchange) -> str:
    if exchange.trace and _HEX.fullmatch(exchange.trace):
        return exchange.trace
    named = exchange.trace or exchange.session or exchange.id
    return hashlib.blake2b(named.encode("utf-8", "replace"), digest_size=16).hexdigest()


def _attributes(exchange: Exchange, operation: str) -> Json:
    usage, sampling = exchange.usage, exchange.sampling.wire()
    stop = sampling.get("stop")
    told = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": exchange.upstream,
        "gen_ai.request.model": exchange.model,
        "gen_ai.response.model": exchange.served,
        "gen_ai.response.id": exchange.response_id,
        "gen_ai.response.finish_reasons": [each.finish_reason for each in exchange.choices if each.finish_reason],
        "gen_ai.response.time_to_first_chunk": exchange.time_to_first_token,
        "gen_ai.conversation.id": exchange.session,
        "gen_ai.usage.input_tokens": usage.prompt_tokens or None,
        "gen_ai.usage.output_tokens": usage.completion_tokens or None,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_prompt_tokens or None,
        "gen_ai.request.stop_sequences": [stop] if isinstance(stop, str) else stop,
        **{f"gen_ai.request.{name}": sampling.get(wire) for wire, name in _SAMPLING.items() if wire in sampling},
        "error.type": None if exchange.state == "complete" else str(exchange.status or exchange.state),
        "http.response.status_code": exchange.status,
        "user.id": exchange.person,
        **_content(exchange),
        **{f"journeyman.tag.{name}": each for name, each in exchange.tags.items()},
        "journeyman.exchange.id": exchange.id,
        "journeyman.exchange.state": exchange.state,
        "journeyman.exchange.fidelity": exchange.fidelity,
        "journeyman.cost_usd": exchange.cost_usd,
    }
    return {name: each for name, each in told.items() if each is not None and each != []}


def _content(exchange: Exchange) -> Json:
    system = [part for each in exchange.messages if each.role in ("system", "developer") for part in _parts(each)]
    asked = [_message(each) for each in exchange.messages if each.role not in ("system", "developer")]
    said = [{**_message(each.message), "finish_reason": each.finish_reason or ""} for each in exchange.choices]
    tools = [{"type": "function", **tool.function.wire()} for tool in exchange.tools]
    content = {
        "gen_ai.system_instructions": system,
        "gen_ai.input.messages": asked,
        "gen_ai.output.messages": said,
        "gen_ai.tool.definitions": tools,
    }
    return {name: encoded(each).decode() for name, each in content.items() if each}


def _message(message: Message) -> Json:
    return {"role": message.role, "parts": _parts(message)}


def _parts(message: Message) -> list[Json]:
    if message.role == "tool":
        return [{"type": "tool_call_response", "id": message.tool_call_id, "response": message.text}]
    parts: list[Json] = []
    thoughts = (message.model_extra or {}).get("reasoning_content")
    if isinstance(thoughts, str) and thoughts:
        parts.append({"type": "reasoning", "content": thoughts})
    if isinstance(message.content, str) and message.content:
        parts.append({"type": "text", "content": message.content})
    for part in message.content if isinstance(message.content, list) else ():
        parts.append({"type": "text", "content": part.get("text", "")} if part.get("type") == "text" else part)
    for call in message.tool_calls or ():
        arguments = nested(call.function.arguments)
        parts.append({"type": "tool_call", "id": call.id, "name": call.function.name, "arguments": arguments})
    return parts


def _value(value: Any) -> Json:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(each) for each in value]}}
    return {"stringValue": value if isinstance(value, str) else encoded(value).decode()}
