"""What happened to a call is what is recorded of it, and what the client sees."""

import asyncio
import contextlib

import aiohttp
import openai
import pytest

from journeyman.records import Exchange

HI = [{"role": "user", "content": "Hi"}]


async def read_stream(gateway, model="acme/m"):
    """What arrives at the client, and whether the transfer broke."""
    text, reasons = "", []
    async with gateway.client() as client:
        try:
            async for chunk in await client.chat.completions.create(model=model, messages=HI, stream=True):
                for choice in chunk.choices:
                    text += choice.delta.content or ""
                    reasons += [choice.finish_reason] if choice.finish_reason else []
        except (openai.APIError, Exception) as error:
            return text, reasons, error
    return text, reasons, None


@pytest.mark.parametrize("passed", [0, 1, 2, 3, 4, 5])
async def test_a_stream_cut_by_its_upstream_breaks_for_the_client_and_is_never_complete(gateway, upstream, passed):
    upstream.answer = upstream.streamed(upstream.hello[:passed], cut=True)
    text, reasons, error = await read_stream(gateway)
    assert error is not None
    assert text == ["", "", "Hel", "Hello", "Hello", "Hello"][passed]
    assert reasons == (["stop"] if passed > 3 else [])
    exchange = await gateway.exchange()
    assert exchange.state == "truncated_upstream"
    assert "broke off" in exchange.error or "reached" in exchange.error
    assert (exchange.reply.text if exchange.reply else "") == text
    finished = exchange.choices[0].finish_reason if exchange.choices else None
    assert finished == (reasons[0] if reasons else None)


async def test_a_stream_cut_inside_an_event_passes_its_bytes_and_records_whole_events_only(gateway, upstream):
    upstream.answer = upstream.streamed([*upstream.hello[:2], upstream.hello[2][:20]], cut=True)
    text, _, error = await read_stream(gateway)
    assert error is not None
    assert text == "Hel"
    exchange = await gateway.exchange()
    assert (exchange.state, exchange.reply.text) == ("truncated_upstream", "Hel")


async def test_a_stream_that_ends_without_done_is_truncated_for_everybody(gateway, upstream):
    upstream.answer = upstream.streamed(upstream.hello[:3])
    _, reasons, error = await read_stream(gateway)
    assert error is not None
    assert reasons == []
    assert (await gateway.exchange()).state == "truncated_upstream"


async def test_an_error_inside_a_stream_is_a_failed_call(gateway, upstream):
    upstream.answer = upstream.streamed([*upstream.hello[:2], upstream.event({"error": {"message": "out of memory"}})])
    _, _, error = await read_stream(gateway)
    assert "out of memory" in str(error)
    exchange = await gateway.exchange()
    assert (exchange.state, exchange.error, exchange.reply.text) == ("failed", "out of memory", "Hel")


async def test_done_without_a_finish_reason_is_truncated(gateway, upstream):
    upstream.answer = upstream.streamed([*upstream.hello[:3], upstream.event("[DONE]")])
    text, _, error = await read_stream(gateway)
    assert (text, error) == ("Hello", None)
    assert (await gateway.exchange()).state == "truncated_upstream"


async def test_an_event_that_is_not_json_is_a_failed_call_and_passes_untouched(gateway, upstream):
    upstream.answer = upstream.streamed([*upstream.hello[:2], b"data: {oops\n\n", upstream.event("[DONE]")])
    asked = {"model": "acme/m", "messages": HI, "stream": True}
    url = f"{gateway.url}/v1/chat/completions"
    async with aiohttp.ClientSession() as client, client.post(url, json=asked) as answer:
        assert b"data: {oops" in await answer.read()
    exchange = await gateway.exchange()
    assert exchange.state == "failed"
    assert "cannot be read" in exchange.error


