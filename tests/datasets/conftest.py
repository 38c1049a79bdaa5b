"""A real OpenAI-compatible server whose answers are scripted, for nodes that ask a model."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from typing import Any

import pytest

Script = Callable[[dict[str, Any]], Any]


@dataclass
class ChatServer:
    """What was asked and when; `script` makes the reply: text, a message, or (status, body, headers)."""

    url: str = ""
    script: Script = lambda asked: "yes"
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def texts(self) -> list[str]:
        return [asked["messages"][-1]["content"] for asked in self.asked]


@pytest.fixture
def chat_server() -> Iterator[ChatServer]:
    scripted = ChatServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with scripted.lock:
                scripted.asked.append(asked)
                scripted.headers.append({key.lower(): value for key, value in self.headers.items()})
                scripted.times.append(monotonic())
                scripted.at_once += 1
                scripted.most_at_once = max(scripted.most_at_once, scripted.at_once)
            said = scripted.script(asked)
            with scripted.lock:
                scripted.at_once -= 1
            status, body, headers = said if isinstance(said, tuple) else (200, completion(said), {})
            content = json.dumps(body).encode()
            self.send_response(status)
            for key, value in {"content-type": "application/json", **headers}.items():
                self.send_header(key, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Keep the tests' output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    scripted.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield scripted
    server.shutdown()
    thread.join()
    server.server_close()


def completion(said: Any) -> dict[str, Any]:
    message = {"content": said} if isinstance(said, str) else said
    finish = message.pop("finish_reason", "stop")
    choice = {"index": 0, "message": {"role": "assistant", "refusal": None, **message}, "finish_reason": finish}
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
