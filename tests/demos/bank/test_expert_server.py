import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from starlette.testclient import TestClient

from journeyman.demos.bank.expert import ASK_BOTH
from journeyman.demos.bank.expert_server import MODEL, application

COMMAND = [sys.executable, "-m", "journeyman.demos.bank.expert_server", "--port"]
ASKING = [{"role": "user", "content": "Please freeze my card."}]
CALLING = [{"role": "user", "content": "Freeze my card. I am Anna Keller, born 1984-03-12."}]


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(application()) as client:
        yield client


@pytest.fixture(scope="module")
def stock() -> Iterator[openai.OpenAI]:
    """The stock client, connected to a real server in a process of its own."""
    with subprocess.Popen([*COMMAND, "0"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = re.search(r"http\S+", server.stdout.readline())
        assert address is not None
        with openai.OpenAI(base_url=address[0], api_key="none", max_retries=5) as client:
            yield client
        server.terminate()


def post(client: TestClient, **body: Any) -> Any:
    return client.post("/v1/chat/completions", json={"model": MODEL, "messages": ASKING, **body})


def test_the_stock_client_gets_words_and_calls(stock: openai.OpenAI) -> None:
    said = stock.chat.completions.create(model=MODEL, messages=ASKING, temperature=0.5)
    assert said.choices[0].message.content == ASK_BOTH
    assert said.choices[0].finish_reason == "stop"
    assert said.usage.total_tokens == said.usage.prompt_tokens + said.usage.completion_tokens > 0
    called = stock.chat.completions.create(model=MODEL, messages=CALLING).choices[0]
    assert called.finish_reason == "tool_calls"
    assert called.message.content is None
    assert json.loads(called.message.tool_calls[0].function.arguments) == {"name": "Anna Keller"}
    assert [model.id for model in stock.models.list()] == [MODEL]


def test_the_stock_client_streams_the_same(stock: openai.OpenAI) -> None:
    with stock.chat.completions.stream(model=MODEL, messages=ASKING, stream_options={"include_usage": True}) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == ASK_BOTH
    assert final.usage.total_tokens > 0
    with stock.chat.completions.stream(model=MODEL, messages=CALLING) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.name == "find_customer"
    assert final.choices[0].finish_reason == "tool_calls"


def test_usage_is_streamed_only_when_asked_for(client: TestClient) -> None:
    lines = [line for line in post(client, stream=True).text.split("\n\n") if line]
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == ASK_BOTH
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[-2:]] == [None, "stop"]
    assert not any("usage" in chunk for chunk in chunks)


def test_health(client: TestClient) -> None:
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"model": "gpt"}, 404, "no model named 'gpt'; there is: scripted-expert"),
        ({"messages": []}, 400, "messages is empty"),
        ({"messages": "hello"}, 400, "not in OpenAI's form"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, 400, "not in OpenAI's form"),
        ({"messages": 5}, 400, "not in OpenAI's form"),
        ({"tools": [{"type": "function"}]}, 400, "not in OpenAI's form"),
        ({"n": 2}, 400, "leave n out"),
        ({"logprobs": True}, 400, "leave logprobs out"),
    ],
)
def test_bad_requests_get_openai_errors(client: TestClient, body: dict, status: int, says: str) -> None:
    answer = post(client, **body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert says in error["message"]


@pytest.mark.parametrize("raw", [b"{", b"[]", b"\xff"])
def test_a_body_that_is_no_object_is_refused(client: TestClient, raw: bytes) -> None:
    assert client.post("/v1/chat/completions", content=raw).status_code == 400


def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run([*COMMAND, str(port)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr
