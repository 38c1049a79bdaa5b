"""Spans and log events as plain values, decoded from OTLP's protobuf or JSON, one by one: a bad one spoils no other."""

import base64
import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from journeyman.capture.otlp import scan
from journeyman.capture.otlp.check import Encoding, json_items, json_request, span_problem, whole_number
from journeyman.errors import InvalidInput

Attributes = dict[str, Any]
ERROR = 2
"""A span's status code when it failed."""
_DEEPEST = 40
"""Values inside values; instrumentations nest a message's parts five deep."""


@dataclass(slots=True)
class Event:
    """A log event, or an event inside a span. `at` is in nanoseconds since 1970, ids are hex ("": none)."""

    name: str
    at: int
    attributes: Attributes = field(default_factory=dict)
    body: Any = None
    trace: str = ""
    span: str = ""
    resource: Attributes = field(default_factory=dict)


@dataclass(slots=True)
class Span:
    """One span. `start` and `end` are in nanoseconds since 1970, ids are hex (`parent` "": a root)."""

    trace: str
    span: str
    name: str
    start: int
    end: int
    parent: str = ""
    attributes: Attributes = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    status: int = 0
    status_message: str = ""
    resource: Attributes = field(default_factory=dict)


def protobuf_is_there() -> bool:
    """Whether OTLP's protobuf form can be read: the extra `otlp` brings it."""
    return importlib.util.find_spec("opentelemetry") is not None and (
        importlib.util.find_spec("opentelemetry.proto") is not None
    )


def read_spans(body: bytes, encoding: Encoding) -> Iterator[Span | None]:
    """The spans of a request in order, None for each that cannot be read; ValueError when it is no request."""
    if encoding == "json":
        request, _ = json_request(body, "traces")
        for resource, _, item in json_items(request, "traces"):
            yield _readable(_span_of_json, item, resource)
        return
    messages = _Messages()
    for item in scan.items(body):
        yield _readable(messages.span, body, item)


def read_events(body: bytes, encoding: Encoding) -> Iterator[Event | None]:
    """The log records of a request in order, None for each that cannot be read; ValueError when it is no request."""
    if encoding == "json":
        request, _ = json_request(body, "logs")
        for resource, _, item in json_items(request, "logs"):
            yield _readable(_event_of_json, item, resource)
        return
    messages = _Messages()
    for item in scan.items(body):
        yield _readable(messages.event, body, item)


def _readable(read: Any, *parts: Any) -> Any:
    try:
        return read(*parts)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


def _span_of_json(item: Any, resource: Any) -> Span:
    problem = span_problem(item)
    if problem:
        raise ValueError(problem)
    status = item.get("status") or {}
    return Span(
        trace=item["traceId"].lower(),
        span=item["spanId"].lower(),
        parent=(item.get("parentSpanId") or "").lower(),
        name=str(item.get("name") or ""),
        start=whole_number(item["startTimeUnixNano"]),
        end=whole_number(item.get("endTimeUnixNano")),
        attributes=_attributes(item.get("attributes")),
        events=[_inner_event(each) for each in item.get("events") or []],
        status=ERROR if status.get("code") in (ERROR, "STATUS_CODE_ERROR") else 0,
        status_message=str(status.get("message") or ""),
        resource=_attributes((resource or {}).get("attributes")),
    )


def _inner_event(item: Any) -> Event:
    name, at = str(item.get("name") or ""), whole_number(item.get("timeUnixNano"))
    return Event(name, at, _attributes(item.get("attributes")))


def _event_of_json(item: Any, resource: Any) -> Event:
    attributes = _attributes(item.get("attributes"))
    return Event(
        name=_event_name(item.get("eventName"), attributes),
        at=whole_number(item.get("timeUnixNano")) or whole_number(item.get("observedTimeUnixNano")),
        attributes=attributes,
        body=_value(item.get("body") or {}),
        trace=str(item.get("traceId") or "").lower(),
        span=str(item.get("spanId") or "").lower(),
        resource=_attributes((resource or {}).get("attributes")),
    )


def _event_name(told: Any, attributes: Attributes) -> str:
    """Its own field in newer exporters, an attribute in older ones."""
    return str(told or attributes.get("event.name") or "")


