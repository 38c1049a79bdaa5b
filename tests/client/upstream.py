"""A small provider that speaks the wire formats over real HTTP; the asked model's name says how it behaves.

    plain           answers well: whole, or as a stream where the body says so
    gzip            the same, compressed
    tool            calls the tool `look_up`
    status-N        answers with the status N
    flaky-NAME      fails with 500 at the first call of that NAME, and answers well afterwards
    cut-N           hangs up behind N events of a stream, or behind N bytes of a whole answer
    silent          takes the call and hangs up without a word
    slow            sends the head, waits until the client is gone (or 10 s), then goes on
    late            waits 1.5 s before it answers
    redirect        sends the caller to the same path below /moved

Run as a program, it serves until its standard input closes, and prints its port first.
"""

import asyncio
import contextlib
import gzip
import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

TEXT = ["The", " answer", " is", " 42", "."]
USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
SCHEMA_TEXT = ['{"name":', ' "Ada",', ' "age": 36}']


class Upstream:
    """The provider, in a thread of its own; `calls` are (path, body) as they came."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self._seen: Counter[str] = Counter()
        self.port = 0
        self.stop: Callable[[], Any] = lambda: None

    @property
    def url(self) -> str:
        """What a client takes as its base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept alive."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode("latin-1").split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                if "content-length" in headers:
                    body = await reader.readexactly(int(headers["content-length"]))
                else:
                    body = b"{}"
                path = first.split(" ")[1].partition("?")[0]
                asked = json.loads(body) if body else {}
                self.calls.append((path, asked))
                self.headers.append(headers)
                if not await self._answer(path, asked, reader, writer):
                    break
        writer.close()

    async def _answer(
        self, path: str, asked: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        if path.endswith("/models"):
            _whole(writer, b'{"object": "list", "data": []}', 200)
            return True
        model, _, much = str(asked.get("model")).partition("-")
        self._seen[str(asked.get("model"))] += 1
        if model == "silent":
            return False
        if model == "late":
            await asyncio.sleep(1.5)
        if model == "redirect" and not path.startswith("/moved"):
            writer.write(f"HTTP/1.1 307 Moved\r\nLocation: /moved{path}\r\nContent-Length: 0\r\n\r\n".encode())
            return True
        if model == "status" or (model == "flaky" and self._seen[str(asked["model"])] == 1):
            status = int(much) if model == "status" else 500
            _whole(writer, json.dumps({"error": {"message": "no", "type": "t"}}).encode(), status)
            return True
        if asked.get("stream"):
            return await self._stream(events(path, asked), model, much, reader, writer)
        answer = json.dumps(whole(path, asked)).encode()
        if model == "cut":
            writer.write(_head(200, "application/json", f"Content-Length: {len(answer)}"))
            writer.write(answer[: int(much)])
            await writer.drain()
            return False
        _whole(writer, answer, 200, compress=model == "gzip")
        await writer.drain()
        return True

    async def _stream(
        self, said: list[bytes], model: str, much: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        compressed = model == "gzip"
        extra = "Transfer-Encoding: chunked" + ("\r\nContent-Encoding: gzip" if compressed else "")
        writer.write(_head(200, "text/event-stream; charset=utf-8", extra))
        if compressed:
            said = [gzip.compress(b"".join(said))]
            said = [said[0][:40], said[0][40:]]
        for number, event in enumerate(said):
            if model == "cut" and number == int(much):
                await writer.drain()
                return False
            if model == "slow" and number == 2:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1), 10)
                    return False
            writer.write(b"%x\r\n%s\r\n" % (len(event), event))
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


def _head(status: int, content_type: str, extra: str) -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\n{extra}\r\n\r\n".encode()


def _whole(writer: asyncio.StreamWriter, body: bytes, status: int, *, compress: bool = False) -> None:
    extra = ""
    if compress:
        body, extra = gzip.compress(body), "Content-Encoding: gzip\r\n"
    writer.write(_head(status, "application/json", f"{extra}Content-Length: {len(body)}") + body)


