"""TensorZero's tables: rows of ChatInference, JsonInference, ModelInference and the feedback tables, as JSON lines.

    {"id": "…", "function_name": "…", "variant_name": "…", "episode_id": "…", "input": {"system": "…", "messages":
     [{"role": "user", "content": [{"type": "text", "text": "…"}]}]}, "output": [{"type": "text", "text": "…"}],
     "tool_params": {"tools_available": […]}, "inference_params": {"chat_completion": {…}}, "processing_time_ms": 800,
     "tags": {…}}                                         ChatInference; the API's rows say `inference_id` for `id`
    {"id": "…", "inference_id": "…", "raw_request": "…", "raw_response": "…", "model_name": "…",
     "model_provider_name": "…", "input_tokens": 9, "output_tokens": 3, "ttft_ms": 140}             ModelInference
    {"id": "…", "target_id": "…", "metric_name": "solved", "value": true}      Boolean- and FloatMetricFeedback
    {"id": "…", "inference_id": "…", "value": "[{…}]"}                                    DemonstrationFeedback
    {"id": "…", "target_id": "…", "target_type": "inference", "value": "…"}                     CommentFeedback

An inference is an exchange, its episode the session, a demonstration a correction. Import the model inferences in the
same command: with the raw bodies of its one model inference an exchange is reconstructed, without them it is lossy
(arguments were parsed, parameters renamed, system templates not filled in).
"""

import uuid
from typing import Any

from journeyman.capture.imports.rows import (
    Call,
    Imported,
    Json,
    Origin,
    encoded,
    exchange,
    feedback,
    list_of,
    moment,
    nested,
    number,
    object_of,
    score,
    seconds,
    tags,
    text,
    whole,
)
from journeyman.errors import InvalidInput


def aside(row: Json) -> tuple[str, Json] | None:
    """What other rows look for: an inference's bodies under its id, and which ids are inferences at all."""
    if _is_model_inference(row):
        return str(row["inference_id"]), row
    if "function_name" in row:
        return text(row.get("inference_id")) or text(row.get("id")) or "", {}
    return None


def read_row(row: Json, origin: Origin) -> list[Imported]:
    """The exchange of an inference, or the feedback of a feedback row."""
    if _is_model_inference(row):
        return []
    if "function_name" in row or "episode_id" in row:
        return _inference(row, origin)
    about = text(row.get("target_id")) or text(row.get("inference_id"))
    if about is None:
        raise InvalidInput("is neither an inference nor feedback: it has no function_name and no target_id")
    return [_feedback(row, origin, about)]


def _is_model_inference(row: Json) -> bool:
    return "model_name" in row and "function_name" not in row and text(row.get("inference_id")) is not None


def _inference(row: Json, origin: Origin) -> list[Imported]:
    own = text(row.get("inference_id")) or text(row.get("id"))
    models = [each for each in origin.beside(own or "") if each] or list_of(row.get("model_inferences"))
    model = models[0] if len(models) == 1 else {}
    request, response = nested(model.get("raw_request")), nested(model.get("raw_response"))
    raw = isinstance(request, dict) and isinstance(response, dict) and "messages" in request
    if not raw:
        request, response = _request(row), _response(row)
    usage = {name: whole(model.get(f"{name}_tokens")) for name in ("input", "output")}
    told = Call(
        at=moment(row.get("timestamp")) or _moment_of(own),
        model=text(row.get("function_name")) or text(model.get("model_name")),
        served=text(model.get("model_name")) or text(row.get("variant_name")),
        upstream=text(model.get("model_provider_name")),
        prompt_tokens=usage["input"],
        completion_tokens=usage["output"],
        cost_usd=number(model.get("cost")),
        latency=seconds(row.get("processing_time_ms")),
        time_to_first_token=seconds(model.get("ttft_ms", row.get("ttft_ms"))),
        session=text(row.get("episode_id")),
        external_id=own,
        tags={**tags(row.get("tags")), **({"variant": row["variant_name"]} if text(row.get("variant_name")) else {})},
    )
    id = _exchange_id(origin, own or encoded(row).decode())
    found: list[Imported] = [exchange(origin, id, request, response or None, "reconstructed" if raw else "lossy", told)]
    # A row that was exported with its demonstration holds that as `output`, and the model's own beside it.
    dispreferred = nested(row.get("dispreferred_outputs"))
    if isinstance(dispreferred, list) and dispreferred:
        found = [exchange(origin, id, request, _answer(_blocks(dispreferred[0])), "lossy", told)]
        found.append(feedback(origin, "demonstration", exchange_id=id, correction=_reply(_blocks(row.get("output")))))
    return found