async def test_a_whole_answer_that_is_cut_is_502_and_truncated(gateway, upstream):
    async def answer(request, asked):
        request.transport.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{")
        await asyncio.sleep(0.05)
        request.transport.abort()
        await asyncio.sleep(0.05)

    upstream.answer = answer
    async with gateway.client() as client:
        with pytest.raises(openai.InternalServerError, match="broke off"):
            await client.chat.completions.create(model="acme/m", messages=HI)
    exchange = await gateway.exchange()
    assert (exchange.state, exchange.status) == ("truncated_upstream", 502)


async def test_a_whole_answer_without_a_finish_reason_is_truncated(gateway, upstream):
    upstream.answer = upstream.whole(upstream.completion({"content": "Hel"}, finish=None))
    async with gateway.client() as client:
        await client.chat.completions.create(model="acme/m", messages=HI)
    assert (await gateway.exchange()).state == "truncated_upstream"


async def test_a_client_that_leaves_a_stream_ends_the_upstreams_work(gateway, upstream):
    upstream.answer = upstream.streamed(upstream.hello[:3], hold=asyncio.Event())
    async with gateway.client() as client:
        stream = await client.chat.completions.create(model="acme/m", messages=HI, stream=True)
        text = "".join([(await anext(stream)).choices[0].delta.content for _ in range(3)])
        await stream.close()
    async with asyncio.timeout(5):
        await upstream.gone.wait()
    exchange = await gateway.exchange()
    assert exchange.state == "aborted_client"
    assert exchange.reply.text == text == "Hello"
    assert exchange.choices[0].finish_reason is None


async def test_a_client_that_leaves_before_the_answer_ends_the_upstreams_work(gateway, upstream):
    asked = asyncio.Event()

    async def answer(request, body):
        asked.set()
        await asyncio.Event().wait()

    upstream.answer = answer
    async with gateway.client() as client:
        call = asyncio.create_task(client.chat.completions.create(model="acme/m", messages=HI))
        await asked.wait()
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
    async with asyncio.timeout(5):
        await upstream.gone.wait()
    exchange = await gateway.exchange()
    assert (exchange.state, exchange.choices) == ("aborted_client", ())


async def test_an_upstream_that_cannot_be_reached_is_502_and_says_what_to_do(gateway):
    async with gateway.client() as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(model="nowhere/m", messages=HI)
    assert caught.value.status_code == 502
    assert "providers.nowhere.base_url" in caught.value.message
    exchange = await gateway.exchange()
    assert (exchange.state, exchange.status) == ("failed", 502)
    assert caught.value.response.headers["x-journeyman-exchange"] == exchange.id


async def test_a_silent_upstream_is_504(gateway, upstream, monkeypatch, store, engine, serving, settings):
    settings.upstream_timeout = 0.2

    async def answer(request, body):
        await asyncio.Event().wait()

    upstream.answer = answer
    async with serving(store, engine) as impatient, impatient.client() as client:
        with pytest.raises(openai.InternalServerError, match=r"within 0\.2 s"):
            await client.chat.completions.create(model="acme/m", messages=HI)
        exchange = await impatient.exchange()
        assert (exchange.state, exchange.status) == ("failed", 504)


async def test_a_dead_engine_is_503_with_the_reason(gateway, engine):
    engine.failure = "the engine of tiny has ended (exit status 9)"
    async with gateway.client() as client:
        with pytest.raises(openai.InternalServerError, match="exit status 9") as caught:
            await client.chat.completions.create(model="tiny", messages=HI)
    assert caught.value.status_code == 503
    assert (await gateway.exchange()).state == "failed"


async def test_a_call_under_way_at_shutdown_is_recorded_as_killed(store, engine, serving, upstream):
    began = asyncio.Event()

    async def answer(request, body):
        began.set()
        await asyncio.Event().wait()

    upstream.answer = answer
    async with serving(store, engine) as stopping:
        stopping.server.config.timeout_graceful_shutdown = 0
        reading = asyncio.create_task(read_stream(stopping))
        await began.wait()
    await reading
    assert [exchange.state for exchange in store.find(Exchange)] == ["killed"]