def _attributes(items: Any) -> Attributes:
    return {str(item["key"]): _value(item.get("value") or {}) for item in items or [] if "key" in item}


def _value(value: Any, depth: int = 0) -> Any:
    """A value of OTLP's JSON form as plain Python; an empty one is null."""
    if depth > _DEEPEST:
        raise ValueError(f"a value nests deeper than {_DEEPEST} levels")
    for name, inner in value.items():
        match name:
            case "stringValue" | "boolValue":
                return inner
            case "intValue":
                return whole_number(inner)
            case "doubleValue":
                return float(inner)
            case "bytesValue":
                return base64.b64decode(inner).decode("utf-8", "replace")
            case "arrayValue":
                return [_value(each, depth + 1) for each in inner.get("values") or []]
            case "kvlistValue":
                return {
                    str(each["key"]): _value(each.get("value") or {}, depth + 1) for each in inner.get("values") or []
                }
    return None


class _Messages:
    """Reads single protobuf messages; InvalidInput when the library for it is absent."""

    def __init__(self) -> None:
        if not protobuf_is_there():
            raise InvalidInput(
                "OTLP in protobuf needs the package opentelemetry-proto; the batch is kept. "
                "Install journeyman[otlp] and start the gateway again"
            )
        from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
        from opentelemetry.proto.resource.v1.resource_pb2 import Resource
        from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

        self._error: type[Exception] = importlib.import_module("google.protobuf.message").DecodeError
        self._log, self._resource, self._span = LogRecord, Resource, SpanMessage
        self._resources: dict[tuple[int, int], Attributes] = {}

    def span(self, body: bytes, item: scan.Item) -> Span:
        """The span at that place; ValueError when it cannot be read."""
        message = self._parsed(self._span, body[item.start : item.end])
        trace, span = message.trace_id.hex(), message.span_id.hex()
        problem = span_problem({"traceId": trace, "spanId": span, "startTimeUnixNano": message.start_time_unix_nano})
        if problem:
            raise ValueError(problem)
        return Span(
            trace=trace,
            span=span,
            parent=message.parent_span_id.hex(),
            name=message.name,
            start=message.start_time_unix_nano,
            end=message.end_time_unix_nano,
            attributes=_pairs(message.attributes),
            events=[Event(each.name, each.time_unix_nano, _pairs(each.attributes)) for each in message.events],
            status=message.status.code,
            status_message=message.status.message,
            resource=self._resource_of(body, item),
        )

    def event(self, body: bytes, item: scan.Item) -> Event:
        """The log record at that place; ValueError when it cannot be read."""
        message = self._parsed(self._log, body[item.start : item.end])
        attributes = _pairs(message.attributes)
        return Event(
            name=_event_name(getattr(message, "event_name", ""), attributes),
            at=message.time_unix_nano or message.observed_time_unix_nano,
            attributes=attributes,
            body=_plain(message.body),
            trace=message.trace_id.hex(),
            span=message.span_id.hex(),
            resource=self._resource_of(body, item),
        )

    def _resource_of(self, body: bytes, item: scan.Item) -> Attributes:
        start, end = item.resource
        if item.resource not in self._resources:
            self._resources[item.resource] = _pairs(self._parsed(self._resource, body[start:end]).attributes)
        return self._resources[item.resource]

    def _parsed(self, kind: Any, data: bytes) -> Any:
        try:
            return kind.FromString(data)
        except self._error as error:
            raise ValueError(str(error)) from error


def _pairs(items: Any) -> Attributes:
    return {item.key: _plain(item.value) for item in items}


def _plain(value: Any, depth: int = 0) -> Any:
    """A protobuf AnyValue as plain Python."""
    if depth > _DEEPEST:
        raise ValueError(f"a value nests deeper than {_DEEPEST} levels")
    kind = value.WhichOneof("value")
    match kind:
        case None:
            return None
        case "array_value":
            return [_plain(each, depth + 1) for each in value.array_value.values]
        case "kvlist_value":
            return {each.key: _plain(each.value, depth + 1) for each in value.kvlist_value.values}
        case "bytes_value":
            return value.bytes_value.decode("utf-8", "replace")
    return getattr(value, kind)