def _feedback(row: Json, origin: Origin, about: str) -> Imported:
    at = moment(row.get("timestamp")) or _moment_of(text(row.get("id")))
    key = text(row.get("id")) or ""
    if "metric_name" in row:
        value = score(str(row["metric_name"]), row.get("value"))
        if value is None:
            raise InvalidInput(f"has the value {str(row.get('value'))[:40]!r}, which is no number and no boolean")
        # A metric is of an inference or of an episode; only the ids of the inferences tell which.
        is_inference = bool(origin.beside(about)) or text(row.get("target_type")) == "inference"
        place: Any = {"exchange_id": _exchange_id(origin, about)} if is_inference else {"session": about}
        return feedback(origin, text(row["metric_name"]) or "metric", value=value, at=at, key=key, **place)
    if "target_type" in row:
        of_inference = row["target_type"] == "inference"
        place = {"exchange_id": _exchange_id(origin, about)} if of_inference else {"session": about}
        return feedback(origin, "comment", reason=text(row.get("value")) or "", at=at, key=key, **place)
    shown = _reply(_blocks(row.get("value")))
    return feedback(origin, "demonstration", exchange_id=_exchange_id(origin, about), correction=shown, at=at, key=key)


def _exchange_id(origin: Origin, inference: str) -> str:
    return origin.id("inference", inference)


def _request(row: Json) -> Json:
    asked, offered = object_of(row.get("input")), object_of(row.get("tool_params"))
    system = asked.get("system")
    messages: list[Json] = []
    if system:
        messages.append({"role": "system", "content": system if isinstance(system, str) else encoded(system).decode()})
    for each in list_of(asked.get("messages")):
        messages += _messages(str(each.get("role")), _blocks(each.get("content")))
    known = list_of(offered.get("tools_available")) + list_of(offered.get("additional_tools"))
    known = known or list_of(row.get("additional_tools"))
    names = ("name", "description", "parameters", "strict")
    tools = [{"type": "function", "function": {name: each[name] for name in names if name in each}} for each in known]
    sampling = object_of(object_of(row.get("inference_params")).get("chat_completion"))
    return {**sampling, "messages": messages, **({"tools": tools} if tools else {})}


def _response(row: Json) -> Json:
    blocks = _blocks(row.get("output"))
    return _answer(blocks) if blocks else {}


def _answer(blocks: list[Json]) -> Json:
    return {"choices": [{"index": 0, "message": _reply(blocks)}]}


def _blocks(value: Any) -> list[Json]:
    found = nested(value)
    if isinstance(found, dict) and "raw" in found:  # of a JSON function
        return [{"type": "text", "text": text(found["raw"]) or ""}]
    if isinstance(found, dict):
        return [found] if "type" in found else [{"type": "text", "text": encoded(found).decode()}]
    if isinstance(found, list):
        return [each for each in found if isinstance(each, dict)]
    return [{"type": "text", "text": str(found)}] if found is not None else []


def _messages(role: str, blocks: list[Json]) -> list[Json]:
    results = [
        {"role": "tool", "tool_call_id": text(each.get("id")) or "", "content": text(each.get("result")) or ""}
        for each in blocks
        if each.get("type") == "tool_result"
    ]
    rest = [each for each in blocks if each.get("type") != "tool_result"]
    if role == "assistant":
        return [*results, _reply(rest)]
    return [*results, *([{"role": role, "content": _text(rest)}] if rest else [])]


def _reply(blocks: list[Json]) -> Json:
    calls = [_call(each) for each in blocks if each.get("type") == "tool_call"]
    thoughts = "".join(text(each.get("text")) or "" for each in blocks if each.get("type") == "thought")
    said = _text([each for each in blocks if each.get("type") not in ("tool_call", "thought")])
    return {
        "role": "assistant",
        "content": said or (None if calls else ""),
        **({"tool_calls": calls} if calls else {}),
        **({"reasoning_content": thoughts} if thoughts else {}),
    }


def _text(blocks: list[Json]) -> str:
    """Text blocks joined; other kinds of content as the JSON that they are."""
    parts = []
    for each in blocks:
        said = each.get("text", each.get("value", each.get("arguments")))
        parts.append(said if isinstance(said, str) else encoded(each if said is None else said).decode())
    return "".join(parts)


def _call(block: Json) -> Json:
    written = block.get("raw_arguments", block.get("arguments"))
    arguments = written if isinstance(written, str) else encoded(written or {}).decode()
    name = text(block.get("raw_name")) or text(block.get("name")) or "unknown"
    return {"id": text(block.get("id")) or "", "type": "function", "function": {"name": name, "arguments": arguments}}


def _moment_of(id: str | None) -> int | None:
    """The time that a version 7 UUID carries in its first 48 bits."""
    try:
        known = uuid.UUID(id or "")
    except ValueError:
        return None
    return (known.int >> 80) * 1000 if known.version == 7 else None
