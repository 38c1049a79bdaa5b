"""OpenInference: flattened `llm.*` attributes, and often the wire's own bodies beside them."""

from typing import Any

from journeyman.capture.otlp import content
from journeyman.capture.otlp.content import Json, loaded, tool_call
from journeyman.capture.otlp.conventions import fill_common, first
from journeyman.capture.otlp.signals import Attributes, Span
from journeyman.capture.otlp.told import Told
from journeyman.records import Api

_APART = ("model", "messages", "tools", "stream", "stream_options", "metadata", "input", "prompt")


def read_openinference(span: Span) -> Told | None:
    """What the span tells; None when it is of another dialect, or no call to a model."""
    attributes = span.attributes
    kind = attributes.get("openinference.span.kind")
    if kind not in ("LLM", "EMBEDDING"):
        return None
    told = Told(api="embeddings" if kind == "EMBEDDING" else "chat")
    fill_common(told, span)
    _names_and_counts(told, attributes)
    take_bodies(told, loaded(attributes.get("input.value")), loaded(attributes.get("output.value")))
    told.messages = [_message(each) for each in content.unflattened(attributes, "llm.input_messages")]
    told.replies = [
        {"message": _message(each), "finish_reason": attributes.get("llm.finish_reason")}
        for each in content.unflattened(attributes, "llm.output_messages")
    ]
    told.tools = content.tools(
        [
            loaded((each.get("tool") or {}).get("json_schema"))
            for each in content.unflattened(attributes, "llm.tools")
            if isinstance(each.get("tool"), dict)
        ]
    )
    if kind == "EMBEDDING" and not told.messages:
        told.messages = [
            {"role": "user", "content": str((each.get("embedding") or {}).get("text", ""))}
            for each in content.unflattened(attributes, "embedding.embeddings")
            if isinstance(each.get("embedding"), dict)
        ]
    return told


def take_bodies(told: Told, request: Any, answer: Any) -> None:
    """Keep a request and its answer as the wire's own, if they look like those of an API that we know."""
    api = _api_of(request)
    if api is None or (told.api == "embeddings") != (api == "embeddings"):
        return
    if isinstance(answer, dict) and _answers(api, answer):
        told.answer = answer
    elif answer not in (None, "", {}):
        # What came back is told in another shape than the wire's: neither body can be taken alone.
        return
    told.api, told.request = api, request
    told.model = request.get("model") or told.model
    told.served = (told.answer or {}).get("model") or told.served


def _api_of(request: Any) -> Api | None:
    if not isinstance(request, dict):
        return None
    messages = request.get("messages")
    if isinstance(messages, list) and all(isinstance(each, dict) and "role" in each for each in messages):
        content_blocks = any(
            isinstance(part, dict) and part.get("type") in ("tool_use", "tool_result")
            for each in messages
            for part in (each["content"] if isinstance(each.get("content"), list) else [])
        )
        return "messages" if content_blocks or "system" in request else "chat"
    if "prompt" in request:
        return "completions"
    if "input" in request:
        return "responses" if {"instructions", "tools", "previous_response_id"} & request.keys() else None
    return None


def _answers(api: Api, answer: Json) -> bool:
    """Whether that is how this API answers."""
    if api == "responses":
        return isinstance(answer.get("output"), list)
    if api == "messages":
        return isinstance(answer.get("content"), list)
    return isinstance(answer.get("choices"), list)


def _names_and_counts(told: Told, attributes: Attributes) -> None:
    asked = loaded(attributes.get("llm.invocation_parameters"))
    asked = asked if isinstance(asked, dict) else {}
    told.sampling |= {name: value for name, value in asked.items() if name not in _APART}
    told.served = attributes.get("llm.model_name") or attributes.get("embedding.model_name") or told.served
    told.model = asked.get("model") or told.model or told.served
    told.provider = first(attributes, "llm.provider", "llm.system") or told.provider
    told.prompt_tokens = first(attributes, "llm.token_count.prompt") or told.prompt_tokens
    told.completion_tokens = first(attributes, "llm.token_count.completion") or told.completion_tokens
    told.cached_prompt_tokens = first(attributes, "llm.token_count.prompt_details.cache_read")
    cost = attributes.get("llm.cost.total")
    told.cost_usd = float(cost) if isinstance(cost, int | float) and cost >= 0 else None
    metadata = loaded(attributes.get("metadata"))
    if isinstance(metadata, dict):
        told.tags |= content.texts((str(name), value) for name, value in metadata.items())
    labels = attributes.get("tag.tags")
    if isinstance(labels, list):
        told.tags |= {str(label): "true" for label in labels}


def _message(nest: Json) -> Json:
    """One message from its `message.…` attributes."""
    flat = nest.get("message")
    if not isinstance(flat, dict):
        return {"role": "user", "content": None}
    parts = [each["message_content"] for each in _list(flat.get("contents")) if "message_content" in each]
    text = flat.get("content")
    message: Json = {"role": content.role_of(flat.get("role")), "content": text}
    if parts and text is None:
        message["content"] = content.simple_content([_part(part) for part in parts if isinstance(part, dict)])
    calls = [each["tool_call"] for each in _list(flat.get("tool_calls")) if isinstance(each.get("tool_call"), dict)]
    functions = [(call.get("id"), call.get("function")) for call in calls]
    if calls:
        message["tool_calls"] = [
            tool_call(id, function.get("name"), function.get("arguments"))
            for id, function in functions
            if isinstance(function, dict)
        ]
    for name in ("tool_call_id", "name"):
        if flat.get(name):
            message[name] = flat[name]
    return message


def _part(part: Json) -> Json:
    image = part.get("image")
    if part.get("type") == "image" and isinstance(image, dict):
        inner = image.get("image")
        return {"type": "image_url", "image_url": {"url": inner.get("url") if isinstance(inner, dict) else inner}}
    return part


def _list(value: Any) -> list[Json]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
