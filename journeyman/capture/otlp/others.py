"""Vercel's AI SDK (`ai.*`), Langfuse's and MLflow's own attributes."""

from typing import Any

from journeyman.capture.otlp import content
from journeyman.capture.otlp.content import Json, loaded, objects, tool_call, written
from journeyman.capture.otlp.conventions import fill_common, first
from journeyman.capture.otlp.openinference import take_bodies
from journeyman.capture.otlp.signals import Span
from journeyman.capture.otlp.told import Told

_VERCEL_METADATA = "ai.telemetry.metadata."
_LANGFUSE_METADATA = "langfuse.observation.metadata."
_VERCEL_FINISH = {"tool-calls": "tool_calls", "content-filter": "content_filter"}


def read_vercel(span: Span) -> Told | None:
    """A call by Vercel's AI SDK: the spans that end in `doGenerate`, `doStream`, `doEmbed`; their parents repeat it."""
    attributes = span.attributes
    operation = attributes.get("ai.operationId")
    if not isinstance(operation, str) or not operation.endswith((".doGenerate", ".doStream", ".doEmbed")):
        return None
    told = Told(api="embeddings" if operation.endswith(".doEmbed") else "chat")
    fill_common(told, span)
    told.model = attributes.get("ai.model.id") or told.model
    told.served = attributes.get("ai.response.model") or told.served
    told.provider = attributes.get("ai.model.provider") or told.provider
    told.response_id = attributes.get("ai.response.id") or told.response_id
    told.prompt_tokens = first(attributes, "ai.usage.inputTokens", "ai.usage.promptTokens") or told.prompt_tokens
    told.completion_tokens = (
        first(attributes, "ai.usage.outputTokens", "ai.usage.completionTokens") or told.completion_tokens
    )
    told.cached_prompt_tokens = first(attributes, "ai.usage.cachedInputTokens") or told.cached_prompt_tokens
    wait = attributes.get("ai.response.msToFirstChunk")
    told.time_to_first_token = wait / 1000 if isinstance(wait, int | float) else told.time_to_first_token
    for message in objects(attributes.get("ai.prompt.messages")):
        told.messages += _vercel_message(message)
    told.tools = content.tools(attributes.get("ai.prompt.tools"))
    reply = _vercel_reply(span)
    if reply:
        reason = attributes.get("ai.response.finishReason")
        told.replies = [{"message": reply, "finish_reason": _VERCEL_FINISH.get(str(reason), reason)}]
        told.finish_reasons = []
    metadata = _below(span, _VERCEL_METADATA)
    told.session = told.session or metadata.pop("sessionId", None)
    told.person = told.person or metadata.pop("userId", None)
    told.tags |= metadata
    return told


def read_langfuse(span: Span) -> Told | None:
    """A generation by Langfuse's SDK."""
    attributes = span.attributes
    kind = attributes.get("langfuse.observation.type")
    if kind not in ("generation", "embedding"):
        return None
    told = Told(api="embeddings" if kind == "embedding" else "chat")
    fill_common(told, span)
    told.model = attributes.get("langfuse.observation.model.name") or told.model
    asked = loaded(attributes.get("langfuse.observation.model.parameters"))
    told.sampling |= asked if isinstance(asked, dict) else {}
    usage = loaded(attributes.get("langfuse.observation.usage_details"))
    if isinstance(usage, dict):
        told.prompt_tokens = usage.get("input", usage.get("prompt_tokens"))
        told.completion_tokens = usage.get("output", usage.get("completion_tokens"))
    cost = loaded(attributes.get("langfuse.observation.cost_details"))
    total = cost.get("total") if isinstance(cost, dict) else None
    told.cost_usd = float(total) if isinstance(total, int | float) and total >= 0 else None
    told.tags |= _below(span, _LANGFUSE_METADATA)
    _free_form(
        told,
        loaded(attributes.get("langfuse.observation.input")),
        loaded(attributes.get("langfuse.observation.output")),
    )
    return told


def read_mlflow(span: Span) -> Told | None:
    """A call to a model that MLflow traced."""
    attributes = span.attributes
    if loaded(attributes.get("mlflow.spanType")) not in ("CHAT_MODEL", "LLM"):
        return None
    told = Told()
    fill_common(told, span)
    _free_form(told, loaded(attributes.get("mlflow.spanInputs")), loaded(attributes.get("mlflow.spanOutputs")))
    return told


def _free_form(told: Told, asked: Any, said: Any) -> None:
    """Whatever a program gave as input and output: the wire's bodies, messages, or any other text."""
    take_bodies(told, asked, said)
    if told.request is not None:
        return
    if isinstance(asked, dict):
        told.tools = content.tools(asked.get("tools"))
        asked = asked.get("messages", asked)
    told.messages = _messages(asked, "user")
    if isinstance(said, dict) and isinstance(said.get("choices"), list):
        told.replies = objects(said["choices"])
    else:
        told.replies = [{"message": each, "finish_reason": None} for each in _messages(said, "assistant")]


def _messages(value: Any, role: str) -> list[Json]:
    if value in (None, ""):
        return []
    found = value if isinstance(value, list) else [value]
    if all(isinstance(each, dict) and "role" in each for each in found):
        return [read for each in found for read in content.read_message(each)]
    return [{"role": role, "content": written(value)}]


def _below(span: Span, prefix: str) -> dict[str, str]:
    return content.texts(
        (name.removeprefix(prefix), value) for name, value in span.attributes.items() if name.startswith(prefix)
    )


def _vercel_message(message: Json) -> list[Json]:
    parts = message.get("content")
    role = content.role_of(message.get("role"))
    if not isinstance(parts, list):
        return [{"role": role, "content": parts}]
    kept: list[Json] = []
    calls: list[Json] = []
    results: list[Json] = []
    reasoning: list[str] = []
    for part in objects(parts):
        match part.get("type"):
            case "tool-call":
                calls.append(_vercel_call(part))
            case "tool-result":
                output = part.get("output", part.get("result"))
                if isinstance(output, dict) and output.keys() == {"type", "value"}:
                    output = output["value"]
                results.append({"role": "tool", "tool_call_id": part.get("toolCallId"), "content": written(output)})
            case "reasoning":
                reasoning.append(str(part.get("text", "")))
            case "image":
                kept.append({"type": "image_url", "image_url": {"url": part.get("image")}})
            case _:
                kept.append({name: value for name, value in part.items() if name != "providerOptions"})
    if results and not kept and not calls:
        return results
    told: Json = {"role": role, "content": content.simple_content(kept)}
    if calls:
        told["tool_calls"] = calls
    if reasoning:
        told["reasoning_content"] = "".join(reasoning)
    return [*results, told]


def _vercel_reply(span: Span) -> Json | None:
    attributes = span.attributes
    text = first(attributes, "ai.response.text", "ai.response.object", "ai.result.text", "ai.result.object")
    calls = objects(first(attributes, "ai.response.toolCalls", "ai.result.toolCalls"))
    if text is None and not calls:
        return None
    reply: Json = {"role": "assistant", "content": text or None}
    if calls:
        reply["tool_calls"] = [_vercel_call(call) for call in calls]
    if thought := attributes.get("ai.response.reasoning"):
        reply["reasoning_content"] = written(thought)
    return reply


def _vercel_call(part: Json) -> Json:
    return tool_call(part.get("toolCallId"), part.get("toolName"), part.get("input", part.get("args")))
