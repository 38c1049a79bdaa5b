"""Langfuse's observations, traces and scores: exports of its tables, its API's answers, its blob storage files.

    {"id": "…", "type": "GENERATION", "traceId": "…", "startTime": "…", "endTime": "…", "completionStartTime": "…",
     "model": "…", "modelParameters": {…}, "input": [messages] or {chat request}, "output": {message} or "…",
     "usageDetails": {"input": 9, "output": 3}, "costDetails": {"total": 0.0001}, "level": "ERROR",
     "statusMessage": "…", "sessionId": "…", "userId": "…", "tags": ["…"], "metadata": {…}}
    {"id": "…", "timestamp": "…", "name": "…", "sessionId": "…", "userId": "…", "tags": […], "observations": […]}
    {"id": "…", "name": "helpful", "value": 1, "stringValue": "…", "comment": "…", "traceId": "…",
     "observationId": "…", "dataType": "NUMERIC"}

Names in camelCase, snake_case, or as CSV columns; JSON as objects or strings. Only generations and embeddings become
exchanges; other observations are passed over. The session is Langfuse's, else the trace; a trace's rows lend their
session, user and tags to its observations when both are imported together. A score of a trace becomes one of that
session. Reconstructed where input and output are whole bodies, else lossy: the instrumented program wrote both.
"""

import re
from typing import Any

from journeyman.capture.imports.rows import (
    Call,
    Imported,
    Json,
    Origin,
    api_of,
    encoded,
    exchange,
    feedback,
    list_of,
    moment,
    nested,
    number,
    object_of,
    score,
    tags,
    text,
    whole,
)
from journeyman.errors import InvalidInput
from journeyman.records import Fidelity, WireExchange

_CALLS = ("GENERATION", "EMBEDDING")
_ROLES = {"human": "user", "ai": "assistant", "model": "assistant", "function": "tool"}
_SNAKE = re.compile(r"(?<=[a-z])(?=[A-Z])")


def aside(row: Json) -> tuple[str, Json] | None:
    """What observations and scores look for: the facts of their trace, if this row is one."""
    names = ("id", "name", "sessionId", "session_id", "userId", "user_id", "tags", "environment")
    return (str(row["id"]), {name: row[name] for name in names if name in row}) if _is_trace(row) else None


def read_row(row: Json, origin: Origin) -> list[Imported]:
    """The exchange of an observation, the feedback of a score; of a trace, what its own parts are."""
    if "data" in row and isinstance(row["data"], list):
        return [each for part in list_of(row["data"]) for each in read_row(part, origin)]
    if _is_trace(row) or isinstance(row.get("trace"), dict):
        return _trace(row, origin)
    if "name" in row and ("value" in row or _at(row, "stringValue") is not None) and "type" not in row:
        return _score(row, origin)
    if str(row.get("type", "GENERATION")).upper() not in _CALLS:
        return []
    return [_observation(row, origin, _trace_of(row, origin))]


def _is_trace(row: Json) -> bool:
    return "timestamp" in row and "id" in row and "type" not in row and "value" not in row and "data" not in row


def _trace(row: Json, origin: Origin) -> list[Imported]:
    facts: Json = {**row, **object_of(row.get("trace"))}
    found: list[Imported] = []
    for part in list_of(facts.get("observations")):
        if str(part.get("type", "")).upper() in _CALLS:
            found.append(_observation(part, origin, facts))
    for part in list_of(facts.get("scores")):
        found += _score({"traceId": facts.get("id"), **part}, origin, facts)
    return found


def _trace_of(row: Json, origin: Origin) -> Json:
    return next(iter(origin.beside(text(_at(row, "traceId")) or "")), {})


def _observation(row: Json, origin: Origin, trace: Json) -> WireExchange:
    request, whole_request = _request(row)
    response, whole_response = _response(nested(_at(row, "output")))
    if not request and not response:
        raise InvalidInput("has neither input nor output; export it with both")
    begun, ended = moment(_at(row, "startTime")), moment(_at(row, "endTime"))
    usage = {**object_of(_at(row, "usage")), **object_of(_at(row, "usageDetails"))}
    costs, first = object_of(_at(row, "costDetails")), moment(_at(row, "completionStartTime"))
    trace_id = text(_at(row, "traceId"))
    failed = str(_at(row, "level")).upper() == "ERROR"
    told = Call(
        at=begun,
        model=text(_at(row, "model")) or text(_at(row, "providedModelName")) or text(request.get("model")),
        prompt_tokens=whole(usage.get("input", usage.get("prompt_tokens", _at(row, "promptTokens")))),
        completion_tokens=whole(usage.get("output", usage.get("completion_tokens", _at(row, "completionTokens")))),
        cost_usd=number(costs.get("total", _at(row, "totalCost") or _at(row, "calculatedTotalCost"))),
        latency=(ended - begun) / 1e6 if begun and ended and ended >= begun else None,
        time_to_first_token=(first - begun) / 1e6 if begun and first and first >= begun else None,
        error=(text(_at(row, "statusMessage")) or "Langfuse's level is ERROR") if failed else None,
        session=text(_at(row, "sessionId")) or text(_at(trace, "sessionId")) or trace_id,
        person=text(_at(row, "userId")) or text(_at(trace, "userId")),
        external_id=text(row.get("id")),
        trace=trace_id,
        span=text(row.get("id")),
        tags=_tags(row, trace),
    )
    id = origin.id("observation", text(row.get("id")) or [request, response])
    fidelity: Fidelity = "reconstructed" if whole_request and whole_response else "lossy"
    return exchange(origin, id, request, response or None, fidelity, told)


