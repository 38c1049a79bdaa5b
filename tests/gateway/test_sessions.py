"""A session in the path does what the header does, for stock clients that are told a base URL and nothing else."""

import anthropic
import openai
import pytest

HI = [{"role": "user", "content": "Hi"}]


def client(gateway, session: str, **more) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=f"{gateway.url}/v1/sessions/{session}", api_key="unused", max_retries=0, timeout=10, **more
    )


@pytest.mark.parametrize(
    ("written", "meant"), [("order-17", "order-17"), ("a%2Fb%20c:1@x", "a/b c:1@x"), ("caf%C3%A9", "café")]
)
async def test_the_stock_client_needs_nothing_but_the_url(gateway, upstream, written, meant):
    async with client(gateway, written) as asking:
        answer = await asking.chat.completions.create(model="tiny", messages=HI)
    assert answer.choices[0].message.content == "Hello"
    exchange = await gateway.exchange()
    assert (exchange.session, exchange.model, exchange.state) == (meant, "tiny", "complete")
    assert upstream.asked[0]["messages"] == HI
    assert not [name for name in upstream.headers[0] if name.startswith("x-journeyman-session")]


async def test_streams_and_the_list_of_models_too(gateway, upstream):
    upstream.answer = upstream.streamed(upstream.hello)
    async with client(gateway, "s") as asking:
        pieces = [each async for each in await asking.chat.completions.create(model="tiny", messages=HI, stream=True)]
        listed = [model.id async for model in asking.models.list()]
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices) == "Hello"
    assert "tiny" in listed
    assert (await gateway.exchange()).session == "s"


async def test_anthropics_client_adds_its_own_v1(gateway):
    async with anthropic.AsyncAnthropic(
        base_url=f"{gateway.url}/v1/sessions/s9", api_key="unused", max_retries=0, timeout=10
    ) as asking:
        with pytest.raises(anthropic.APIStatusError):  # the scripted provider has no such route
            await asking.messages.create(model="acme/m", max_tokens=3, messages=HI)
    assert (await gateway.exchange()).session == "s9"


async def test_calls_of_two_sessions_are_told_apart(gateway):
    async with client(gateway, "one") as one, client(gateway, "two") as two:
        for asking in (one, two, one):
            await asking.chat.completions.create(model="tiny", messages=HI)
    assert [each.session for each in await gateway.exchanges(3)] == ["one", "two", "one"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/sessions/s", "under /v1/sessions/NAME there is"),
        ("/v1/sessions/s/", "under /v1/sessions/NAME there is"),
        ("/v1/sessions/s/feedback", "under /v1/sessions/NAME there is"),
        ("/v1/sessions//chat/completions", "is empty"),
        ("/v1/sessions/a%0Ab/chat/completions", "no header can carry"),
        ("/v1/sessions/%E4%BD%A0/chat/completions", "no header can carry"),
    ],
)
async def test_what_is_no_session_is_refused_and_not_captured(gateway, upstream, http, path, words):
    status, answer = await http("POST", gateway.url + path, {"model": "tiny", "messages": HI})
    assert status == 400
    assert words in answer["error"]["message"]
    assert not upstream.asked


async def test_a_header_that_says_otherwise_is_refused(gateway, upstream):
    async with client(gateway, "s", default_headers={"x-journeyman-session": "t"}) as asking:
        with pytest.raises(openai.BadRequestError, match="names the session 's'"):
            await asking.chat.completions.create(model="tiny", messages=HI)
    async with client(gateway, "s", default_headers={"x-journeyman-session": "s"}) as asking:
        await asking.chat.completions.create(model="tiny", messages=HI)
    assert len(upstream.asked) == 1
