"""The stock client against the gateway: what passes untouched, what is refused, what is captured."""

import asyncio
import json

import aiohttp
import openai
import pytest

from journeyman.records import Exchange, Tokens, Usage

HI = [{"role": "user", "content": "Hi"}]


async def post(gateway, body, **headers):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json"} | headers
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{gateway.url}/v1/chat/completions", data=data, headers=headers) as answer,
    ):
        return answer.status, answer.headers, await answer.read()


async def test_a_whole_call_passes_and_is_captured(gateway, upstream):
    async with gateway.client() as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="acme/gpt-4.1",
            messages=HI,
            temperature=0.5,
            seed=7,
            metadata={"customer": "42"},
            extra_headers={"x-journeyman-session": "s1", "x-journeyman-tags": "stage=production,team=a%2Cb"},
        )
    assert raw.parse().choices[0].message.content == "Hello"
    exchange = await gateway.exchange()
    assert raw.headers["x-journeyman-exchange"] == exchange.id
    assert exchange.state == "complete"
    assert (exchange.model, exchange.upstream, exchange.served) == ("acme/gpt-4.1", "acme", "gpt-4.1")
    assert exchange.messages[0].content == "Hi"
    assert exchange.reply is not None
    assert exchange.reply.content == "Hello"
    assert exchange.sampling.wire() == {"temperature": 0.5, "seed": 7}
    assert exchange.usage == Usage(prompt_tokens=12, completion_tokens=3, cached_prompt_tokens=4)
    assert exchange.cost_usd == pytest.approx((8 * 2.0 + 4 * 0.5 + 3 * 8.0) / 1e6)
    assert exchange.session == "s1"
    assert exchange.tags == {"customer": "42", "stage": "production", "team": "a,b"}
    assert exchange.status == 200
    assert exchange.latency is not None
    assert exchange.latency > 0
    assert exchange.time_to_first_token is None


async def test_bytes_of_a_whole_answer_are_untouched_and_unknown_fields_survive(gateway, upstream):
    answer = upstream.completion({"content": "ok", "reasoning_content": "hm", "x": [1]}, system_fingerprint="f", y=1.50)
    upstream.answer = upstream.whole(answer, headers={"x-ratelimit-remaining": "7"})
    sent = {"model": "open/m", "messages": [{"role": "user", "content": "é", "weird": {"a": 1}}], "top_k": 5, "z": None}
    status, headers, body = await post(gateway, sent, authorization="Bearer mine", **{"x-custom": "1"})
    assert status == 200
    assert body == json.dumps(answer).encode()
    assert headers["x-ratelimit-remaining"] == "7"
    assert upstream.asked == [sent | {"model": "m"}]
    assert upstream.headers[0]["authorization"] == "Bearer mine"
    assert upstream.headers[0]["x-custom"] == "1"
    exchange = await gateway.exchange()
    assert exchange.reply.model_extra == {"reasoning_content": "hm", "x": [1]}
    assert exchange.messages[0].model_extra == {"weird": {"a": 1}}
    assert exchange.sampling.model_extra == {"top_k": 5}
    assert exchange.cost_usd is None


async def test_the_configured_key_replaces_the_clients_and_our_headers_stay_here(gateway, upstream):
    await post(
        gateway, {"model": "acme/m", "messages": HI}, authorization="Bearer mine", **{"x-journeyman-tags": "a=b"}
    )
    assert upstream.headers[0]["authorization"] == "Bearer sk-secret"
    assert not [name for name in upstream.headers[0] if name.startswith("x-journeyman")]


async def test_the_engine_is_asked_for_token_ids_and_they_are_kept(gateway, upstream):
    answer = upstream.completion({"content": "a"}, {"content": "b"}, prompt_token_ids=[1, 2])
    for index, choice in enumerate(answer["choices"]):
        choice |= {"token_ids": [7 + index], "token_logprobs": [-0.5]}
    upstream.answer = upstream.whole(answer)
    async with gateway.client() as client:
        reply = await client.chat.completions.create(model="tiny", messages=HI, n=2)
    assert [choice.message.content for choice in reply.choices] == ["a", "b"]
    assert upstream.asked[0]["return_token_ids"] is True
    assert "authorization" not in upstream.headers[0]
    exchange = await gateway.exchange()
    assert [choice.tokens for choice in exchange.choices] == [
        Tokens(prompt=(1, 2), reply=(7,), logprobs=(-0.5,)),
        Tokens(prompt=(1, 2), reply=(8,), logprobs=(-0.5,)),
    ]
    assert (exchange.upstream, exchange.served, exchange.adapter) == ("engine", "tiny", None)
    assert "return_token_ids" not in exchange.sampling.wire()


