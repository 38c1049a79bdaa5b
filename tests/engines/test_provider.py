"""The engine behind the OpenAI API, against a real server on loopback."""

import asyncio
import json

import pytest
from aiohttp import web

from journeyman.engines.headers import read_tags, write_tags
from journeyman.engines.provider import ProviderEngine
from journeyman.errors import InvalidInput, NotFound, UpstreamFailed
from journeyman.records import Function, Sampling, Tokens, Tool, Usage
from journeyman.records.message import call as tool_call
from journeyman.records.message import system, tool_result, user

REPLY = {
    "model": "served-7b",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 1},
}


@pytest.fixture
async def server():
    seen, answers = [], []

    async def chat(request):
        seen.append((dict(request.headers), json.loads(await request.read())))
        answer = answers.pop() if answers else REPLY
        if callable(answer):
            return await answer()
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        return web.Response(status=status, text=body if isinstance(body, str) else json.dumps(body))

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    chat.url, chat.seen, chat.answers = f"http://127.0.0.1:{runner.addresses[0][1]}/v1", seen, answers
    yield chat
    await runner.cleanup()


@pytest.fixture
async def engine(server):
    async with ProviderEngine(server.url, "sk-1", timeout=5) as engine:
        yield engine


async def test_a_reply_and_what_was_sent_for_it(engine, server):
    tool = Tool(function=Function(name="find", parameters={"type": "object"}))
    conversation = [system("Be brief."), user("Hi"), tool_call("t1", "find", name="Eve"), tool_result("t1", "found")]
    reply = await engine.reply(
        "m",
        conversation,
        [tool],
        Sampling(temperature=0, max_tokens=9),
        session="s1",
        tags={"stage": "eval", "a,b": "ü"},
    )
    assert (reply.message.content, reply.served) == ("Hello", "served-7b")
    assert reply.usage == Usage(prompt_tokens=5, completion_tokens=1)
    assert reply.latency > 0
    headers, body = server.seen[0]
    assert headers["Authorization"] == "Bearer sk-1"
    assert headers["x-journeyman-session"] == "s1"
    assert read_tags(headers["x-journeyman-tags"]) == {"stage": "eval", "a,b": "ü"}
    assert body["messages"] == [message.wire() for message in conversation]
    assert body["tools"] == [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("m", 0, 9)


async def test_tool_calls_and_tokens_are_read(engine, server):
    call = {"id": "t1", "type": "function", "function": {"name": "find", "arguments": '{"a": '}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"message": message, "finish_reason": "tool_calls", "token_ids": [3, 4], "token_logprobs": [-1.0, -2.0]}
    server.answers.append({"choices": [choice], "prompt_token_ids": [1, 2]})
    reply = await engine.reply("m", [user("Hi")])
    assert reply.message.tool_calls[0].function.arguments == '{"a": '
    assert reply.choices[0].tokens == Tokens(prompt=(1, 2), reply=(3, 4), logprobs=(-1.0, -2.0))
    assert reply.served == "m"


async def test_token_ids_whose_logprobs_do_not_match_are_not_kept(engine, server):
    choice = {"message": {"role": "assistant", "content": "a"}, "token_ids": [3, 4], "token_logprobs": [-1.0]}
    server.answers.append({"choices": [choice], "prompt_token_ids": [1, 2]})
    assert (await engine.reply("m", [user("Hi")])).choices[0].tokens is None


async def test_logprobs_in_openais_place_serve_as_well(engine, server):
    choice = {
        "message": {"role": "assistant", "content": "a"},
        "token_ids": [3],
        "logprobs": {"content": [{"token": "a", "logprob": -0.25}]},
    }
    server.answers.append({"choices": [choice], "prompt_token_ids": [1]})
    assert (await engine.reply("m", [user("Hi")])).choices[0].tokens.logprobs == (-0.25,)


@pytest.mark.parametrize(
    ("status", "error", "says"),
    [
        (404, NotFound, "^no such model; there is a, b$"),
        (400, InvalidInput, "^no such model"),
        (429, UpstreamFailed, "answered 429: no such model"),
        (503, UpstreamFailed, "answered 503: no such model"),
    ],
)
async def test_errors_carry_the_servers_words(engine, server, status, error, says):
    server.answers.append((status, {"error": {"message": "no such model; there is a, b"}}))
    with pytest.raises(error, match=says):
        await engine.reply("m", [user("Hi")])


@pytest.mark.parametrize("answer", ["<html>", {"choices": []}, {"choices": [{"message": {"role": "king"}}]}, "[]"])
async def test_an_unreadable_answer_is_the_upstreams_failure(engine, server, answer):
    server.answers.append((200, answer))
    with pytest.raises(UpstreamFailed):
        await engine.reply("m", [user("Hi")])


async def test_a_server_that_is_not_there_or_silent_is_the_upstreams_failure(server):
    async with ProviderEngine("http://127.0.0.1:9/v1") as engine:
        with pytest.raises(UpstreamFailed, match="cannot be reached"):
            await engine.reply("m", [user("Hi")])
    server.answers.append(asyncio.Event().wait)
    async with ProviderEngine(server.url, timeout=0.2) as engine:
        with pytest.raises(UpstreamFailed, match=r"within 0\.2 s") as caught:
            await engine.reply("m", [user("Hi")])
    assert caught.value.status == 504


async def test_many_replies_share_the_engine(engine, server):
    replies = await asyncio.gather(*(engine.reply("m", [user(str(number))]) for number in range(100)))
    assert len(replies) == len(server.seen) == 100


def test_tags_survive_the_header():
    tags = {"stage": "eval", "odd": "a,b=c%20 d", "ü": "☃"}
    assert read_tags(write_tags(tags)) == tags
    assert read_tags(" a=1 , b = 2,") == {"a": "1", "b": "2"}
    with pytest.raises(InvalidInput, match="key=value"):
        read_tags("a=1,b")
