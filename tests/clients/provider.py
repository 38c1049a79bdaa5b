"""A small provider for other people's clients: it speaks OpenAI's and Anthropic's APIs over real HTTP, raw on asyncio.

It does what a model with one habit does. Offered a tool, it calls the first with `{"city": "Paris"}`; given a tool's
result, or no tool, it says `TEXT`; asked for a JSON schema, it says `OBJECT`. Whole, or as a stream where the body says
so. A model named `status-N` answers with that status instead.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

TEXT = "It is 21 °C in Paris."
OBJECT = '{"city": "Paris", "degrees": 21}'
ARGUMENTS = '{"city": "Paris"}'
PROMPT_TOKENS, COMPLETION_TOKENS = 12, 5
USAGE = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": COMPLETION_TOKENS, "total_tokens": 17}
RESPONSE_USAGE = {
    "input_tokens": PROMPT_TOKENS, "output_tokens": COMPLETION_TOKENS, "total_tokens": 17,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}  # fmt: skip


class Call(NamedTuple):
    """What arrived, as it arrived; header names are lower-case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Provider:
    """It serves until `running` is left."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.port = 0
        self.stop: Callable[[], Any] = lambda: None

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept alive."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode("latin-1").split("\r\n")
                told = (line.partition(":") for line in lines if line)
                headers = {name.lower(): value.strip() for name, _, value in told}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                method, path, _ = first.split(" ")
                self.calls.append(Call(method, path, headers, body))
                writer.write(answer(path, body))
                await writer.drain()
        writer.close()


def answer(path: str, body: bytes) -> bytes:
    """Head and body, for whatever is asked."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return http(400, "application/json", b'{"error": {"message": "your JSON is broken", "type": "t"}}')
    model = str(asked["model"])
    if model.startswith("status-"):
        said = {"error": {"message": "said by the provider", "type": "their_type", "code": "their_code"}}
        return http(int(model[7:]), "application/json", json.dumps(said).encode())
    if path.endswith("/embeddings"):
        return whole({"object": "list", "model": model, "data": [embedding()], "usage": USAGE})
    api, streams = path.rpartition("/v1")[2], asked.get("stream") is True
    if api == "/responses":
        return stream(response_events(asked), named=True) if streams else whole(response(asked))
    if api == "/messages":
        return stream(message_events(asked), named=True) if streams else whole(anthropic_message(asked))
    return stream(chunks(asked, api), done=True) if streams else whole(completion(asked, api))


def http(status: int, kind: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def whole(body: dict[str, Any]) -> bytes:
    return http(200, "application/json", json.dumps(body).encode())


def stream(events: list[dict[str, Any]], *, named: bool = False, done: bool = False) -> bytes:
    """As server-sent events, each in an HTTP chunk of its own."""
    said = [(f"event: {event['type']}\n" if named else "") + f"data: {json.dumps(event)}\n\n" for event in events]
    sent = [text.encode() for text in [*said, *(["data: [DONE]\n\n"] if done else [])]]
    head = b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in sent) + b"0\r\n\r\n"


def tool_of(asked: dict[str, Any]) -> str | None:
    """The name of the tool to call; None once one has answered."""
    tools = asked.get("tools")
    said = asked.get("messages") or asked.get("input") or []
    results = [each for each in said if isinstance(each, dict) and is_result(each)]
    if not tools or results:
        return None
    return str(tools[0].get("name") or tools[0]["function"]["name"])


def is_result(message: dict[str, Any]) -> bool:
    parts = message.get("content")
    return (
        message.get("role") == "tool"
        or message.get("type") == "function_call_output"
        or (isinstance(parts, list) and any(part.get("type") == "tool_result" for part in parts))
    )


def words(asked: dict[str, Any]) -> list[str]:
    """The reply's text, in the pieces of a stream."""
    wants = asked.get("response_format") or asked.get("text", {}).get("format", {})
    text = OBJECT if wants.get("type") in ("json_schema", "json_object") else TEXT
    return [text[:7], text[7:]]


def embedding() -> dict[str, Any]:
    return {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}


def completion(asked: dict[str, Any], api: str) -> dict[str, Any]:
    about = {"id": "c1", "object": "text_completion", "created": 1, "model": asked["model"], "usage": USAGE}
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "logprobs": None}
    if api == "/completions":
        return {**about, "choices": [{**choice, "text": TEXT}]}
    message: dict[str, Any] = {"role": "assistant", "content": "".join(words(asked))}
    if name := tool_of(asked):
        function = {"name": name, "arguments": ARGUMENTS}
        message |= {"content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
        choice["finish_reason"] = "tool_calls"
    return {**about, "object": "chat.completion", "choices": [{**choice, "message": message}]}


def chunks(asked: dict[str, Any], api: str) -> list[dict[str, Any]]:
    kind = "text_completion" if api == "/completions" else "chat.completion.chunk"
    about = {"id": "c1", "object": kind, "created": 1, "model": asked["model"]}

    def piece(finish: str | None = None, **said: Any) -> dict[str, Any]:
        told = {"text": said.get("content", "")} if api == "/completions" else {"delta": said}
        return {**about, "choices": [{"index": 0, **told, "finish_reason": finish, "logprobs": None}]}

    if name := tool_of(asked):
        begun = {"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": ""}}
        rest = [{"index": 0, "function": {"arguments": part}} for part in (ARGUMENTS[:8], ARGUMENTS[8:])]
        said = [piece(tool_calls=[each]) for each in [begun, *rest]]
    else:
        said = [piece(content=part) for part in words(asked)]
    last = piece("tool_calls" if name else "stop")
    usage = (asked.get("stream_options") or {}).get("include_usage")
    return [
        piece(role="assistant", content=""),
        *said,
        last,
        *([{**about, "choices": [], "usage": USAGE}] * bool(usage)),
    ]