async def test_a_provider_gets_no_fields_of_ours(gateway, upstream):
    await post(gateway, {"model": "acme/m", "messages": HI})
    assert upstream.asked == [{"model": "m", "messages": HI}]


async def test_a_stream_passes_as_it_came_without_the_usage_that_only_we_asked_for(gateway, upstream):
    upstream.answer = upstream.streamed(upstream.hello)
    status, headers, body = await post(gateway, {"model": "acme/gpt-4.1", "messages": HI, "stream": True})
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["x-request-id"] == "r1"
    assert body == b"".join(upstream.hello[:4] + upstream.hello[5:])
    assert upstream.asked[0]["stream_options"] == {"include_usage": True}
    exchange = await gateway.exchange()
    assert exchange.state == "complete"
    assert exchange.reply.content == "Hello"
    assert exchange.usage.completion_tokens == 3
    assert 0 < exchange.time_to_first_token <= exchange.latency


async def test_a_client_that_asks_for_usage_gets_it(gateway, upstream):
    upstream.answer = upstream.streamed(upstream.hello)
    asked = {"model": "acme/m", "messages": HI, "stream": True, "stream_options": {"include_usage": True}}
    _, _, body = await post(gateway, asked)
    assert body == b"".join(upstream.hello)


async def test_a_stream_is_forwarded_while_it_is_still_being_written(gateway, upstream):
    finish = asyncio.Event()
    upstream.answer = upstream.streamed(upstream.hello[:2], hold=finish)
    async with gateway.client() as client:
        stream = await client.chat.completions.create(model="acme/m", messages=HI, stream=True)
        pieces = [(await anext(stream)).choices[0].delta.content for _ in range(2)]
        assert pieces == ["", "Hel"]
        assert not finish.is_set()
        finish.set()
        await stream.close()


