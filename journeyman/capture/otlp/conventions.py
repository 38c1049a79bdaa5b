"""OpenTelemetry's GenAI conventions, as they are and as they were, and OpenLLMetry's, which are close to them."""

from typing import Any

from journeyman.capture.otlp import content
from journeyman.capture.otlp.content import Json, loaded, objects, read_message
from journeyman.capture.otlp.signals import Attributes, Span
from journeyman.capture.otlp.told import Told
from journeyman.records import Api

_CALLS: dict[str, Api] = {
    "chat": "chat", "generate_content": "chat", "completion": "completions", "text_completion": "completions",
    "embeddings": "embeddings", "embedding": "embeddings",
}  # fmt: skip
_SAMPLING = {
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "max_tokens": "max_tokens", "seed": "seed",
    "frequency_penalty": "frequency_penalty", "presence_penalty": "presence_penalty", "stop_sequences": "stop",
    "choice.count": "n",
}  # fmt: skip
_TRACELOOP = "traceloop.association.properties."
_SESSIONS = ("gen_ai.conversation.id", "session.id", _TRACELOOP + "session_id", "langfuse.session.id")
_PERSONS = ("user.id", "enduser.id", "gen_ai.user.id", _TRACELOOP + "user_id", "langfuse.user.id")
_TAGS = {"gen_ai.agent.name": "agent", "gen_ai.workflow.name": "workflow", "traceloop.workflow.name": "workflow"}
_FIRST_CHUNK = ("gen_ai.content.completion.chunk", "First Token Stream Event")


def read_conventions(span: Span) -> Told | None:
    """What the span tells by `gen_ai.*` and `llm.*`; None when it is no call to a model."""
    attributes = span.attributes
    operation = attributes.get("gen_ai.operation.name") or attributes.get("llm.request.type")
    if operation is None and "gen_ai.request.model" in attributes:
        # Before the operation had a name, OpenLLMetry's agents and tools had none of these either.
        operation = "chat" if attributes.get("traceloop.span.kind") in (None, "llm") else None
    if operation not in _CALLS:
        return None
    told = Told(api="embeddings" if _CALLS[operation] == "embeddings" else "chat")
    fill_common(told, span)
    told.messages, told.replies = read_content(attributes)
    if not told.messages:
        told.messages = _flat_messages(attributes, "gen_ai.prompt")
    if not told.replies:
        flat = _flat_messages(attributes, "gen_ai.completion")
        told.replies = [{"message": each, "finish_reason": each.pop("finish_reason", None)} for each in flat]
    told.tools = content.tools(attributes.get("gen_ai.tool.definitions")) or content.tools(
        content.unflattened(attributes, "llm.request.functions")
    )
    return told


def fill_common(told: Told, span: Span) -> None:
    """What every dialect leaves to the conventions: names, sampling, usage, who and what for."""
    attributes = span.attributes
    told.model = _text(attributes.get("gen_ai.request.model"))
    told.served = _text(attributes.get("gen_ai.response.model"))
    told.provider = _text(first(attributes, "gen_ai.provider.name", "gen_ai.system"))
    told.response_id = _text(attributes.get("gen_ai.response.id"))
    told.prompt_tokens = first(attributes, "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
    told.completion_tokens = first(attributes, "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
    told.cached_prompt_tokens = first(
        attributes, "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens"
    )
    reasons = loaded(attributes.get("gen_ai.response.finish_reasons"))
    told.finish_reasons = [str(each) for each in reasons] if isinstance(reasons, list) else []
    for name, field in _SAMPLING.items():
        if (value := attributes.get(f"gen_ai.request.{name}")) is not None:
            told.sampling[field] = value
    told.session = _text(first(attributes, *_SESSIONS))
    told.person = _text(first(attributes, *_PERSONS))
    told.tags = content.texts((tag, attributes.get(name)) for name, tag in _TAGS.items())
    told.tags |= content.texts(
        (name.removeprefix(_TRACELOOP), value)
        for name, value in attributes.items()
        if name.startswith(_TRACELOOP) and name not in (*_SESSIONS, *_PERSONS)
    )
    told.time_to_first_token = _first_token(span)


def read_content(attributes: Attributes) -> tuple[list[Json], list[Json]]:
    """Messages and replies from `gen_ai.input.messages` and its kin: attributes of a span, or of an event."""
    messages: list[Json] = []
    instructions = objects(attributes.get("gen_ai.system_instructions"))
    if instructions:
        messages += content.from_parts({"role": "system", "parts": instructions})
    for message in objects(attributes.get("gen_ai.input.messages")):
        messages += read_message(message)
    replies = []
    for message in objects(attributes.get("gen_ai.output.messages")):
        reason = message.pop("finish_reason", None)
        replies += [{"message": each, "finish_reason": reason} for each in read_message(message)]
    return messages, replies


def first(attributes: Attributes, *names: str) -> Any:
    """The first of these attributes that there is."""
    return next((attributes[name] for name in names if attributes.get(name) is not None), None)


def _flat_messages(attributes: Attributes, prefix: str) -> list[Json]:
    """OpenLLMetry's older form: `gen_ai.prompt.0.role`, `.content`, `.tool_calls.0.name`."""
    messages = []
    for index, flat in enumerate(content.unflattened(attributes, prefix)):
        default = "assistant" if prefix.endswith("completion") else "user"
        message: Json = {**flat, "role": content.role_of(flat.get("role"), default), "content": _parts(flat)}
        calls = flat.get("tool_calls")
        if isinstance(calls, list):
            message["tool_calls"] = [
                content.tool_call(each.get("id") or f"call_{index}", each.get("name"), each.get("arguments"))
                for each in calls
                if isinstance(each, dict)
            ]
        messages.append(content.without_empty(message))
    return messages


def _parts(flat: Json) -> Any:
    """Content that was a list of parts, which OpenLLMetry writes as JSON; any other text stays what it is."""
    told = flat.get("content")
    parts = loaded(told) if isinstance(told, str) and told.startswith("[{") else None
    if isinstance(parts, list) and all(isinstance(part, dict) and "type" in part for part in parts):
        return parts
    return told


def _first_token(span: Span) -> float | None:
    told = first(span.attributes, "gen_ai.response.time_to_first_chunk", "gen_ai.server.time_to_first_token")
    if isinstance(told, int | float) and told >= 0:
        return float(told)
    came = next((event.at for event in span.events if event.name in _FIRST_CHUNK), 0)
    return (came - span.start) / 1e9 if came >= span.start else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