def response_item(asked: dict[str, Any]) -> dict[str, Any]:
    if name := tool_of(asked):
        call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": name}
        return {**call, "arguments": ARGUMENTS, "status": "completed"}
    content = [{"type": "output_text", "text": "".join(words(asked)), "annotations": [], "logprobs": []}]
    return {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": content}


def response(asked: dict[str, Any]) -> dict[str, Any]:
    about = {"id": "resp_1", "object": "response", "created_at": 1, "model": asked["model"], "status": "completed"}
    set_by = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": asked.get("tools") or [], "error": None}
    return {**about, **set_by, "output": [response_item(asked)], "usage": RESPONSE_USAGE, "metadata": {}}


def response_events(asked: dict[str, Any]) -> list[dict[str, Any]]:
    item, full = response_item(asked), response(asked)
    begun = {**full, "status": "in_progress", "output": [], "usage": None}
    told: list[dict[str, Any]] = [{"type": "response.created", "response": begun}]
    where = {"item_id": item["id"], "output_index": 0}
    if item["type"] == "function_call":
        told.append(added({**item, "arguments": "", "status": "in_progress"}))
        told += [
            {"type": "response.function_call_arguments.delta", **where, "delta": part}
            for part in (ARGUMENTS[:8], ARGUMENTS[8:])
        ]
        name = {"name": item["name"], "arguments": ARGUMENTS}
        told.append({"type": "response.function_call_arguments.done", **where, **name})
    else:
        told.append(added({**item, "content": [], "status": "in_progress"}))
        where["content_index"] = 0
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        told.append({"type": "response.content_part.added", **where, "part": part})
        told += [
            {"type": "response.output_text.delta", **where, "delta": text, "logprobs": []} for text in words(asked)
        ]
        done = item["content"][0]
        told.append({"type": "response.output_text.done", **where, "text": done["text"], "logprobs": []})
        told.append({"type": "response.content_part.done", **where, "part": done})
    told.append({"type": "response.output_item.done", "output_index": 0, "item": item})
    told.append({"type": "response.completed", "response": full})
    return [{**each, "sequence_number": number} for number, each in enumerate(told)]


def added(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": 0, "item": item}


def anthropic_block(asked: dict[str, Any]) -> dict[str, Any]:
    if name := tool_of(asked):
        return {"type": "tool_use", "id": "toolu_1", "name": name, "input": json.loads(ARGUMENTS)}
    return {"type": "text", "text": TEXT}


def anthropic_message(asked: dict[str, Any]) -> dict[str, Any]:
    block = anthropic_block(asked)
    about = {"id": "msg_1", "type": "message", "role": "assistant", "model": asked["model"]}
    stop = {"stop_reason": "tool_use" if block["type"] == "tool_use" else "end_turn", "stop_sequence": None}
    usage = {"input_tokens": PROMPT_TOKENS, "output_tokens": COMPLETION_TOKENS}
    return {**about, "content": [block], **stop, "usage": usage}


def message_events(asked: dict[str, Any]) -> list[dict[str, Any]]:
    full, block = anthropic_message(asked), anthropic_block(asked)
    begun = {**full, "content": [], "stop_reason": None, "usage": {**full["usage"], "output_tokens": 1}}
    if block["type"] == "tool_use":
        empty = {**block, "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in (ARGUMENTS[:8], ARGUMENTS[8:])]
    else:
        empty = {**block, "text": ""}
        deltas = [{"type": "text_delta", "text": part} for part in words(asked)]
    stop = {"stop_reason": full["stop_reason"], "stop_sequence": None}
    return [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": empty},
        {"type": "ping"},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": stop, "usage": {"output_tokens": COMPLETION_TOKENS}},
        {"type": "message_stop"},
    ]


@contextlib.contextmanager
def running() -> Iterator[Provider]:
    """The provider, in a thread of its own, until the block ends."""
    provider, loop, ready = Provider(), asyncio.new_event_loop(), threading.Event()

    async def serve() -> None:
        server = await asyncio.start_server(provider.handle, "127.0.0.1", 0, limit=1 << 26)
        provider.port = server.sockets[0].getsockname()[1]
        stop = asyncio.Event()
        provider.stop = lambda: loop.call_soon_threadsafe(stop.set)
        ready.set()
        await stop.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(5)
    try:
        yield provider
    finally:
        provider.stop()
        thread.join(5)
        loop.close()
