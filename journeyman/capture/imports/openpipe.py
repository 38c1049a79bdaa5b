"""OpenPipe's two exports as JSON lines: request logs, and dataset entries.

    {"input": {chat request}, "output": {chat completion, or what the error was}, "tags": {"prompt_id": "…"}}
    {"messages": […], "tools": […], "tool_choice": "auto", "split": "TRAIN", "rejected_message": {…},
     "criteria": {"NAME": {"score": 1, "explanation": "…"}}, "metadata": {…}}

A log's later fields `requestedAt`, `receivedAt`, `statusCode`, `reqPayload` and `respPayload` are read too. Logs are
reconstructed (OpenPipe kept bodies as it had parsed them), entries lossy: how they were sampled is not told.
"""

from journeyman.capture.imports.openai_chat import offered
from journeyman.capture.imports.rows import (
    Call,
    Imported,
    Json,
    Origin,
    check_messages,
    conversation,
    exchange,
    feedback,
    moment,
    nested,
    number,
    object_of,
    score,
    tags,
    text,
    whole,
)
from journeyman.records import WireExchange


def read_row(row: Json, origin: Origin) -> list[Imported]:
    """The exchange of a log or an entry, and what the criteria said of it."""
    made = _entry(row, origin) if "messages" in row else _log(row, origin)
    found: list[Imported] = [made]
    rejected = object_of(row.get("rejected_message"))
    if rejected and made.choices:
        # The entry's reply is the better one: the exchange keeps the model's own, the correction what it should be.
        better = made.choices[0]["message"]
        made.choices = [{"message": _as_message(rejected), "finish_reason": None, "tokens": None}]
        found.append(feedback(origin, "preference", exchange_id=made.id, correction=better))
    for name, judged in object_of(row.get("criteria") or row.get("criteria_results")).items():
        verdict = judged if isinstance(judged, dict) else {"score": judged}
        given, said = score(name, verdict.get("score")), text(verdict.get("explanation")) or ""
        if given is not None:
            found.append(feedback(origin, name or "criterion", exchange_id=made.id, value=given, reason=said))
    return found


def _entry(row: Json, origin: Origin) -> WireExchange:
    messages, tools = nested(row["messages"]), offered(row)
    split = text(row.get("split"))
    told = Call(
        model=text(row.get("model")), tags={**tags(row.get("metadata")), **({"split": split.lower()} if split else {})}
    )
    sampling = {name: row[name] for name in ("tool_choice", "response_format") if row.get(name) is not None}
    return conversation(origin, origin.id(messages, tools), messages, tools, "lossy", told, sampling)


def _log(row: Json, origin: Origin) -> WireExchange:
    request = object_of(row.get("input") or row.get("reqPayload"))
    answer = nested(row.get("output") if "output" in row else row.get("respPayload"))
    check_messages(nested(request.get("messages")))
    response = answer if isinstance(answer, dict) else None
    asked, answered = moment(row.get("requestedAt")), moment(row.get("receivedAt"))
    told = Call(
        at=asked,
        status=whole(row.get("statusCode")),
        error=text(row.get("errorMessage")) or (text(answer) if response is None else None),
        latency=(answered - asked) / 1e6 if asked and answered else None,
        cost_usd=number(row.get("cost")),
        tags=tags(row.get("tags")),
    )
    key = row.get("id") or (response or {}).get("id") or row
    return exchange(origin, origin.id(key), request, response, "reconstructed", told)


def _as_message(value: Json) -> Json:
    check_messages([value])
    return {name: each for name, each in value.items() if each is not None}
