"""The scripted expert behind the OpenAI API, so that the demo's incumbent is called like any other model.

    python -m journeyman.demos.bank.expert_server --port 8700

A script samples nothing: temperature, top_p, seed and max_tokens are accepted and change nothing; what it
could not honour (`n` above 1, logprobs) is refused.
"""

import json
import re
import socket
import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer
import uvicorn
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from journeyman.demos.bank.expert import reply
from journeyman.engines.scripted import estimated_usage
from journeyman.errors import InvalidInput, JourneymanError, NotFound, PortInUse
from journeyman.records import Message, Tool, new_id

MODEL = "scripted-expert"


def application() -> Starlette:
    """The server's routes."""
    return Starlette(
        routes=[
            Route("/healthz", _health),
            Route("/v1/models", _models),
            Route("/v1/chat/completions", _complete, methods=["POST"]),
        ],
        exception_handlers={JourneymanError: _refuse},
    )


async def _health(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _models(request: Request) -> Response:
    return JSONResponse({"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "journeyman"}]})


async def _complete(request: Request) -> Response:
    body = _read(await request.body())
    try:
        messages = [Message.model_validate(message) for message in body.get("messages") or []]
        tools = [Tool.model_validate(tool) for tool in body.get("tools") or []]
    except (ValidationError, TypeError) as problem:
        raise InvalidInput(f"messages or tools are not in OpenAI's form: {problem}") from None
    if not messages:
        raise InvalidInput("messages is empty; send at least one")
    message = reply(messages)
    answer: dict[str, Any] = {
        "id": f"chatcmpl-{new_id()}",
        "created": int(time.time()),
        "model": MODEL,
    }
    finish = "tool_calls" if message.tool_calls else "stop"
    # No tokenizer ever saw these words: tokens are counted as one for every four characters.
    usage = estimated_usage(messages, tools, message).model_dump(include={"prompt_tokens", "completion_tokens"})
    usage["total_tokens"] = sum(usage.values())
    if body.get("stream"):
        wants_usage = (body.get("stream_options") or {}).get("include_usage", False)
        chunks = _chunks(answer, message, finish, usage if wants_usage else None)
        return StreamingResponse(chunks, media_type="text/event-stream")
    choice = {"index": 0, "message": message.wire(), "finish_reason": finish, "logprobs": None}
    return JSONResponse({**answer, "object": "chat.completion", "choices": [choice], "usage": usage})


def _read(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError as problem:
        raise InvalidInput(f"the request body is not JSON: {problem}") from None
    if not isinstance(body, dict):
        raise InvalidInput("the request body is not a JSON object")
    if body.get("model") != MODEL:
        raise NotFound("model", str(body.get("model")), [MODEL])
    for name, only in (("n", 1), ("logprobs", False)):
        if body.get(name) not in (None, only):
            raise InvalidInput(f"a script has one reply and no probabilities; leave {name} out")
    return body


def _chunks(answer: dict[str, Any], message: Message, finish: str, usage: dict[str, Any] | None) -> Iterator[str]:
    """Server-sent events: the words one by one, a tool call whole, the end, and the usage where it was asked for."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None if message.tool_calls else ""}]
    if message.tool_calls:
        deltas.append({"tool_calls": [{"index": i, **made.wire()} for i, made in enumerate(message.tool_calls)]})
    else:
        deltas += [{"content": word} for word in re.findall(r"\S+\s*", message.text)]
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    head = {**answer, "object": "chat.completion.chunk"}
    for choice in choices:
        yield _event({**head, "choices": [choice]})
    if usage is not None:
        yield _event({**head, "choices": [], "usage": usage})
    yield "data: [DONE]\n\n"


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"


async def _refuse(request: Request, problem: Exception) -> Response:
    status, code = getattr(problem, "status", 500), getattr(problem, "code", "error")
    error = {"message": str(problem), "type": "invalid_request_error", "param": None, "code": code}
    return JSONResponse({"error": error}, status_code=status)


def serve(
    port: Annotated[int, typer.Option(help="Where to listen; 0 takes a free port.")] = 8700,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
) -> None:
    """Serve the scripted expert until interrupted."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as problem:
        listener.close()
        raise PortInUse(f"cannot listen on {host}:{port} ({problem.strerror}); choose another with --port") from None
    typer.echo(f"{MODEL} on http://{host}:{listener.getsockname()[1]}/v1")
    uvicorn.Server(uvicorn.Config(application(), log_level="warning")).run(sockets=[listener])


def main() -> None:
    """The command; an error becomes one line and an exit code."""
    try:
        typer.run(serve)
    except JourneymanError as problem:
        typer.echo(f"error: {problem}", err=True)
        raise SystemExit(problem.exit_code) from None


if __name__ == "__main__":
    main()
