"""The local engine behind the OpenAI API: the gateway reaches it as it reaches any other server."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from journeyman.engines.local.api.body import ChatBody, LoadBody, UnloadBody, read_as, read_body
from journeyman.engines.local.api.replies import Completion, Written
from journeyman.engines.local.network.model import LocalModel
from journeyman.engines.local.request import Request, Update
from journeyman.engines.local.sampling.sampler import Sampler
from journeyman.engines.local.scheduler import Scheduler
from journeyman.errors import ContextTooLong, InvalidInput, JourneymanError, ModelFileBroken, NotFound
from journeyman.rendering.chat import ChatTokenizer

Updates = asyncio.Queue[tuple[int, Update]]


class EngineServer:
    """Answers chat completions of one base model and its adapters."""

    def __init__(self, model: LocalModel, name: str, threads: int | None = None) -> None:
        self._model, self._name = model, name
        self._scheduler = Scheduler(model, threads)
        self._tokenizers: dict[str | None, ChatTokenizer] = {None: ChatTokenizer(model.folder)}

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/v1/chat/completions", _guarded(self.chat), methods=["POST"]),
                Route("/v1/models", _guarded(self.models)),
                Route("/v1/load_lora_adapter", _guarded(self.load), methods=["POST"]),
                Route("/v1/unload_lora_adapter", _guarded(self.unload), methods=["POST"]),
                Route("/healthz", _guarded(self.health)),
            ]
        )

    def close(self) -> None:
        """Stop the engine's thread."""
        self._scheduler.close()

    async def health(self, request: HTTPRequest) -> Response:
        """The engine is up: the model is in memory before the server listens."""
        return JSONResponse({"status": "ok", "model": self._name, "precision": str(self._model.dtype)})

    async def models(self, request: HTTPRequest) -> Response:
        """The base model and the adapters that are loaded."""
        names = [self._name, *self._model.adapters]
        return JSONResponse(
            {"object": "list", "data": [{"id": name, "object": "model", "owned_by": "journeyman"} for name in names]}
        )

    async def load(self, request: HTTPRequest) -> Response:
        """Load an adapter from a folder (vLLM's route and field names)."""
        body = read_as(LoadBody, await _json(request))
        name, folder = body.lora_name, body.lora_path
        if name == self._name:
            raise InvalidInput(f"{name!r} is the name of the base model; give the adapter another one")
        try:
            tokenizer = self._tokenizers[None].for_adapter(folder)
            await asyncio.wrap_future(self._scheduler.call(lambda model: model.load_adapter(name, folder)))
        except ModelFileBroken as error:
            # Here the files are what was asked for, not the server's own.
            raise InvalidInput(str(error)) from error
        self._tokenizers[name] = tokenizer
        return JSONResponse({"status": "loaded", "lora_name": name})

    async def unload(self, request: HTTPRequest) -> Response:
        """Forget an adapter; requests that run under it finish first."""
        name = read_as(UnloadBody, await _json(request)).lora_name
        if name not in self._model.adapters:
            raise NotFound("adapter", name, self._model.adapters)
        await asyncio.wrap_future(self._scheduler.call(lambda model: model.unload_adapter(name)))
        self._tokenizers.pop(name, None)
        return JSONResponse({"status": "unloaded", "lora_name": name})

    async def chat(self, request: HTTPRequest) -> Response:
        """`POST /v1/chat/completions`, whole or streamed."""
        body = read_body(await _json(request))
        requests, updates = self._submit(body)
        completion = Completion(body, requests)
        if body.stream:
            return StreamingResponse(_stream(body, completion, requests, updates), media_type="text/event-stream")
        written = [Written(body) for _ in requests]
        watching = asyncio.create_task(_cancel_when_gone(request, requests))
        try:
            async for index, update in _until_all_ended(requests, updates):
                written[index].add(update.text)
        finally:
            watching.cancel()
        return JSONResponse(completion.whole(written))

    def _submit(self, body: ChatBody) -> tuple[list[Request], Updates]:
        adapter = None if body.model == self._name else body.model
        tokenizer = self._tokenizers.get(adapter)
        if tokenizer is None:
            raise NotFound("model", body.model, [self._name, *self._model.adapters])
        prompt = tokenizer.prompt(body.messages, body.tools if body.tool_choice == "auto" else ())
        if not prompt:
            raise InvalidInput("the chat template makes nothing of this conversation; say something in it")
        room = self._model.context - len(prompt)
        if room < 1:
            raise ContextTooLong(len(prompt), self._model.context)
        if body.limit is not None and body.limit > room:
            raise ContextTooLong(
                len(prompt) + body.limit, self._model.context, f"prompt ({len(prompt)}) and max_tokens"
            )
        loop, updates = asyncio.get_running_loop(), Updates()

        def teller(index: int) -> Callable[[Update], None]:
            return lambda update: _tell(loop, updates, index, update)

        requests = [
            Request(prompt, Sampler(body.rule(index)), body.limit or room, body.stops, tokenizer,
                    teller(index), adapter, body.top_logprobs)
            for index in range(body.n)
        ]  # fmt: skip
        for request in requests:
            self._scheduler.submit(request)
        return requests, updates


def _tell(loop: asyncio.AbstractEventLoop, updates: Updates, index: int, update: Update) -> None:
    # The loop is closed when the server went down first: then nobody listens any more.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(updates.put_nowait, (index, update))


async def _until_all_ended(requests: list[Request], updates: Updates) -> AsyncGenerator[tuple[int, Update]]:
    """Every update of every choice; leaving early cancels what is still being written."""
    running = len(requests)
    try:
        while running:
            index, update = await updates.get()
            if update.error is not None:
                raise update.error
            running -= update.finish_reason is not None
            yield index, update
    finally:
        for request in requests:
            request.cancelled = True


async def _cancel_when_gone(http: HTTPRequest, requests: list[Request]) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        continue
    for request in requests:
        request.cancelled = True


async def _stream(
    body: ChatBody, completion: Completion, requests: list[Request], updates: Updates
) -> AsyncIterator[bytes]:
    written = [Written(body) for _ in requests]
    for index in range(len(requests)):
        yield _event(completion.chunk(index, {"role": "assistant", "content": ""}))
    try:
        async with contextlib.aclosing(_until_all_ended(requests, updates)) as ongoing:
            async for index, update in ongoing:
                words = written[index].add(update.text)
                if words:
                    yield _event(completion.chunk(index, {"content": words}))
                if update.finish_reason is not None:
                    yield _event(completion.last_chunk(index, written[index]))
    except JourneymanError as error:
        # The headers are gone: an error event and no [DONE] is the truth about this stream.
        yield _event(_error_body(error))
        return
    if body.stream_options is not None and body.stream_options.include_usage:
        yield _event(completion.usage_chunk())
    yield b"data: [DONE]\n\n"


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def _error_body(error: JourneymanError) -> dict[str, Any]:
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    return {"error": {"message": str(error), "type": kind, "param": None, "code": error.code}}


def _guarded(handle: Callable[[HTTPRequest], Awaitable[Response]]) -> Callable[[HTTPRequest], Awaitable[Response]]:
    async def guarded(request: HTTPRequest) -> Response:
        try:
            return await handle(request)
        except JourneymanError as error:
            return JSONResponse(_error_body(error), status_code=error.status)
        except ClientDisconnect:
            return Response(status_code=499)

    return guarded


async def _json(request: HTTPRequest) -> Any:
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the body is not valid JSON: {error}") from error