async def test_streamed_tool_calls_are_joined(gateway, upstream):
    calls = [
        {"tool_calls": [{"index": 0, "id": "t1", "type": "function", "function": {"name": "find", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"na'}}]},
        {
            "tool_calls": [
                {"index": 1, "id": "t2", "type": "function", "function": {"name": "freeze", "arguments": "{}"}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": 'me": 1}'}}]},
    ]
    parts = [upstream.event(upstream.chunk(delta)) for delta in calls]
    parts += [upstream.event(upstream.chunk({}, finish="tool_calls")), upstream.event("[DONE]")]
    upstream.answer = upstream.streamed(parts)
    tools = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]
    async with (
        gateway.client() as client,
        client.chat.completions.stream(model="acme/m", messages=HI, tools=tools) as stream,
    ):
        final = await stream.get_final_completion()
    assert [call.function.name for call in final.choices[0].message.tool_calls] == ["find", "freeze"]
    exchange = await gateway.exchange()
    assert exchange.tools[0].function.name == "find"
    assert [(call.id, call.function.arguments) for call in exchange.reply.tool_calls] == [
        ("t1", '{"name": 1}'),
        ("t2", "{}"),
    ]
    assert exchange.choices[0].finish_reason == "tool_calls"


async def test_a_conversation_with_tool_results_passes(gateway, upstream):
    call = {"id": "t1", "type": "function", "function": {"name": "find", "arguments": "{not json"}}
    conversation = [
        *HI,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "t1", "content": "found"},
        {"role": "assistant", "content": "So, "},
    ]
    async with gateway.client() as client:
        await client.chat.completions.create(model="acme/m", messages=conversation)
    assert upstream.asked[0]["messages"] == conversation
    exchange = await gateway.exchange()
    kept = [{key: value for key, value in message.items() if value is not None} for message in conversation]
    assert [message.wire() for message in exchange.messages] == kept


async def test_an_upstreams_error_comes_back_as_it_is_and_is_captured(gateway, upstream):
    upstream.answer = upstream.whole({"error": {"message": "slow down", "code": 7}}, 429, {"retry-after": "3"})
    async with gateway.client() as client:
        with pytest.raises(openai.RateLimitError, match="slow down") as caught:
            await client.chat.completions.create(model="acme/m", messages=HI)
    assert caught.value.response.headers["retry-after"] == "3"
    exchange = await gateway.exchange()
    assert (exchange.state, exchange.status, exchange.error) == ("failed", 429, "slow down")
    assert exchange.choices == ()


async def test_an_unknown_model_is_404_with_the_names_that_exist(gateway):
    async with gateway.client() as client:
        with pytest.raises(openai.NotFoundError) as caught:
            await client.chat.completions.create(model="gtp", messages=HI)
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"
    assert "acme/*" in caught.value.message
    assert "tiny" in caught.value.message


BAD = [
    (b"{", "not JSON", None),
    (b"[]", "an array", None),
    (b'{"model": "tiny", "messages": [{"role": "user", "content": "\\ud800"}]}', "not JSON", None),
    (b"\xff\xfe", "not JSON", None),
    ({"messages": HI}, "required", "model"),
    ({"model": 3, "messages": HI}, "string", "model"),
    ({"model": "tiny"}, "required", "messages"),
    ({"model": "tiny", "messages": []}, "at least 1", "messages"),
    ({"model": "tiny", "messages": "hi"}, "list", "messages"),
    ({"model": "tiny", "messages": [{"role": "king", "content": "x"}]}, "'system'", "messages.0.role"),
    ({"model": "tiny", "messages": [{"role": "user", "content": 3}]}, "string", "messages.0.content"),
    ({"model": "tiny", "messages": HI, "n": "2"}, "integer", "n"),
    ({"model": "tiny", "messages": HI, "n": 0}, "greater", "n"),
    ({"model": "tiny", "messages": HI, "temperature": True}, "number", "temperature"),
    ({"model": "tiny", "messages": HI, "stream": "yes"}, "boolean", "stream"),
    ({"model": "tiny", "messages": HI, "metadata": {"a": 1}}, "string", "metadata.a"),
    ({"model": "tiny", "messages": HI, "tools": [{"type": "function"}]}, "required", "tools.0.function"),
    (
        {"model": "tiny", "messages": [*HI, {"role": "tool", "tool_call_id": "t9", "content": "x"}]},
        "must answer a tool call",
        "messages.1.tool_call_id",
    ),
    ({"model": "tiny", "messages": HI, "top_k": 1e999}, "not JSON", None),
]  # fmt: skip


@pytest.mark.parametrize(("body", "says", "param"), BAD)
async def test_a_bad_request_is_refused_clearly_and_reaches_nobody(gateway, upstream, body, says, param):
    status, _, answer = await post(gateway, body)
    error = json.loads(answer)["error"]
    assert status == 400
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert says in error["message"]
    assert upstream.asked == []
    await asyncio.to_thread(gateway.gateway.settle, 10)
    assert not gateway.store.find(Exchange), "what is refused never was a call"


async def test_unreadable_tags_are_refused(gateway):
    status, _, answer = await post(gateway, {"model": "tiny", "messages": HI}, **{"x-journeyman-tags": "stage"})
    assert status == 400
    assert b"key=value" in answer


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_too_large_is_413(store, serving, engine, settings, upstream, declared):
    settings.max_body_bytes = 1500
    body = json.dumps({"model": "open/m", "messages": [{"role": "user", "content": "x" * 2000}]}).encode()

    async def pieces():
        for at in range(0, len(body), 500):
            yield body[at : at + 500]

    async with serving(store, engine) as gateway, aiohttp.ClientSession() as client:
        headers = {"content-type": "application/json"}
        sent = body if declared else pieces()
        async with client.post(f"{gateway.url}/v1/chat/completions", data=sent, headers=headers) as answer:
            said = await answer.json()
            assert (answer.status, said["error"]["code"]) == (413, "body_too_large")
    assert upstream.asked == []


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"origin": "https://evil.example"}, 403, "foreign_origin"),
        ({"host": "evil.example"}, 403, "foreign_origin"),
        ({"content-type": "text/plain"}, 415, "unsupported_media_type"),
    ],
)
async def test_a_web_page_of_somebody_else_gets_nothing(gateway, upstream, headers, status, code):
    answered, _, body = await post(gateway, {"model": "open/m", "messages": HI}, **headers)
    assert (answered, json.loads(body)["error"]["code"]) == (status, code)
    async with aiohttp.ClientSession() as client:
        url = f"{gateway.url}/v1/feedback"
        async with client.post(url, data=b"{}", headers={"content-type": "application/json"} | headers) as answer:
            assert answer.status == status
    assert upstream.asked == []
