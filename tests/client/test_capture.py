"""`journeyman.capture()` around httpx, httpx2, aiohttp and requests, made before or within it."""

import asyncio
import gc
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests

import journeyman
from journeyman.client import patches
from tests.client.spooled import spooled
from tests.client.upstream import Upstream

SAID = [{"role": "user", "content": "What is the answer?"}]
BOTH = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])


def body(model: str = "plain", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": SAID, **more}


def hooked() -> list[object]:
    """The methods that we replace, as they are now."""
    found = [each.send for module in (httpx, httpx2) for each in (module.Client, module.AsyncClient)]
    return [*found, aiohttp.ClientSession._request, requests.adapters.HTTPAdapter.send]


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Any:
    before = hooked()
    yield
    assert hooked() == before


@BOTH
def test_httpx_that_was_there_before(library: Any, upstream: Upstream, home: Path):
    with library.Client() as client:
        with journeyman.capture(session="s", person="p", tags={"a": 1}) as captured:
            whole = client.post(f"{upstream.url}/chat/completions", json=body())
            with client.stream("POST", f"{upstream.url}/chat/completions", json=body("gzip", stream=True)) as answer:
                text = "".join(answer.iter_text())
            client.get(f"{upstream.url}/models")
        client.post(f"{upstream.url}/chat/completions", json=body())
    first, second = spooled(home)
    assert (first.start["session"], first.start["person"], first.start["tags"]) == ("s", "p", {"a": "1"})
    assert (first.start["source"], first.start["model"], first.start["api"]) == ("client", "plain", "chat")
    assert json.loads(first.body) == body()
    assert first.answer == whole.content
    assert second.answer.decode() == text
    assert [each.state for each in (first, second)] == ["complete", "complete"]
    assert list(captured.calls) == [first.start["id"], second.start["id"]]
    assert captured.last == second.start["id"]


@BOTH
async def test_async_httpx(library: Any, upstream: Upstream, home: Path):
    async with library.AsyncClient() as client, journeyman.capture():
        whole = await client.post(f"{upstream.url}/messages", json=body())
        async with client.stream("POST", f"{upstream.url}/chat/completions", json=body(stream=True)) as answer:
            parts = [part async for part in answer.aiter_bytes()]
        async with client.stream("POST", f"{upstream.url}/chat/completions", json=body("slow", stream=True)) as answer:
            await anext(answer.aiter_bytes())
        with pytest.raises(library.RemoteProtocolError):
            await client.post(f"{upstream.url}/chat/completions", json=body("cut-3", stream=True))
    calls = spooled(home)
    assert [call.start["api"] for call in calls] == ["messages", "chat", "chat", "chat"]
    assert [call.answer for call in calls][:2] == [whole.content, b"".join(parts)]
    assert [call.state for call in calls] == ["complete", "complete", "aborted_client", "truncated_upstream"]


@BOTH
def test_hooks_of_the_program_see_what_they_always_saw(library: Any, upstream: Upstream, home: Path):
    seen: list[Any] = []

    def read_it(response: Any) -> None:
        seen.append(json.loads(response.read()))

    with library.Client(event_hooks={"response": [read_it]}) as client, journeyman.capture():
        with client.stream("POST", f"{upstream.url}/chat/completions", json=body()) as answer:
            assert answer.read()
        assert answer.elapsed.total_seconds() > 0
    (call,) = spooled(home)
    assert json.loads(call.answer) == seen[0]
    assert call.state == "complete"


@BOTH
def test_a_response_that_is_dropped_unread(library: Any, upstream: Upstream, home: Path):
    with library.Client() as client, journeyman.capture():
        request = client.build_request("POST", f"{upstream.url}/chat/completions", json=body(stream=True))
        client.send(request, stream=True)
        gc.collect()
    assert [call.state for call in spooled(home)] == ["aborted_client"]


READ: dict[str, Callable[[Any], bytes]] = {
    "content": lambda answer: answer.content,
    "parts": lambda answer: b"".join(answer.iter_content(7)),
    "raw": lambda answer: answer.raw.read(decode_content=True),
}


@pytest.mark.parametrize("read", READ)
@pytest.mark.parametrize("model", ["plain", "gzip"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_requests(read: str, model: str, streamed: bool, upstream: Upstream, home: Path):
    url = f"{upstream.url}/chat/completions"
    with requests.Session() as session, journeyman.capture():
        answer = session.post(url, json=body(model, stream=streamed), stream=True)
        assert type(answer) is requests.Response
        text = READ[read](answer)
    (call,) = spooled(home)
    assert call.answer == text
    assert (call.state, call.end and call.end["streamed"]) == ("complete", streamed)


def test_requests_read_still_compressed(upstream: Upstream, home: Path):
    url = f"{upstream.url}/chat/completions"
    plain = requests.post(url, json=body("gzip")).content
    with journeyman.capture():
        answer = requests.post(url, json=body("gzip"), stream=True)
        assert answer.raw.read(10, decode_content=False) + answer.raw.read(decode_content=False) != plain
    (call,) = spooled(home)
    assert call.answer == plain
    assert call.state == "complete"


def test_requests_that_end_badly(upstream: Upstream, home: Path):
    url = f"{upstream.url}/chat/completions"
    with journeyman.capture():
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            requests.post(url, json=body("cut-3", stream=True))
        with requests.post(url, json=body("slow", stream=True), stream=True) as answer:
            next(answer.iter_lines())
        with pytest.raises(requests.exceptions.ConnectionError):
            requests.post(url, json=body("silent"))
        with pytest.raises(requests.exceptions.ConnectionError):
            requests.post("http://127.0.0.1:9/v1/responses", json=body())
        assert requests.post(url, json=body("status-429")).status_code == 429
    calls = spooled(home)
    states = ["truncated_upstream", "aborted_client", "failed", "failed", "complete"]
    assert [call.state for call in calls] == states
    assert calls[0].answer.count(b"data:") == 3


async def test_aiohttp(upstream: Upstream, home: Path):
    url = f"{upstream.url}/chat/completions"
    async with aiohttp.ClientSession() as session, journeyman.capture(session="s"):
        async with session.post(url, json=body("gzip")) as answer:
            assert type(answer) is aiohttp.ClientResponse
            whole = await answer.read()
        async with session.post(url, data=json.dumps(body(stream=True))) as answer:
            lines = [line async for line in answer.content]
        async with session.post(url, json=body("gzip", stream=True), auto_decompress=False) as answer:
            compressed = await answer.read()
        async with session.post(url, json=body("slow", stream=True)) as answer:
            await answer.content.readline()
        async with session.post(url, json=body("cut-3", stream=True)) as answer:
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()
        with pytest.raises(aiohttp.ClientResponseError, match="429"):
            await session.post(url, json=body("status-429"), raise_for_status=True)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await session.post(url, json=body("silent"))
        with pytest.raises(asyncio.TimeoutError):
            await session.post(url, json=body("late"), timeout=aiohttp.ClientTimeout(0.2))
        async with session.get(f"{upstream.url}/models") as answer:
            assert answer.status == 200
    calls = spooled(home)
    expected = ["complete"] * 3 + ["aborted_client", "truncated_upstream", "truncated_upstream", "failed", "failed"]
    assert [call.state for call in calls] == expected
    assert calls[0].answer == whole
    assert calls[1].answer == b"".join(lines) == calls[2].answer.replace(b'"gzip"', b'"plain"')
    assert compressed != calls[2].answer
    assert calls[4].answer.count(b"data:") == 3
    assert [json.loads(call.body)["messages"] for call in calls] == [SAID] * 8
    assert calls[5].end is not None
    assert calls[5].end["status"] == 429
    assert {call.start["session"] for call in calls} == {"s"}


async def test_aiohttp_sends_what_it_always_sent(upstream: Upstream, home: Path):
    asked = {**body(), "note": "Grüße, 日本"}
    async with aiohttp.ClientSession(json_serialize=lambda value: json.dumps(value, indent=3)) as session:
        for _ in range(2):
            async with session.post(f"{upstream.url}/chat/completions", json=asked) as answer:
                await answer.read()
            patches.acquire()
        with journeyman.capture():
            async with session.post(f"{upstream.url}/chat/completions", json=asked) as answer:
                await answer.read()
        patches.release()
        patches.release()
    (call,) = spooled(home)
    assert call.body == json.dumps(asked, indent=3).encode()
    assert upstream.headers[0] == upstream.headers[-1]
    assert upstream.calls[0] == upstream.calls[-1]


async def test_aiohttp_beneath_httpx_is_one_call(upstream: Upstream, home: Path):
    class ThroughAiohttp(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            url, data = str(request.url), request.content
            async with aiohttp.ClientSession() as session, session.post(url, data=data) as answer:
                return httpx.Response(answer.status, content=await answer.read())

    async with httpx.AsyncClient(transport=ThroughAiohttp()) as client, journeyman.capture():
        await client.post(f"{upstream.url}/chat/completions", json=body())
    assert [call.state for call in spooled(home)] == ["complete"]


def test_within_our_client_a_block_captures_once(upstream: Upstream, home: Path):
    with journeyman.OpenAI(base_url=upstream.url, api_key="k") as client, journeyman.capture(session="s"):
        client.chat.completions.create(model="plain", messages=SAID)
    assert [call.start["session"] for call in spooled(home)] == ["s"]


def test_an_http_client_shared_with_the_stock_one_is_captured_for_ours_only(upstream: Upstream, home: Path):
    import openai

    with httpx2.Client() as shared:
        ours = journeyman.OpenAI(base_url=upstream.url, api_key="k", http_client=shared)
        stock = openai.OpenAI(base_url=upstream.url, api_key="k", http_client=shared)
        for client in (stock, ours, stock, ours):
            client.chat.completions.create(model="plain", messages=SAID, user=type(client).__module__)
    assert [b"journeyman" in call.body for call in spooled(home)] == [True, True]


def test_blocks_in_blocks(upstream: Upstream, tmp_path: Path):
    url = f"{upstream.url}/chat/completions"
    with journeyman.capture(session="outer", tags={"a": "1", "b": "1"}, home=tmp_path / "one") as outer:
        httpx.post(url, json=body())
        with journeyman.capture(tags={"b": "2"}), journeyman.session("inner", person="p"):
            httpx.post(url, json=body())
        with journeyman.capture(home=tmp_path / "two") as other:
            httpx.post(url, json=body())
    first, second = (call.start for call in spooled(tmp_path / "one"))
    (third,) = (call.start for call in spooled(tmp_path / "two"))
    assert (first["session"], first["person"], first["tags"]) == ("outer", None, {"a": "1", "b": "1"})
    assert (second["session"], second["person"], second["tags"]) == ("inner", "p", {"a": "1", "b": "2"})
    assert (third["session"], third["tags"]) == ("outer", {"a": "1", "b": "1"})
    assert list(outer.calls) == [first["id"], second["id"], third["id"]]
    assert list(other.calls) == [third["id"]]


def test_a_session_alone_captures_nothing(upstream: Upstream, home: Path):
    with journeyman.session("s"):
        httpx.post(f"{upstream.url}/chat/completions", json=body())
    assert spooled(home) == []


async def test_decorated_functions(upstream: Upstream, home: Path):
    @journeyman.capture
    def bare() -> int:
        return httpx.post(f"{upstream.url}/chat/completions", json=body()).status_code

    @journeyman.capture(session="s")
    async def named() -> int:
        async with httpx.AsyncClient() as client:
            return (await client.post(f"{upstream.url}/chat/completions", json=body())).status_code

    assert await asyncio.to_thread(bare) == 200
    assert await asyncio.gather(named(), named()) == [200, 200]
    assert sorted(str(call.start["session"]) for call in spooled(home)) == ["None", "s", "s"]
    with pytest.raises(TypeError, match="generator"):

        @journeyman.capture
        def generator() -> Any:
            yield 1


async def test_tasks_keep_apart(upstream: Upstream, home: Path):
    async with httpx.AsyncClient() as client:

        async def one(number: int) -> None:
            with journeyman.capture(session=f"s{number}"):
                await asyncio.sleep(0.01 * (number % 4))
                await client.post(f"{upstream.url}/chat/completions", json=body(user=f"s{number}"))

        await asyncio.gather(*(one(number) for number in range(30)))
    calls = spooled(home)
    assert sorted(call.start["session"] for call in calls) == sorted(f"s{number}" for number in range(30))
    assert all(json.loads(call.body)["user"] == call.start["session"] for call in calls)


def test_threads_keep_apart(upstream: Upstream, home: Path):
    url, barrier = f"{upstream.url}/chat/completions", threading.Barrier(8)

    def one(number: int) -> None:
        barrier.wait()
        with journeyman.capture(session=f"s{number}"):
            for _ in range(5):
                httpx.post(url, json=body(user=f"s{number}"))
        requests.post(url, json=body(user="outside"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(8)))
    calls = spooled(home)
    assert len(calls) == 40
    assert all(json.loads(call.body)["user"] == call.start["session"] for call in calls)


def test_a_library_that_is_imported_within_a_block(upstream: Upstream, home: Path):
    program = f"""
import sys, journeyman
assert "journeyman.client" not in sys.modules
with journeyman.capture():
    assert "requests" not in sys.modules
    import requests
    requests.post({upstream.url!r} + "/chat/completions", json={body()!r})
    assert "aiohttp" not in sys.modules
requests.post({upstream.url!r} + "/chat/completions", json={body()!r})
assert requests.__spec__.loader is requests.__loader__ and "journeyman" not in repr(requests.__loader__)
assert all("journeyman" not in type(each).__module__ for each in sys.meta_path)
import journeyman.capture.frames
assert callable(journeyman.capture)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(spooled(home)) == 1


def test_somebody_elses_hook_over_ours_stays(upstream: Upstream, home: Path, monkeypatch: pytest.MonkeyPatch):
    original, url, theirs = httpx.Client.send, f"{upstream.url}/chat/completions", []
    with journeyman.capture():
        ours = httpx.Client.send

        def send(self: Any, *arguments: Any, **named: Any) -> Any:
            theirs.append(1)
            return ours(self, *arguments, **named)

        httpx.Client.send = send  # type: ignore[method-assign]
    try:
        httpx.post(url, json=body())
        with journeyman.capture():
            httpx.post(url, json=body())
        assert httpx.Client.send is send
    finally:
        httpx.Client.send = ours  # type: ignore[method-assign]
        with journeyman.capture():
            pass
    assert httpx.Client.send is original
    assert (len(theirs), len(spooled(home))) == (2, 1)
