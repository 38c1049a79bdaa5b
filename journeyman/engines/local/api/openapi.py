"""Our own OpenAPI document, made from the bodies that the routes really read."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response

from journeyman import __version__
from journeyman.engines.local.api import shapes
from journeyman.engines.local.api.adapters import LoadBody, UnloadBody
from journeyman.engines.local.api.body import ChatBody
from journeyman.engines.local.api.completion_body import CompletionBody
from journeyman.engines.local.api.embeddings import EmbeddingsBody
from journeyman.engines.local.api.response_body import ResponseBody
from journeyman.engines.local.api.tokens import DetokenizeBody, TokenizeBody

_REFERENCE = "#/components/schemas/{model}"
_PROBLEMS = {
    400: "Something in the request cannot be used; nothing was computed.",
    404: "There is no such model or adapter.",
    405: "The path does not take this method.",
    413: "The body is larger than 16 MiB.",
    429: "Too much is waiting; try again after `Retry-After` seconds.",
    500: "A fault of the engine, such as an adapter whose weights are unusable.",
    503: "The engine is shutting down; try again after `Retry-After` seconds.",
    504: "The request's own deadline passed.",
}
_QUESTIONS = (404, 405)
"""What a route without a body can answer beside its success."""
_EVENT = {
    "type": "object",
    "properties": {"data": {"type": "string"}, "event": {"type": "string"}},
    "required": ["data"],
}
"""Of a stream; `data` is JSON, or `[DONE]`."""
_COUNT = {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}


@dataclass(frozen=True, slots=True)
class Operation:
    """One route: what it is for, what it reads, what it answers."""

    method: str
    path: str
    purpose: str
    answer: type[BaseModel] | str
    """A media type where the answer is no JSON."""
    body: type[BaseModel] | None = None
    streams: bool = False
    parameters: tuple[dict[str, Any], ...] = ()
    status: int = 200


def _query(name: str, purpose: str, default: int) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": purpose, "schema": {**_COUNT, "default": default}}


_NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
_TOTALS = {"name": "totals", "in": "query", "description": "the sums, too", "schema": {"type": "boolean"}}
OPERATIONS = (
    Operation("post", "/v1/chat/completions", "Continue a conversation.", shapes.ChatAnswer, ChatBody, streams=True),
    Operation("post", "/v1/completions", "Continue or score a text.", shapes.CompletionAnswer, CompletionBody, True),
    Operation("post", "/v1/responses", "Continue a conversation.", shapes.ResponseAnswer, ResponseBody, streams=True),
    Operation("post", "/v1/embeddings", "Turn texts into vectors.", shapes.EmbeddingsAnswer, EmbeddingsBody),
    Operation("get", "/v1/models", "List the names that may be called.", shapes.ModelsAnswer),
    Operation("get", "/v1/models/{name}", "Describe one of them.", shapes.ModelAnswer, parameters=(_NAME,)),
    Operation("post", "/v1/load_lora_adapter", "Load an adapter.", shapes.AdapterAnswer, LoadBody),
    Operation("post", "/v1/unload_lora_adapter", "Forget an adapter.", shapes.AdapterAnswer, UnloadBody),
    Operation("post", "/tokenize", "Turn text or messages into ids.", shapes.TokenizeAnswer, TokenizeBody),
    Operation("post", "/v1/tokenize", "The same.", shapes.TokenizeAnswer, TokenizeBody),
    Operation("post", "/detokenize", "Turn ids into text.", shapes.DetokenizeAnswer, DetokenizeBody),
    Operation("post", "/v1/detokenize", "The same.", shapes.DetokenizeAnswer, DetokenizeBody),
    Operation("get", "/healthz", "Is the engine well?", shapes.HealthAnswer),
    Operation("get", "/metrics", "Counters for Prometheus.", "text/plain"),
    Operation("get", "/v1/counters", "Sums since the start, and the present.", shapes.CountersAnswer),
    Operation(
        "get", "/v1/served", "What was served, choice by choice.", shapes.ServedAnswer,
        parameters=(
            _query("after", "the number of the last entry known", 0), _query("limit", "how many", 1000), _TOTALS,
        ),
    ),
    Operation("post", "/drain", "Finish what runs, then end.", shapes.DrainAnswer, status=202),
    Operation("get", "/openapi.json", "This document.", "application/json"),
)  # fmt: skip


async def document(request: HTTPRequest) -> Response:
    """`GET /openapi.json`."""
    return JSONResponse(openapi())


@cache
def openapi() -> dict[str, Any]:
    """The OpenAPI 3.1 document of every route."""
    bodies = {operation.body for operation in OPERATIONS if operation.body is not None}
    answers = {operation.answer for operation in OPERATIONS if not isinstance(operation.answer, str)}
    answers.add(shapes.ErrorAnswer)
    read = _schemas(bodies, "validation")
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Journeyman's local engine",
            "version": __version__,
            "description": "OpenAI's API over one base model and its adapters.",
        },
        "paths": paths,
        "components": {"schemas": read | _schemas(answers, "serialization")},
    }


def _schemas(models: Iterable[type[BaseModel]], mode: Any) -> dict[str, Any]:
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schema = models_json_schema([(model, mode) for model in ordered], ref_template=_REFERENCE)
    definitions: dict[str, Any] = schema["$defs"]
    return definitions


def _described(operation: Operation) -> dict[str, Any]:
    found = {"description": "Done.", "content": _content(operation)}
    described: dict[str, Any] = {
        "summary": operation.purpose,
        "operationId": f"{operation.method}{operation.path.title().translate(_PLAIN)}",
        "responses": {str(operation.status): found} | {str(code): _problem(code) for code in _problems(operation)},
    }
    if operation.parameters:
        described["parameters"] = list(operation.parameters)
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": _json(operation.body)}
    return described


def _problems(operation: Operation) -> Iterable[int]:
    if operation.body is not None:
        return _PROBLEMS
    return (400, *_QUESTIONS) if operation.parameters else _QUESTIONS


def _content(operation: Operation) -> dict[str, Any]:
    if isinstance(operation.answer, str):
        return {operation.answer: {"schema": {"type": "string" if operation.answer == "text/plain" else "object"}}}
    stream = {"text/event-stream": {"schema": _EVENT}} if operation.streams else {}
    return _json(operation.answer) | stream


def _problem(code: int) -> dict[str, Any]:
    return {"description": _PROBLEMS[code], "content": _json(shapes.ErrorAnswer)}


def _json(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REFERENCE.format(model=model.__name__)}}}


_PLAIN = str.maketrans(dict.fromkeys("/_{}."))