def whole(path: str, asked: dict[str, Any]) -> dict[str, Any]:
    """A whole answer in the format of its path."""
    text = "".join(SCHEMA_TEXT if "response_format" in asked else TEXT)
    if path.endswith("/embeddings"):
        data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
        return {"object": "list", "model": asked["model"], "data": data, "usage": USAGE}
    if path.endswith("/messages"):
        usage = {"input_tokens": 12, "output_tokens": 5}
        content = [{"type": "text", "text": text}]
        about = {"id": "msg_1", "type": "message", "role": "assistant", "model": asked["model"]}
        return {**about, "content": content, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage}
    if path.endswith("/responses"):
        return response(asked)
    if path.endswith("/chat/completions"):
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if asked["model"] == "tool":
            function = {"name": "look_up", "arguments": '{"what": "42"}'}
            calls = [{"id": "call_1", "type": "function", "function": function}]
            message = {"role": "assistant", "content": None, "tool_calls": calls}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if "tool_calls" in message else "stop"}
        return {**_about("chat.completion", asked), "choices": [choice], "usage": USAGE}
    choice = {"index": 0, "text": text, "finish_reason": "stop", "logprobs": None}
    return {**_about("text_completion", asked), "choices": [choice], "usage": USAGE}


def response(asked: dict[str, Any]) -> dict[str, Any]:
    """A whole answer of the Responses API."""
    content = [{"type": "output_text", "text": "".join(TEXT), "annotations": []}]
    message = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": content}
    counted = {"input_tokens": 12, "output_tokens": 5, "total_tokens": 17}
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    return {
        **{"id": "resp_1", "object": "response", "created_at": 1, "model": asked["model"], "status": "completed"},
        **{"output": [message], "parallel_tool_calls": True, "tool_choice": "auto", "tools": []},
        "usage": {**counted, **details},
    }


def events(path: str, asked: dict[str, Any]) -> list[bytes]:
    """A streamed answer in the format of its path, event by event."""
    if path.endswith("/responses"):
        begun = {**response(asked), "status": "in_progress", "output": []}
        told: list[dict[str, Any]] = [{"type": "response.created", "response": begun, "sequence_number": 0}]
        item = {"type": "message", "id": "msg_1", "status": "in_progress", "role": "assistant", "content": []}
        told.append({"type": "response.output_item.added", "output_index": 0, "item": item})
        part = {"type": "output_text", "text": "", "annotations": []}
        where = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        told.append({"type": "response.content_part.added", **where, "part": part})
        told += [{"type": "response.output_text.delta", **where, "delta": text, "logprobs": []} for text in TEXT]
        told.append({"type": "response.completed", "response": response(asked)})
        numbered = [{**each, "sequence_number": number} for number, each in enumerate(told)]
        return [b"event: %s\ndata: %s\n\n" % (each["type"].encode(), json.dumps(each).encode()) for each in numbered]
    about = _about("chat.completion.chunk", asked)
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    if asked["model"] == "tool":
        function = {"name": "look_up", "arguments": ""}
        deltas.append({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]})
        parts = ('{"what":', ' "42"}')
        deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": part}}]} for part in parts]
    else:
        deltas += [{"content": text} for text in (SCHEMA_TEXT if "response_format" in asked else TEXT)]
    told = [{**about, "choices": [{"index": 0, "delta": each, "finish_reason": None}]} for each in deltas]
    finish = "tool_calls" if asked["model"] == "tool" else "stop"
    told.append({**about, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    told.append({**about, "choices": [], "usage": USAGE})
    return [b"data: %s\n\n" % json.dumps(each).encode() for each in told] + [b"data: [DONE]\n\n"]


def _about(kind: str, asked: dict[str, Any]) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": asked["model"]}


@contextlib.contextmanager
def running() -> Iterator[Upstream]:
    """The provider, until the block ends."""
    upstream, loop, ready = Upstream(), asyncio.new_event_loop(), threading.Event()

    async def serve() -> None:
        server = await asyncio.start_server(upstream.handle, "127.0.0.1", 0)
        upstream.port = server.sockets[0].getsockname()[1]
        stop = asyncio.Event()
        upstream.stop = lambda: loop.call_soon_threadsafe(stop.set)
        ready.set()
        await stop.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    ready.wait(5)
    try:
        yield upstream
    finally:
        upstream.stop()
        thread.join(5)
        loop.close()


if __name__ == "__main__":
    with running() as found:
        print(found.port, flush=True)
        sys.stdin.read()
