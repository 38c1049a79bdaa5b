"""All five APIs, slow and vanished clients, keys and durable calls: over real sockets."""

import asyncio
import json

import aiohttp
import anthropic
import pytest
from aiohttp import web

from journeyman.capture.spool import Spool
from journeyman.gateway import forward
from journeyman.gateway.keys import hash_of
from journeyman.records import ApiKey, Exchange, Limits

HI = [{"role": "user", "content": "Hi"}]
KEY = "jm-" + "a" * 43
PATHS = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/messages"]


@pytest.fixture
async def anything(upstream):
    """An upstream that tells where it was asked, and answers every path with what `answer` gives."""
    seen = []

    async def take(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        seen.append((request.path, body, dict(request.headers)))
        return await upstream.answer(request, body)

    app = web.Application(client_max_size=1 << 30)
    app.router.add_post("/{tail:.*}", take)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    upstream.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield seen
    await runner.cleanup()


async def post(gateway, path, body, **headers):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{gateway.url}{path}", data=data, headers=headers) as answer,
    ):
        return answer.status, answer.headers, await answer.read()


def key_of(**more):
    hashed = hash_of(KEY)
    return ApiKey(name="anna", hash=hashed, fingerprint=hashed[:12], **more)


@pytest.mark.parametrize("path", PATHS)
async def test_every_api_passes_any_body_and_any_answer_untouched(anything, gateway, upstream, path):
    answer = {"strange": [1.50, "é"], "model": "m"}
    upstream.answer = upstream.whole(answer)
    raw = '{"é": 1.50,  "model" : "open/m", "input": ["x"], "messages": 3}'.encode()
    status, headers, body = await post(gateway, path, raw, anthropic_version="2023-06-01")
    assert (status, body) == (200, json.dumps(answer).encode())
    [(asked, sent, told)] = anything
    assert (asked, sent) == (path, raw.replace(b'"open/m"', b'"m"'))
    assert told["anthropic-version"] == "2023-06-01"
    exchange = await gateway.exchange()
    assert (exchange.id, exchange.upstream) == (headers["x-journeyman-exchange"], "open")
    assert exchange.api == {"/v1/chat/completions": "chat"}.get(path, path[4:])


@pytest.mark.parametrize("path", PATHS)
async def test_a_malformed_body_is_for_the_provider_to_refuse(anything, gateway, upstream, path):
    upstream.answer = upstream.whole({"error": "your JSON is broken"}, 400)
    status, _, body = await post(gateway, path, b'{"model": "open/m", "x": [')
    assert (status, json.loads(body)) == (400, {"error": "your JSON is broken"})
    assert anything[0][1] == b'{"model": "m", "x": ['
    status, _, body = await post(gateway, path, b"{")
    assert status == 400
    assert b"names no model" in body
    assert len(anything) == 1


