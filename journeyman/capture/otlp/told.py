"""What one span tells of a call to a model, whatever dialect it speaks, and the exchange that this amounts to."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import orjson

from journeyman.capture.frames import CallEnd, CallStart
from journeyman.capture.otlp.content import Json
from journeyman.capture.otlp.signals import ERROR, Attributes, Span
from journeyman.capture.parsing import parse
from journeyman.records import Api, WireExchange

SOURCE = "otlp"
_FINISH_REASONS = {"tool_call": "tool_calls"}
"""The conventions' word, and OpenAI's: instrumentations translate the second into the first."""


@dataclass
class Told:
    """A call as a span tells it, in the shapes of OpenAI's chat. None and empty: not told.

    `request` and `answer` are the bodies as they crossed the wire, where the span has them; the rest then only fills
    in what they lack. `time_to_first_token` is in seconds.
    """

    api: Api = "chat"
    model: str | None = None
    served: str | None = None
    provider: str | None = None
    messages: list[Json] = field(default_factory=list)
    tools: list[Json] = field(default_factory=list)
    sampling: Json = field(default_factory=dict)
    replies: list[Json] = field(default_factory=list)
    """`{message, finish_reason}` each."""
    finish_reasons: list[str] = field(default_factory=list)
    prompt_tokens: Any = None
    completion_tokens: Any = None
    cached_prompt_tokens: Any = None
    cost_usd: float | None = None
    response_id: str | None = None
    time_to_first_token: float | None = None
    session: str | None = None
    person: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    request: Json | None = None
    answer: Json | None = None


def exchange_id(trace: str, span: str) -> str:
    """The id of the exchange that a span tells of: always the same, so that an exporter may send it twice."""
    return hashlib.blake2b(f"{trace}:{span}".encode(), digest_size=16).hexdigest()


def exchange_of(span: Span, told: Told, about: Json) -> WireExchange:
    """The exchange; `reconstructed` when the wire's own bodies were there, `lossy` otherwise."""
    error = _error(span)
    for name in ("model", "served", "provider", "response_id", "session", "person"):
        # Attributes may hold anything; an empty name is none.
        value = getattr(told, name)
        setattr(told, name, str(value) if isinstance(value, str | int) and value else None)
    start = CallStart(
        id=exchange_id(span.trace, span.span),
        at=span.start // 1000,
        api=told.api,
        source=SOURCE,
        model=told.model or told.served or "unknown",
        traceparent=f"00-{span.trace}-{span.span}-01",
        project=about.get("project") or "default",
        tags=_tags(span, told),
    )
    if about.get("key"):
        start["key"] = about["key"]
    if told.provider:
        start["upstream"] = told.provider
    if told.served:
        start["served"] = told.served
    end = CallEnd(state="failed" if error else "complete", error=error, latency=_seconds(span.end - span.start))
    request = told.request if told.request is not None else _request(told)
    answer = told.answer if told.answer is not None else _answer(told)
    found = parse(start, _bytes(request), b"" if answer is None else _bytes(answer), end)
    found.state, found.error = ("failed", error) if error else ("complete", None)
    found.choices = [choice for choice in found.choices if _says_something(choice)]
    whole = told.request is not None and (told.answer is not None or error is not None)
    found.fidelity = "reconstructed" if whole and found.fidelity != "lossy" else "lossy"
    found.time_to_first_token = told.time_to_first_token
    found.cost_usd = told.cost_usd
    found.session, found.person = told.session, told.person or found.person
    found.response_id = told.response_id or found.response_id
    if found.prompt_tokens == found.completion_tokens == 0:
        found.prompt_tokens, found.completion_tokens = count(told.prompt_tokens), count(told.completion_tokens)
        found.cached_prompt_tokens = min(count(told.cached_prompt_tokens), found.prompt_tokens)
    return found


def count(value: Any) -> int:
    """A number of tokens; 0 when it is none."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return 0
    return number if 0 <= number < 1 << 50 else 0


def finish_reason(told: Any) -> str | None:
    """A finish reason in OpenAI's words where the conventions have another; None when none was told."""
    return _FINISH_REASONS.get(told, told) if isinstance(told, str) and told else None


def _request(told: Told) -> Json:
    body: Json = {**told.sampling, "messages": told.messages}
    if told.tools:
        body["tools"] = told.tools
    if told.api == "embeddings":
        body["input"] = [message.get("content") for message in body.pop("messages")]
    return body


def _answer(told: Told) -> Json | None:
    """A chat completion's body with what was told; without replies, one that awaits them."""
    if told.api == "embeddings":
        return {"object": "list", "data": []}
    reasons = [finish_reason(reason) for reason in told.finish_reasons]
    choices = []
    for index, reply in enumerate(told.replies):
        reason = finish_reason(reply.get("finish_reason"))
        if len(reasons) == len(told.replies):
            reason = reasons[index] or reason
        choices.append({"index": index, "message": reply.get("message") or {}, "finish_reason": reason})
    return {"object": "chat.completion", "choices": choices, "model": told.served, "id": told.response_id}


def _says_something(choice: Json) -> bool:
    return len(choice.get("message") or {}) > 1 or choice.get("finish_reason") is not None


def _error(span: Span) -> str | None:
    """Why the call failed; None when it did not."""
    failure: Attributes = next((event.attributes for event in span.events if event.name == "exception"), {})
    kind = span.attributes.get("error.type") or failure.get("exception.type")
    if span.status != ERROR and not span.attributes.get("error.type"):
        return None
    said = span.status_message or failure.get("exception.message") or ""
    return f"{kind}: {said}" if kind and said and str(kind) not in str(said) else str(said or kind or "the call failed")


def _tags(span: Span, told: Told) -> dict[str, str]:
    tags = dict(told.tags)
    if service := span.resource.get("service.name"):
        tags.setdefault("service", str(service))
    if span.parent:
        tags["otel.parent"] = span.parent
    return tags


def _bytes(body: Json) -> bytes:
    try:
        return orjson.dumps(body, default=str, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # an integer of more than 64 bits, or half a surrogate pair
        return json.dumps(body, default=str).encode()


def _seconds(nanoseconds: int) -> float:
    return max(nanoseconds, 0) / 1e9
