"""Content and evaluations that travel as events: in the log, or inside a span."""

import hashlib
import math
from typing import Any

from journeyman.capture.otlp import content
from journeyman.capture.otlp.content import Json, written
from journeyman.capture.otlp.conventions import fill_common, read_content
from journeyman.capture.otlp.signals import Event, Span
from journeyman.capture.otlp.told import SOURCE, Told, exchange_id, finish_reason
from journeyman.records import Feedback
from journeyman.records.record import now

DETAILS = "gen_ai.client.inference.operation.details"
EVALUATION = "gen_ai.evaluation.result"
AT = "otel_at"
"""In a message that came as an event of its own: when (nanoseconds). It goes once the exchange is whole."""
_ROLES = {
    "gen_ai.system.message": "system", "gen_ai.user.message": "user", "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}  # fmt: skip
_CHOICE = "gen_ai.choice"
_OLD_CONTENT = {"gen_ai.content.prompt": "gen_ai.prompt", "gen_ai.content.completion": "gen_ai.completion"}


def is_content(event: Event) -> bool:
    """Whether the event tells a part of a call."""
    return event.name in _ROLES or event.name in (_CHOICE, DETAILS) or event.name in _OLD_CONTENT


def add_content(told: Told, event: Event) -> None:
    """Add what the event tells to what is known of its call."""
    if event.name == DETAILS:
        span = Span(event.trace, event.span, "", event.at, 0, attributes=event.attributes)
        named = Told()
        fill_common(named, span)
        told.model, told.served = told.model or named.model, told.served or named.served
        told.response_id = told.response_id or named.response_id
        told.provider = told.provider or named.provider
        messages, replies = read_content(event.attributes)
        told.messages, told.replies = told.messages or messages, told.replies or replies
        told.tools = told.tools or content.tools(event.attributes.get("gen_ai.tool.definitions"))
        return
    body = event.body if isinstance(event.body, dict) else {**event.attributes}
    told.provider = told.provider or event.attributes.get("gen_ai.system")
    if event.name in _OLD_CONTENT:
        text = content.loaded(event.attributes.get(_OLD_CONTENT[event.name]))
        for message in content.objects(text) or [{"content": text}]:
            _add(told, message, event)
    elif event.name == _CHOICE:
        _add_choice(told, body, event)
    else:
        _add(told, {**body, "role": body.get("role") or _ROLES[event.name]}, event)


def feedback_of(event: Event, about: str | None) -> Feedback | None:
    """The judgement that an evaluation event tells of the exchange `about` (by default its span's); None without any.

    Its id follows from the event, so that an exporter may send it twice.
    """
    attributes = event.attributes
    target = about or (exchange_id(event.trace, event.span) if event.trace and event.span else None)
    value, label = attributes.get("gen_ai.evaluation.score.value"), attributes.get("gen_ai.evaluation.score.label")
    number = float(value) if isinstance(value, int | float) and math.isfinite(value) else None
    reason = str(attributes.get("gen_ai.evaluation.explanation") or "")
    if target is None or (number is None and label is None and not reason):
        return None
    name = str(attributes.get("gen_ai.evaluation.name") or "evaluation")
    identity = f"{event.trace}:{event.span}:{event.at}:{name}:{target}:{value}:{label}"
    return Feedback(
        id=hashlib.blake2b(identity.encode(), digest_size=16).hexdigest(),
        at=_moment(event.at),
        exchange_id=target,
        name=name,
        value=number,
        label=None if label is None else str(label),
        reason=reason,
        by=str(attributes.get("gen_ai.evaluation.evaluator") or SOURCE),
    )


def _moment(nanoseconds: int) -> Any:
    from datetime import UTC, datetime

    try:
        return datetime.fromtimestamp(nanoseconds / 1e9, UTC) if nanoseconds > 0 else now()
    except (OverflowError, ValueError, OSError):
        return now()


def _add(told: Told, message: Json, event: Event) -> None:
    if event.name == "gen_ai.content.completion":
        told.replies.append({"message": {**message, "role": "assistant", AT: len(told.replies)}})
        return
    read: Json = {**message, "role": content.role_of(message.get("role")), AT: event.at}
    if read["role"] == "tool" and "tool_call_id" not in read:
        read["tool_call_id"] = read.pop("id", None)
    if not isinstance(read.get("content"), str | list | None):
        read["content"] = written(read["content"])
    told.messages.append(_with_calls(read))


def _add_choice(told: Told, body: Json, event: Event) -> None:
    inner = body.get("message")
    message: Json = {**inner} if isinstance(inner, dict) else {"content": content.loaded(inner)}
    index = body.get("index")
    message = {**message, "role": "assistant", AT: index if isinstance(index, int) else 0}
    if "tool_calls" in body and "tool_calls" not in message:
        message["tool_calls"] = body["tool_calls"]
    told.replies.append({"message": _with_calls(message), "finish_reason": finish_reason(body.get("finish_reason"))})


def _with_calls(message: Json) -> Json:
    calls = message.get("tool_calls")
    if not isinstance(calls, list):
        return message
    read = []
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            read.append(content.tool_call(call.get("id"), function.get("name"), function.get("arguments")))
    return {**message, "tool_calls": read}
