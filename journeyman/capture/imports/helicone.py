"""Helicone's requests, as its export tool and `POST /v1/request/query` give them (JSON, JSON lines or CSV).

    {"request_id": "…", "request_created_at": "2026-07-01T10:00:00Z", "request_path": "…/v1/chat/completions",
     "request_body": {…}, "response_body": {…}, "response_status": 200, "request_user_id": "…",
     "request_properties": {"Helicone-Session-Id": "…", "stage": "…"}, "request_model": "…", "response_model": "…",
     "provider": "OPENAI", "delay_ms": 812, "time_to_first_token": 140, "prompt_tokens": 9, "completion_tokens": 3,
     "costUSD": 0.0001, "feedback_rating": true, "scores": {"helpful": 1}}

Exact: Helicone keeps both bodies as they crossed it. What was streamed is reconstructed (it keeps the joined answer),
and a row that was exported without its bodies cannot be used.
"""

from journeyman.capture.imports.rows import (
    Call,
    Imported,
    Json,
    Origin,
    exchange,
    feedback,
    moment,
    number,
    object_of,
    score,
    seconds,
    tags,
    text,
    whole,
)
from journeyman.errors import InvalidInput
from journeyman.records import Fidelity

_SESSION = ("Helicone-Session-Id", "helicone-session-id", "Helicone-Session-ID", "session_id")


def read_row(row: Json, origin: Origin) -> list[Imported]:
    """The exchange of a request, and its rating and scores."""
    request, response = object_of(row.get("request_body")), object_of(row.get("response_body"))
    if not request:
        raise InvalidInput("has no request_body; export it with the bodies (--include-body)")
    properties = tags(row.get("request_properties") or row.get("properties"))
    session = next((properties.pop(name) for name in _SESSION if name in properties), None)
    provider, status = text(row.get("provider")), whole(row.get("response_status") or row.get("status"))
    told = Call(
        at=moment(row.get("request_created_at")),
        model=text(request.get("model")) or text(row.get("request_model")),
        served=text(row.get("response_model")),
        upstream=provider.lower() if provider else None,
        prompt_tokens=whole(row.get("prompt_tokens")),
        completion_tokens=whole(row.get("completion_tokens")),
        cost_usd=number(row.get("costUSD", row.get("cost"))),
        latency=seconds(row.get("delay_ms")),
        time_to_first_token=seconds(row.get("time_to_first_token")) or None,
        status=status,
        error=f"the upstream answered {status}" if status and status >= 400 and "error" not in response else None,
        session=session,
        person=text(row.get("request_user_id")),
        external_id=text(row.get("request_id")),
        tags={name: each for name, each in properties.items() if not name.lower().startswith("helicone-")},
    )
    id = origin.id(text(row.get("request_id")) or [request, response])
    fidelity: Fidelity = "reconstructed" if request.get("stream") else "exact"
    found: list[Imported] = [exchange(origin, id, request, response or None, fidelity, told)]
    scores = {"rating": row.get("feedback_rating"), **object_of(row.get("scores"))}
    at = moment(row.get("feedback_created_at"))
    for name, value in scores.items():
        given = score(name, value)
        if given is not None:
            found.append(feedback(origin, name or "score", exchange_id=id, value=given, at=at))
    return found