async def test_anthropics_own_client_streams_through(anything, settings, store, serving, upstream):
    said = [
        ("message_start", {"message": {"id": "m1", "type": "message", "role": "assistant", "content": [], "model": "c",
                                       "stop_reason": None, "usage": {"input_tokens": 9, "output_tokens": 1}}}),
        ("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
        ("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "Hello"}}),
        ("content_block_stop", {"index": 0}),
        ("message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}}),
        ("message_stop", {}),
    ]  # fmt: skip
    parts = [f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode() for kind, more in said]
    upstream.answer = upstream.streamed(parts)
    store.put(key_of())
    async with (
        serving(store, None) as gateway,
        anthropic.AsyncAnthropic(base_url=gateway.url, api_key=KEY, max_retries=0) as client,
        client.messages.stream(model="acme/claude", max_tokens=9, messages=HI) as stream,
    ):
        assert await stream.get_final_text() == "Hello"
        exchange = await gateway.exchange()
        upstream.answer = upstream.streamed(parts[:-1])
        with pytest.raises((anthropic.APIError, Exception)):
            async with client.messages.stream(model="acme/claude", max_tokens=9, messages=HI) as cut:
                await cut.get_final_text()
        assert (await gateway.exchanges(2))[0].state == "truncated_upstream"
    assert (exchange.state, exchange.reply.text, exchange.key) == ("complete", "Hello", hash_of(KEY)[:12])
    assert (exchange.usage.prompt_tokens, exchange.usage.completion_tokens) == (9, 4)
    told = {name.lower(): value for name, value in anything[0][2].items()}
    assert "x-api-key" not in told, "the gateway's key is for the gateway"
    assert told["authorization"] == "Bearer sk-secret"


async def test_with_keys_nobody_else_is_served_and_their_keys_reach_nobody(
    anything, settings, store, serving, upstream
):
    upstream.answer = upstream.whole({"ok": 1})
    store.put(key_of(aliases=("open/m",), limits=Limits(requests_per_minute=2), project="bank"))
    async with serving(store, None) as gateway:
        for header in ({}, {"authorization": "Bearer jm-wrong"}, {"x_api_key": "x"}, {"authorization": KEY}):
            status, _, body = await post(gateway, PATHS[0], {"model": "open/m", "messages": HI}, **header)
            assert status == 401
            assert json.loads(body)["error"]["code"] == "invalid_api_key"
        status, _, body = await post(gateway, PATHS[4], {"model": "open/m"})
        assert (status, json.loads(body)["error"]["type"]) == (401, "authentication_error")
        good = {"authorization": f"Bearer {KEY}"}
        status, _, body = await post(gateway, PATHS[0], {"model": "acme/m", "messages": HI}, **good)
        assert (status, json.loads(body)["error"]["code"]) == (404, "model_not_found")
        assert (await post(gateway, PATHS[0], {"model": "open/m", "messages": HI}, **good))[0] == 200
        status, headers, _ = await post(gateway, PATHS[0], {"model": "open/m", "messages": HI}, **good)
        assert status == 429
        assert int(headers["retry-after"]) >= 1
        exchange = await gateway.exchange()
    assert (exchange.project, exchange.key) == ("bank", hash_of(KEY)[:12])
    [(_, _, told)] = anything
    assert "authorization" not in {name.lower() for name in told}


async def test_a_durable_call_is_on_the_disk_before_it_is_asked_and_before_it_is_answered(
    anything, store, serving, upstream, monkeypatch
):
    events, synced = [], Spool.synced

    async def watched(self):
        await synced(self)
        events.append("synced")

    async def answer(request, body):
        events.append("asked")
        return await upstream.whole(upstream.completion({"content": "x"}))(request, body)

    monkeypatch.setattr(Spool, "synced", watched)
    upstream.answer = answer
    store.put(key_of(durable=True))
    async with serving(store, None) as gateway:
        status, *_ = await post(gateway, PATHS[0], {"model": "open/m", "messages": HI}, authorization=f"Bearer {KEY}")
    events.append(status)
    assert events == ["synced", "asked", "synced", 200]


async def test_a_caller_that_drains_has_its_reply_kept_when_it_hangs_up(anything, store, serving, upstream):
    go_on = asyncio.Event()

    async def answer(request, body):
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(upstream.hello[0])
        await go_on.wait()
        for part in upstream.hello[1:]:
            await response.write(part)
        return response

    upstream.answer = answer
    store.put(key_of(on_hang_up="drain"))
    async with serving(store, None) as gateway:
        asked = {"model": "open/m", "messages": HI, "stream": True}
        async with aiohttp.ClientSession(headers={"authorization": f"Bearer {KEY}"}) as client:
            leaving = await client.post(f"{gateway.url}{PATHS[0]}", json=asked)
            await leaving.content.readany()
            leaving.close()
        await asyncio.sleep(0.5)
        go_on.set()
        exchange = await gateway.exchange()
    assert (exchange.state, exchange.reply.text) == ("complete", "Hello")


async def test_a_slow_client_holds_its_upstream_back_and_loses_nothing(anything, gateway, upstream):
    sent = 0
    line = b"data: " + b"x" * 65_000 + b"\n\n"

    async def answer(request, body):
        nonlocal sent
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(600):
            await response.write(line)
            sent += len(line)
        await response.write(b"data: [DONE]\n\n")
        return response

    upstream.answer = answer
    asked = json.dumps({"model": "open/m", "messages": HI, "stream": True}).encode()
    port = int(gateway.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
    head = f"POST {PATHS[0]} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: {len(asked)}\r\n\r\n"
    writer.write(head.encode() + asked)
    await asyncio.sleep(1.5)
    assert sent < 25_000_000, "an upstream may not run ahead of a client that does not read"
    received = 0
    while data := await reader.read(1 << 20):
        received += len(data)
    assert received > 600 * len(line)
    writer.close()


async def test_a_client_that_takes_nothing_at_all_is_given_up(anything, store, serving, settings, upstream):
    settings.upstream_timeout = 0.5
    upstream.answer = upstream.streamed([b"data: " + b"x" * 1_000_000 + b"\n\n"] * 40)
    async with serving(store, None) as gateway:
        asked = json.dumps({"model": "open/m", "messages": HI, "stream": True}).encode()
        _, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]), limit=1 << 12)
        head = f"POST {PATHS[0]} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(asked)}\r\n\r\n"
        writer.write(head.encode() + asked)
        exchange = await gateway.exchange()
        writer.transport.abort()
    assert exchange.state == "aborted_client"
    assert "took nothing for 0.5 s" in exchange.error


async def test_a_whole_answer_too_large_to_hold_passes_as_it_comes(anything, gateway, upstream, monkeypatch):
    monkeypatch.setattr(forward, "MOST_HELD", 100_000)
    answer = upstream.completion({"content": "x" * 3_000_000})
    upstream.answer = upstream.whole(answer)
    status, headers, body = await post(gateway, PATHS[0], {"model": "open/m", "messages": HI})
    assert (status, body) == (200, json.dumps(answer).encode())
    assert int(headers["content-length"]) == len(body)
    assert len((await gateway.exchange()).reply.text) == 3_000_000


@pytest.mark.parametrize(
    "model",
    ["acme/../../etc", "acme/x\r\nevil: 1", "acme/\x00", "http://evil.example/m", "acme//x", "..", "acme/", "a" * 600,
     "acme\\..\\x", "/etc/passwd"],
)  # fmt: skip
async def test_a_models_name_is_no_path_and_no_header(anything, gateway, model):
    for path in PATHS:
        status, _, _ = await post(gateway, path, {"model": model, "messages": HI})
        assert status in (400, 404)
    assert anything == []
    assert not gateway.store.find(Exchange)


@pytest.mark.parametrize(
    "header", [b"x-a: 1\r\n evil: 2", b"x-a: 1\nevil: 2", b"x a: 1", b"x-a: \x001", b"transfer-encoding: x"]
)
async def test_headers_that_are_none_reach_nobody(anything, gateway, upstream, header):
    upstream.answer = upstream.whole({"ok": 1})
    asked = json.dumps({"model": "open/m", "messages": HI}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    head = f"POST {PATHS[0]} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: {len(asked)}\r\n"
    writer.write(head.encode() + header + b"\r\n\r\n" + asked)
    await reader.read()
    writer.close()
    for _, _, told in anything:
        assert "evil" not in {name.lower() for name in told}


async def test_metrics_are_prometheus_text(anything, gateway, upstream, http):
    upstream.answer = upstream.whole(upstream.completion({"content": "x"}))
    await post(gateway, PATHS[0], {"model": "open/m", "messages": HI})
    await post(gateway, PATHS[0], {"model": "nothing", "messages": HI})
    async with aiohttp.ClientSession() as client, client.get(f"{gateway.url}/metrics") as answer:
        text = await answer.text()
        assert answer.content_type == "text/plain"
    assert 'journeyman_calls_total{api="chat",state="complete"} 1' in text
    assert 'journeyman_refused_total{code="not_found"} 1' in text
    assert "journeyman_added_seconds_count 1" in text
    assert "journeyman_spool_dropped_calls 0" in text
    names = [line.split("{")[0].split()[0] for line in text.splitlines() if not line.startswith("#")]
    assert all(name.startswith("journeyman_") for name in names)