def _tags(row: Json, trace: Json) -> dict[str, str]:
    given = {**tags(trace.get("tags")), **tags(_at(row, "traceTags")), **tags(row.get("tags"))}
    names = {"name": text(row.get("name")), "trace": text(_at(row, "traceName")) or text(trace.get("name"))}
    names["environment"] = text(row.get("environment")) or text(trace.get("environment"))
    return {**tags(row.get("metadata")), **given, **{name: each for name, each in names.items() if each}}


def _request(row: Json) -> tuple[Json, bool]:
    """The request's body, and whether it is the program's own rather than put together by us."""
    asked, parameters = nested(_at(row, "input")), object_of(_at(row, "modelParameters"))
    if isinstance(asked, dict) and any(name in asked for name in ("messages", "input", "prompt")):
        return {**parameters, **asked}, True
    definitions = list_of(_at(row, "toolDefinitions"))
    tools = [each if "function" in each else {"type": "function", "function": each} for each in definitions]
    if asked in (None, "", [], {}):
        return {}, False
    return {**parameters, **({"tools": tools} if tools else {}), "messages": _messages(asked, "user")}, False


def _response(said: Any) -> tuple[Json, bool]:
    """The answer's body, and whether it is the upstream's own rather than put together by us."""
    if isinstance(said, dict) and ("choices" in said or api_of({}, said) in ("messages", "responses")):
        return said, True
    if said in (None, "", [], {}):
        return {}, False
    reply = _messages(said, "assistant")[-1]
    return {"choices": [{"index": 0, "message": reply}]}, False


def _messages(said: Any, role: str) -> list[Json]:
    if isinstance(said, dict) and "role" not in said and isinstance(said.get("completion"), str):
        said = said["completion"]
    parts = said if isinstance(said, list) and all(isinstance(each, dict) for each in said) and said else [said]
    return [_message(each, role) for each in parts]


def _message(said: Any, role: str) -> Json:
    if not isinstance(said, dict):
        return {"role": role, "content": said if isinstance(said, str) else encoded(said).decode()}
    if not isinstance(said.get("role"), str) and "content" not in said and "tool_calls" not in said:
        return {"role": role, "content": encoded(said).decode()}
    named = str(said.get("role") or role).lower()
    kept = {name: each for name, each in said.items() if each is not None and name not in ("role", "additional_kwargs")}
    calls = object_of(said.get("additional_kwargs")).get("tool_calls")
    content = kept.get("content")
    if isinstance(content, dict):
        kept["content"] = encoded(content).decode()
    return {"role": _ROLES.get(named, named), **({"tool_calls": calls} if calls else {}), **kept}


def _score(row: Json, origin: Origin, trace: Json | None = None) -> list[Imported]:
    about = text(_at(row, "observationId"))
    trace_id = text(_at(row, "traceId"))
    facts = trace if trace is not None else _trace_of(row, origin)
    session = text(_at(row, "sessionId")) or text(_at(facts, "sessionId")) or trace_id
    if about is None and session is None:
        raise InvalidInput("is a score of nothing: it has no observationId, traceId or sessionId")
    label = text(_at(row, "stringValue")) or (row["value"] if isinstance(row.get("value"), str) else None)
    name, given = text(row.get("name")) or "score", row.get("value")
    # Text may be a number in a table's cell, or a category such as `nan`.
    value = number(given) if isinstance(given, str) else score(name, given)
    is_correction = str(_at(row, "dataType")).upper() == "CORRECTION"
    made = feedback(
        origin,
        name,
        exchange_id=None if about is None else origin.id("observation", about),
        session=session if about is None else None,
        value=None if is_correction else value,
        label=None if value is not None or is_correction else label,
        reason=text(row.get("comment")) or "",
        correction={"role": "assistant", "content": label} if is_correction and label else None,
        at=moment(row.get("timestamp") or _at(row, "createdAt")),
        key=text(row.get("id")) or "",
    )
    return [made]


def _at(row: Json, name: str) -> Any:
    """A field under its camelCase or its snake_case name."""
    return row[name] if name in row else row.get(_SNAKE.sub("_", name).lower())
