"""What the ingester does with batches of spans and of log records: exchanges, feedback, and what is told apart.

A call that the gateway captured itself has a span too. The gateway's record is the truer one: a span whose
`response_id` it has already becomes no exchange, its trace is noted in tags of the record that is there.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from journeyman.capture.otlp.conventions import read_conventions
from journeyman.capture.otlp.events import EVALUATION, add_content, feedback_of, is_content
from journeyman.capture.otlp.joining import WAIT_SECONDS, Joining, half
from journeyman.capture.otlp.openinference import read_openinference
from journeyman.capture.otlp.others import read_langfuse, read_mlflow, read_vercel
from journeyman.capture.otlp.signals import Event, Span, read_events, read_spans
from journeyman.capture.otlp.told import SOURCE, Told, exchange_id, exchange_of
from journeyman.records import Condition, Exchange, Feedback, Filter, Record, Tagging, WireExchange
from journeyman.store.store import Store

TRACES, LOGS = "otlp/traces", "otlp/logs"
"""Names of the spool's records that hold batches."""
_DIALECTS = (read_openinference, read_vercel, read_langfuse, read_mlflow, read_conventions)
_AT_ONCE = 50
_NEAR = timedelta(hours=1)
"""Some servers give the same response ids again after a restart: only a call of about the same time is the same."""


class OtlpHandlers:
    """Reads batches for one store; `report` says what became of them."""

    def __init__(self, store: Store, wait: float = WAIT_SECONDS) -> None:
        self._store = store
        self._joining = Joining(store, wait)
        self._counts: Counter[str] = Counter()

    def handlers(self) -> dict[str, Any]:
        """By the name of a spool's record: what the ingester's registry takes."""
        return {TRACES: self.handle_traces, LOGS: self.handle_logs}

    def handle_traces(self, about: dict[str, Any], body: bytes) -> list[Record | WireExchange]:
        """The records of a batch of spans; ValueError when it is no batch, InvalidInput when protobuf is missing."""
        found: list[WireExchange] = []
        feedback: list[Feedback] = []
        for span in read_spans(body, about.get("encoding", "protobuf")):
            if span is None:
                self._counts["damaged"] += 1
                continue
            self._counts["spans"] += 1
            told = _told(span)
            if told is not None:
                found.append(_of_span(span, told, about))
            else:
                self._counts["other_spans"] += 1
            feedback += self._feedback(_inside(span))
        kept, taggings = self._without_captured(found)
        return [*self._joined(kept), *taggings, *feedback, *self.settle()]

    def handle_logs(self, about: dict[str, Any], body: bytes) -> list[Record | WireExchange]:
        """The records of a batch of log events; ValueError when it is no batch, InvalidInput as above."""
        calls: dict[tuple[str, str], list[Event]] = {}
        evaluations = []
        for event in read_events(body, about.get("encoding", "protobuf")):
            if event is None:
                self._counts["damaged"] += 1
            elif event.name == EVALUATION:
                evaluations.append(event)
            elif is_content(event) and event.trace.strip("0") and event.span.strip("0"):
                calls.setdefault((event.trace, event.span), []).append(event)
            else:
                # Content without a span cannot be joined with anything; other log lines are none of ours.
                self._counts["unjoinable" if is_content(event) else "other_events"] += 1
        found = [_of_events(events, about) for events in calls.values()]
        kept, taggings = self._without_captured(found)
        return [*self._joined(kept), *taggings, *self._feedback(evaluations), *self.settle()]

    def settle(self, everything: bool = False) -> list[Record | WireExchange]:
        """Exchanges whose content (or span) has not come for too long, made final. To be called now and then."""
        settled = self._joining.settle(everything)
        self._counts["settled"] += len(settled)
        return [*settled]

    def report(self) -> dict[str, int]:
        """How many spans and events came, by what became of them."""
        return {**self._counts, "late": self._joining.late, "waiting": self._joining.waiting()}

    def _joined(self, found: Iterable[WireExchange]) -> list[WireExchange]:
        # A batch may hold both halves: only the last state of each exchange is to be stored.
        last = {each.id: stored for each in found if (stored := self._joining.add(each)) is not None}
        self._counts["exchanges"] += sum(1 for each in last.values() if each.state in ("complete", "failed"))
        return list(last.values())

    def _without_captured(self, found: list[WireExchange]) -> tuple[list[WireExchange], list[Tagging]]:
        """Those that nobody has captured better, and tags for the records of those that somebody has."""
        captured = same_calls(self._store, found)
        self._counts["captured_already"] += len(captured)
        taggings = [_tagging(each, captured[each.id]) for each in found if each.id in captured]
        return [each for each in found if each.id not in captured], taggings

    def _feedback(self, events: Iterable[Event]) -> Iterator[Feedback]:
        for event in events:
            if event.name != EVALUATION:
                continue
            response = event.attributes.get("gen_ai.response.id")
            about = _by_response(self._store, [response]) if isinstance(response, str) and response else {}
            near = next(iter(about.values()), [None])[0]
            feedback = feedback_of(event, near.id if near else None)
            self._counts["evaluations" if feedback else "empty_evaluations"] += 1
            if feedback:
                yield feedback


