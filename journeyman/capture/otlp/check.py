"""Says which spans and log records of a request can be taken, before the request is acknowledged."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from journeyman.capture.otlp import scan

Signal = Literal["traces", "logs"]
Encoding = Literal["protobuf", "json"]
_AT_ONCE = 64
"""Items that are checked between two pauses: about half a millisecond."""
_REASONS = 3


@dataclass
class Verdict:
    """What a request holds: which signal in truth, how many of its items can be taken, and why the others cannot."""

    signal: Signal
    accepted: int = 0
    rejected: int = 0
    reasons: list[str] = field(default_factory=list)

    def add(self, number: int, problem: str | None) -> None:
        """Count one item (from 0); the first few problems are kept."""
        if problem is None:
            self.accepted += 1
            return
        self.rejected += 1
        if len(self.reasons) < _REASONS:
            noun = "span" if self.signal == "traces" else "log record"
            self.reasons.append(f"{noun} {number}: {problem}")

    @property
    def message(self) -> str:
        """Why items were left out, in a sentence; empty when none was."""
        if not self.rejected:
            return ""
        more = ", and more like these" if self.rejected > len(self.reasons) else ""
        return f"{self.rejected} of {self.rejected + self.accepted} left out, the others kept: " + (
            "; ".join(self.reasons) + more
        )


def checking(body: bytes, encoding: Encoding, signal: Signal) -> Iterator[Verdict]:
    """Check a request in steps of half a millisecond: the verdict after each step, the last one is whole.

    ValueError when the body is no OTLP request at all. JSON is parsed in one step.
    """
    if encoding == "json":
        yield _check_json(body, signal)
        return
    found = signal
    first = next(scan.items(body), None)
    if first is not None:
        found = "logs" if _is_log_record(body, first, otherwise=signal == "logs") else "traces"
    verdict = Verdict(found)
    problem_of = _span_problem if found == "traces" else _log_problem
    for number, item in enumerate(scan.items(body)):
        try:
            problem = problem_of(body, item)
        except ValueError as error:
            problem = str(error)
        verdict.add(number, problem)
        if number % _AT_ONCE == _AT_ONCE - 1:
            yield verdict
    yield verdict


def check(body: bytes, encoding: Encoding, signal: Signal) -> Verdict:
    """`checking` in one go."""
    *_, verdict = checking(body, encoding, signal)
    return verdict


def span_problem(span: Any) -> str | None:
    """Why a span of OTLP's JSON form cannot be taken; None when it can."""
    if not isinstance(span, dict):
        return "it is no object"
    for name, digits in (("traceId", 32), ("spanId", 16)):
        if not _is_id(span.get(name), digits):
            return f"{name} is not {digits} hex digits, or all zero"
    if whole_number(span.get("startTimeUnixNano")) <= 0:
        return "startTimeUnixNano is missing"
    return None


def whole_number(value: Any) -> int:
    """An int64 of OTLP's JSON form, which may be text; 0 when it is none."""
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, str) and value.isascii() and value.lstrip("-").isdigit() else 0


def json_items(request: Any, signal: Signal) -> Iterator[tuple[Any, Any, Any]]:
    """Resource, scope and item of all items of a request in JSON; ValueError when it is none."""
    outer, middle, inner = _JSON_NAMES[signal]
    for resource_part in _objects(request, outer):
        for scope_part in _objects(resource_part, middle):
            items = scope_part.get(inner) or []
            if not isinstance(items, list):
                raise ValueError(f"`{inner}` is no list")
            for item in items:
                yield resource_part.get("resource"), scope_part.get("scope"), item


_JSON_NAMES = {
    "traces": ("resourceSpans", "scopeSpans", "spans"),
    "logs": ("resourceLogs", "scopeLogs", "logRecords"),
}


def json_request(body: bytes, signal: Signal) -> tuple[Any, Signal]:
    """The request, and the signal that it holds, whatever it was sent as; ValueError when it is no OTLP request."""
    request = orjson.loads(body)
    if not isinstance(request, dict):
        raise ValueError("the body is no JSON object")
    other: Signal = "logs" if signal == "traces" else "traces"
    if _JSON_NAMES[signal][0] not in request and _JSON_NAMES[other][0] in request:
        return request, other
    return request, signal


def _check_json(body: bytes, signal: Signal) -> Verdict:
    request, found = json_request(body, signal)
    verdict = Verdict(found)
    for number, (_, _, item) in enumerate(json_items(request, found)):
        if found == "traces":
            verdict.add(number, span_problem(item))
        else:
            verdict.add(number, None if isinstance(item, dict) else "it is no object")
    return verdict


def _objects(parent: Any, name: str) -> list[dict[str, Any]]:
    value = parent.get(name) or []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise ValueError(f"`{name}` is no list of objects")
    return value


def _is_id(value: Any, digits: int) -> bool:
    if not isinstance(value, str) or len(value) != digits or not value.strip("0"):
        return False
    try:
        return len(bytes.fromhex(value)) * 2 == digits
    except ValueError:
        return False


def _span_problem(data: bytes, item: scan.Item) -> str | None:
    missing = {1: "trace id of 16 bytes", 2: "span id of 8 bytes", 7: "start time"}
    for number, wire, start, end in scan.entries(data, item.start, item.end):
        if (
            (number == 1 and wire == scan.BYTES and end - start == 16 and any(data[start:end]))
            or (number == 2 and wire == scan.BYTES and end - start == 8 and any(data[start:end]))
            or (number == 7 and wire == scan.FIXED64 and any(data[start:end]))
        ):
            missing.pop(number, None)
            if not missing:
                return None
    return f"it has no {next(iter(missing.values()))}"


def _log_problem(data: bytes, item: scan.Item) -> str | None:
    for _ in scan.entries(data, item.start, item.end):
        continue
    return None


def _is_log_record(data: bytes, item: scan.Item, otherwise: bool) -> bool:
    """The two have different wire types in most of their fields; `otherwise` where the item has none of these."""
    try:
        for number, wire, _, _ in scan.entries(data, item.start, item.end):
            if (number, wire) in _ONLY_IN_LOGS or (number, wire) in _ONLY_IN_SPANS:
                return (number, wire) in _ONLY_IN_LOGS
    except ValueError:
        return otherwise
    return otherwise


_ONLY_IN_LOGS = frozenset(
    [(1, scan.FIXED64), (2, scan.VARINT), (6, scan.BYTES), (8, scan.FIXED32), (11, scan.FIXED64), (12, scan.BYTES)]
)
_ONLY_IN_SPANS = frozenset(
    [(1, scan.BYTES), (2, scan.BYTES), (6, scan.VARINT), (7, scan.FIXED64), (8, scan.FIXED64), (11, scan.BYTES)]
)
