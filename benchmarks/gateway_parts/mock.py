"""An upstream that is never the bottleneck: canned answers over a bare `asyncio.Protocol`, in a process of its own.

`python -m gateway_parts.mock` (in the folder of the benchmarks) prints its port. A body with `"stream":true` gets an
SSE stream of 52 events (9 KB), any other a whole answer of 0.6 KB. With `--pace SECONDS` the events come one by one.
"""

import argparse
import asyncio
import json
import socket
from typing import cast

import uvicorn

EVENTS = 52
_WORDS = "The quick brown fox jumps over the lazy dog and then rests a while under the old oak tree".split()  # noqa: SIM905


def whole_answer() -> bytes:
    """A chat completion of about 0.6 KB."""
    message = {"role": "assistant", "content": " ".join((_WORDS * 4)[:60])}
    body = {
        "id": "chatcmpl-0123456789abcdef",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "mock-1",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 200, "completion_tokens": 64, "total_tokens": 264},
    }
    return json.dumps(body, separators=(",", ":")).encode()


def stream_events() -> list[bytes]:
    """52 events of about 170 bytes, the last one `[DONE]`."""
    head = {"id": "chatcmpl-0123456789abcdef", "object": "chat.completion.chunk", "created": 1_790_000_000}
    events = [
        head | {"model": "mock-1", "choices": [{"index": 0, "delta": {"content": word + " "}, "finish_reason": None}]}
        for word in (_WORDS * 4)[: EVENTS - 2]
    ]
    events.append(head | {"model": "mock-1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    said = [b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n" for event in events]
    return [*said, b"data: [DONE]\n\n"]


def _response(kind: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


WHOLE = _response("application/json", whole_answer())
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
CHUNKS = [_chunk(event) for event in stream_events()]
STREAM = STREAM_HEAD + b"".join(CHUNKS) + b"0\r\n\r\n"


class Mock(asyncio.Protocol):
    """Answers requests that have a Content-Length, one after the other."""

    def __init__(self, pace: float) -> None:
        self._pace = pace
        self._waiting = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio calls it."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        """As asyncio calls it."""
        assert self._transport is not None
        data = self._waiting + data
        while True:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                break
            head = data[:end].lower()
            at = head.find(b"content-length:")
            size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(data) < end + 4 + size:
                break
            body, data = data[end + 4 : end + 4 + size], data[end + 4 + size :]
            if b'"stream":true' not in body and b'"stream": true' not in body:
                self._transport.write(WHOLE)
            elif self._pace:
                self._transport.write(STREAM_HEAD)
                self._send(0)
            else:
                self._transport.write(STREAM)
        self._waiting = data

    def _send(self, place: int) -> None:
        assert self._transport is not None
        if self._transport.is_closing():
            return
        if place == len(CHUNKS):
            self._transport.write(b"0\r\n\r\n")
            return
        self._transport.write(CHUNKS[place])
        asyncio.get_running_loop().call_later(self._pace, self._send, place + 1)


async def serve(pace: float) -> None:
    """Serve on any free port of loopback until the process is ended."""
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        server = await asyncio.get_running_loop().create_server(lambda: Mock(pace), sock=listener)
        print(listener.getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--pace", type=float, default=0.0)
    with asyncio.Runner(loop_factory=uvicorn.Config("", loop="auto").get_loop_factory()) as runner:
        runner.run(serve(arguments.parse_args().pace))
