"""The gateway's own OpenAPI document: what each route reads and answers, as far as the gateway itself decides it.

What a model's request may hold beside the model's name, and what its answer looks like, is for the upstream to say:
both pass through untouched, so the document promises no more than that they are JSON objects.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from journeyman import __version__
from journeyman.gateway.feedback import MOST_ITEMS, FeedbackBody
from journeyman.gateway.names import MOST_LETTERS

JSON = "application/json"
_ERROR = {"$ref": "#/components/schemas/Error"}
_TEXT: dict[str, Any] = {"type": "string"}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
_OBJECT: dict[str, Any] = {"type": "object"}
_PROBLEMS = {
    400: "Something in the request cannot be used; nothing was sent on or kept.",
    401: "The gateway has keys, and this is none of them.",
    403: "The request comes from a web page of somebody else, or names another host.",
    404: "There is no such model, or not for this key.",
    405: "The path does not take this method.",
    409: "There is nothing to compare.",
    413: "The body is too large.",
    415: "The body is declared as something that is not read here.",
    429: "A limit of the key is reached; try again after `Retry-After` seconds.",
    500: "A fault of the gateway; its log says more.",
    502: "The upstream failed.",
    503: "Nobody can answer or keep this now; where `Retry-After` is given, try again after so many seconds.",
    504: "The upstream took too long.",
}
_ASKED = (403, 405)
"""What a route without a body can answer beside its success."""
_KEPT = (400, 401, 403, 405, 413, 415, 503)
"""What a route can answer that keeps what it is sent."""
_CALLED = (400, 401, 403, 404, 405, 413, 415, 429, 500, 502, 503, 504)

# By path: what it is for, and the fields that its body has beside the model's name.
_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "/v1/chat/completions": ("Continue a conversation (OpenAI).", {"messages": {"type": "array", "items": _OBJECT}}),
    "/v1/completions": ("Continue a text (OpenAI).", {"prompt": {}}),
    "/v1/responses": ("Continue a conversation (OpenAI's Responses).", {"input": {}}),
    "/v1/embeddings": ("Turn texts into vectors (OpenAI).", {"input": {}}),
    "/v1/messages": ("Continue a conversation (Anthropic).", {"messages": {"type": "array", "items": _OBJECT}}),
}


async def document(request: Request) -> Response:
    """`GET /openapi.json`."""
    return JSONResponse(openapi())


@cache
def openapi() -> dict[str, Any]:
    """The OpenAPI 3.1 document of every route."""
    paths: dict[str, Any] = {path: {"post": _call(path)} for path in _MODELS}
    paths["/v1/models"] = {"get": _question("List the names that may be called.", _listing(), (401, *_ASKED))}
    paths["/v1/feedback"] = {"post": _feedback()}
    paths["/v1/traces"] = {"post": _otlp("Take spans (OTLP).", "resourceSpans", "rejectedSpans")}
    paths["/v1/logs"] = {"post": _otlp("Take log records (OTLP).", "resourceLogs", "rejectedLogRecords")}
    paths["/v1/usage/totals"] = {"get": _question("The engine's own sums.", _totals(), (*_ASKED, 409, 502))}
    paths["/healthz"] = {"get": _question("Are the engine and the capture well?", _health(), _ASKED)}
    paths["/metrics"] = {"get": _question("Counters for Prometheus.", _TEXT, _ASKED, kind="text/plain")}
    paths["/openapi.json"] = {"get": _question("This document.", _OBJECT, _ASKED)}
    for path, item in paths.items():
        for method, operation in item.items():
            operation["operationId"] = f"{method}{path.title().translate(_PLAIN)}"
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Journeyman's gateway",
            "version": __version__,
            "description": "One endpoint for the models of an installation; every call through it is captured. The "
            "routes of models are also found under /v1/sessions/NAME, for clients that cannot set a header.",
        },
        # Without configured keys anybody may ask.
        "security": [{}, {"bearer": []}, {"x-api-key": []}],
        "paths": paths,
        "components": {"schemas": _schemas(), "securitySchemes": _SECURITY},
    }


_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
_PLAIN = str.maketrans(dict.fromkeys("/_.{}"))


def _call(path: str) -> dict[str, Any]:
    purpose, fields = _MODELS[path]
    model = {"type": "string", "minLength": 1, "maxLength": MOST_LETTERS, "description": "a name of GET /v1/models"}
    properties = {"model": model, "metadata": {"description": "text values become the call's tags"}, **fields}
    if path != "/v1/embeddings":
        properties["stream"] = {"description": "true: the answer comes as server-sent events"}
    body = {"type": "object", "properties": properties, "required": ["model"], "additionalProperties": True}
    content: dict[str, Any] = {JSON: {"schema": {}}}
    if "stream" in properties:
        content["text/event-stream"] = {"schema": _TEXT}
    exchange = {"x-journeyman-exchange": {"description": "the exchange's id", "schema": _TEXT}}
    passed = {"description": "The upstream's own answer.", "headers": exchange, "content": content}
    default = {"description": "Whatever else the upstream answers, untouched.", "headers": exchange}
    return {
        "summary": purpose,
        "parameters": [_header(name, what) for name, what in _HEADERS.items()],
        "requestBody": {"required": True, "content": {JSON: {"schema": body}}},
        "responses": {"200": passed, "default": default} | _problems(_CALLED, path),
    }


_HEADERS = {
    "x-journeyman-session": "the conversation or task that the call belongs to",
    "x-journeyman-tags": "key=value,key2=value2; percent-encoded",
    "x-journeyman-external-id": "the caller's own name for the call",
    "x-journeyman-person": "whom the call is made for",
    "traceparent": "the caller's own trace, as W3C writes it",
}


def _header(name: str, purpose: str) -> dict[str, Any]:
    schema = _TEXT | {"pattern": "^[ -~]*$"}
    if name == "x-journeyman-tags":
        schema = _TEXT | {"pattern": "^([a-z0-9]+=[a-z0-9%]*(,[a-z0-9]+=[a-z0-9%]*)*)?$"}
    return {"name": name, "in": "header", "description": purpose, "schema": schema}


def _feedback() -> dict[str, Any]:
    item = {"$ref": "#/components/schemas/FeedbackBody"}
    body = {"oneOf": [item, {"type": "array", "items": item, "minItems": 1, "maxItems": MOST_ITEMS}]}
    one = _shape({"id": _TEXT}, ["id"])
    many = _shape({"ids": {"type": "array", "items": _TEXT}}, ["ids"])
    return {
        "summary": "Say how good a call, a turn or a session was; also days later.",
        "requestBody": {"required": True, "content": {JSON: {"schema": body}}},
        "responses": {"201": _answer("It is written.", {"oneOf": [one, many]})} | _problems(_KEPT),
    }


def _otlp(purpose: str, field: str, rejected: str) -> dict[str, Any]:
    body = _shape({field: {"type": "array", "items": _OBJECT}}, [])
    partial = _shape({"partialSuccess": _shape({rejected: _TEXT, "errorMessage": _TEXT}, [])}, [])
    binary = {"schema": {"type": "string", "format": "binary"}}
    status = _shape({"code": {"type": "integer"}, "message": _TEXT}, ["code", "message"])
    # What is wrong with the caller is told before anything speaks OTLP.
    refusal = {JSON: {"schema": {"anyOf": [status, _ERROR]}}, "application/x-protobuf": binary}
    taken = _answer("It is written; what was left is told.", partial)
    taken["content"]["application/x-protobuf"] = binary
    problems = {code: {**told, "content": refusal} for code, told in _problems(_KEPT).items()}
    return {
        "summary": purpose,
        "requestBody": {
            "required": True, "content": {JSON: {"schema": body}, "application/x-protobuf": binary},
        },
        "responses": {"200": taken} | problems,
    }  # fmt: skip


def _question(purpose: str, schema: dict[str, Any], problems: Iterable[int], kind: str = JSON) -> dict[str, Any]:
    return {"summary": purpose, "responses": {"200": _answer("Done.", schema, kind)} | _problems(problems)}


def _listing() -> dict[str, Any]:
    kinds = {"enum": ["alias", "adapter", "base", "provider"]}
    entry = {"id": _TEXT, "object": {"const": "model"}, "created": _COUNT, "owned_by": _TEXT, "kind": kinds}
    listed = {"type": "array", "items": _shape(entry, list(entry))}
    return _shape({"object": {"const": "list"}, "data": listed}, ["object", "data"])


def _totals() -> dict[str, Any]:
    sums = {"type": "object", "additionalProperties": _COUNT}
    totals = _shape({"base": sums, "adapters": {"type": "object", "additionalProperties": sums}}, ["base", "adapters"])
    return _shape({"epoch": _TEXT, "totals": totals}, ["epoch", "totals"])


def _health() -> dict[str, Any]:
    named = _shape({"name": _TEXT, "failure": {"type": ["string", "null"]}}, ["name", "failure"])
    reports = dict.fromkeys(("spool", "ingester", "ledger", "keys", "limits", "otlp"), _OBJECT)
    engine = {"oneOf": [named, {"type": "null"}]}
    told = {"status": {"enum": ["ok", "degraded"]}, "engine": engine, **reports}
    return _shape(told, list(told))


def _schemas() -> dict[str, Any]:
    maybe = {"type": ["string", "null"]}
    said = {"message": _TEXT, "type": _TEXT, "param": maybe, "code": maybe}
    in_short = _shape({"type": _TEXT, "message": _TEXT}, ["type", "message"])
    template = "#/components/schemas/{model}"
    _, read = models_json_schema([(FeedbackBody, "validation")], ref_template=template)
    definitions: dict[str, Any] = read["$defs"]
    return definitions | {
        "Error": _shape({"error": _shape(said, list(said))}, ["error"]),
        "AnthropicError": _shape({"type": {"const": "error"}, "error": in_short}, ["type", "error"]),
    }


def _problems(codes: Iterable[int], path: str = "") -> dict[str, Any]:
    schema: dict[str, Any] = {"$ref": "#/components/schemas/AnthropicError"} if path == "/v1/messages" else _ERROR
    if path:
        schema = {"anyOf": [schema, {"description": "the upstream's own words: it may use the same code"}]}
    return {str(code): _answer(_PROBLEMS[code], schema) for code in codes}


def _answer(purpose: str, schema: dict[str, Any], kind: str = JSON) -> dict[str, Any]:
    return {"description": purpose, "content": {kind: {"schema": schema}}}


def _shape(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required}