def same_calls(store: Store, found: list[WireExchange]) -> dict[str, Exchange]:
    """By the id of each of these that the store has already: the record that somebody else made of the same call.

    The same call has the same `response_id` and about the same time, and was captured by the gateway or a client, or
    is told by another span of the same trace (two instrumentations that see one call).
    """
    wanted = sorted({each.response_id for each in found if each.response_id})
    by_response = _by_response(store, wanted)
    same = {}
    for each in found:
        for record in by_response.get(each.response_id or "", ()):
            near = abs(record.at - (_EPOCH + timedelta(microseconds=each.at))) < _NEAR
            truer = record.source != SOURCE or record.trace == each.trace
            if record.id != each.id and near and truer and record.state not in ("started", "streaming"):
                same[each.id] = record
                break
    return same


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _by_response(store: Store, wanted: list[str]) -> dict[str, list[Exchange]]:
    found: dict[str, list[Exchange]] = {}
    for start in range(0, len(wanted), _AT_ONCE):
        part = wanted[start : start + _AT_ONCE]
        conditions = tuple(Condition(field="response_id", operator="=", value=each) for each in part)
        for record in store.find(Exchange, Filter(join="or", conditions=conditions)):
            found.setdefault(record.response_id or "", []).append(record)
    return found


def _tagging(told: WireExchange, record: Exchange) -> Tagging:
    identity = f"span:{told.trace}:{told.span}:{record.id}".encode()
    tags = {"otel.trace": told.trace or "", "otel.span": told.span or "", **told.tags}
    return Tagging(
        id=hashlib.blake2b(identity, digest_size=16).hexdigest(),
        at=_EPOCH + timedelta(microseconds=told.at),
        exchange_id=record.id,
        tags={name: value for name, value in tags.items() if name not in record.tags and value},
        by=SOURCE,
    )


def _told(span: Span) -> Told | None:
    """What the span tells of a call to a model, by the first dialect that knows it."""
    for read in _DIALECTS:
        told = read(span)
        if told is not None:
            for event in _inside(span):
                if is_content(event):
                    add_content(told, event)
            return told
    return None


def _inside(span: Span) -> Iterator[Event]:
    """The events inside a span, each with the ids of its span."""
    for event in span.events:
        event.trace, event.span = span.trace, span.span
        yield event


def _of_span(span: Span, told: Told, about: dict[str, Any]) -> WireExchange:
    """The exchange, final when the span holds its content too."""
    exchange = exchange_of(span, told, about)
    has_request = bool(exchange.messages)
    if has_request and (exchange.choices or exchange.error or exchange.api == "embeddings"):
        return exchange
    return half(exchange, of_span=True)


def _of_events(events: list[Event], about: dict[str, Any]) -> WireExchange:
    told = Told()
    for event in events:
        add_content(told, event)
    first = min(events, key=lambda event: event.at)
    span = Span(first.trace, first.span, "", first.at, first.at, resource=first.resource)
    return half(exchange_of(span, told, about), of_span=False)


__all__ = ["LOGS", "TRACES", "OtlpHandlers", "exchange_id", "same_calls"]
