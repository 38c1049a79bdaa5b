"""LiteLLM's spend logs: rows of `LiteLLM_SpendLogs`, from SQL or its API (JSON lines, JSON or CSV).

    {"request_id": "chatcmpl-…", "call_type": "acompletion", "startTime": "…", "endTime": "…",
     "completionStartTime": "…", "model": "gpt-4.1", "model_group": "support", "custom_llm_provider": "openai",
     "messages": […], "response": {…}, "proxy_server_request": {…}, "spend": 0.0001, "prompt_tokens": 9,
     "completion_tokens": 3, "metadata": {"status": "success", "tags": […]}, "request_tags": ["…"],
     "user": "…", "end_user": "…", "session_id": "…", "status": "success"}

JSON columns may be objects or strings. Bodies are there only with `store_prompts_in_spend_logs`. Reconstructed: LiteLLM
rewrites both bodies; lossy where the request's own body is missing, so that sampling and tools are not known. LiteLLM
writes a cut stream down as a success: a row does not tell.
"""

from journeyman.capture.imports.rows import (
    Call,
    Imported,
    Json,
    Origin,
    exchange,
    moment,
    nested,
    number,
    object_of,
    tags,
    text,
    whole,
)
from journeyman.errors import InvalidInput
from journeyman.records import Fidelity


def read_row(row: Json, origin: Origin) -> list[Imported]:
    """The exchange of a row of the log."""
    request, fidelity = _request(row)
    response, metadata = object_of(row.get("response")), object_of(row.get("metadata"))
    if not request and not response:
        raise InvalidInput("has neither request nor response; LiteLLM keeps them with store_prompts_in_spend_logs only")
    begun, ended = moment(row.get("startTime")), moment(row.get("endTime"))
    first, group = moment(row.get("completionStartTime")), text(row.get("model_group"))
    failed = (text(row.get("status")) or text(metadata.get("status"))) == "failure"
    told = Call(
        at=begun,
        model=group or text(request.get("model")) or text(row.get("model")),
        served=text(row.get("model")),
        upstream=text(row.get("custom_llm_provider")),
        prompt_tokens=whole(row.get("prompt_tokens")),
        completion_tokens=whole(row.get("completion_tokens")),
        cost_usd=number(row.get("spend")),
        latency=_between(begun, ended),
        # Of a call that was not streamed LiteLLM writes its end there.
        time_to_first_token=None if first == ended else _between(begun, first),
        error=_error(metadata) if failed else None,
        session=text(row.get("session_id")),
        project=text(row.get("team_id")),
        person=text(row.get("end_user")) or text(row.get("user")),
        external_id=text(row.get("request_id")),
        tags=_tags(row, metadata),
    )
    id = origin.id(text(row.get("request_id")) or [request, response])
    return [exchange(origin, id, request, response or None, fidelity, told)]


def _request(row: Json) -> tuple[Json, Fidelity]:
    sent = object_of(row.get("proxy_server_request"))
    body = object_of(sent.get("body")) or sent
    if any(name in body for name in ("messages", "input", "prompt")):
        return body, "reconstructed"
    messages = nested(row.get("messages"))
    if isinstance(messages, list) and messages:
        return {"model": text(row.get("model")), "messages": messages}, "lossy"
    return {}, "lossy"


def _tags(row: Json, metadata: Json) -> dict[str, str]:
    alias = text(metadata.get("user_api_key_alias"))
    return {**tags(row.get("request_tags")), **({"key": alias} if alias else {})}


def _error(metadata: Json) -> str:
    told = object_of(metadata.get("error_information"))
    return text(told.get("error_message")) or text(told.get("error_class")) or "LiteLLM says that the call failed"


def _between(begun: int | None, ended: int | None) -> float | None:
    return (ended - begun) / 1e6 if begun and ended and ended >= begun else None
