"""The package anthropic, unmodified, through the gateway: whole, streamed, with tools; its key as `x-api-key`."""

import json

import anthropic
import pytest

from tests.clients.provider import TEXT
from tests.clients.serving import KEY, PROVIDER_KEY, SESSION

ASK = [{"role": "user", "content": "What is the weather in Paris?"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"name": "get_weather", "description": "The weather of a city.", "input_schema": SCHEMA}
MODEL = "claude/small"


@pytest.fixture
def client(served, request):
    session = {SESSION: request.node.name}
    with anthropic.Anthropic(
        base_url=served.url, api_key=KEY, max_retries=0, timeout=20, default_headers=session
    ) as found:
        yield found


def kept(served, request, count=1):
    exchanges = served.exchanges(request.node.name, count)
    for exchange in exchanges:
        assert (exchange.api, exchange.state, exchange.status) == ("messages", "complete", 200)
        assert (exchange.model, exchange.upstream, exchange.served) == (MODEL, "claude", "small")
        assert (exchange.usage.prompt_tokens, exchange.usage.completion_tokens) == (12, 5)
    return exchanges


def test_a_message(served, client, request):
    said = client.messages.create(model=MODEL, max_tokens=50, system="Be brief.", messages=ASK)
    assert (said.content[0].text, said.usage.output_tokens) == (TEXT, 5)
    [exchange] = kept(served, request)
    assert [message.role for message in exchange.messages] == ["system", "user"]
    assert exchange.messages[0].text == "Be brief."
    assert (exchange.reply.text, exchange.sampling.max_tokens) == (TEXT, 50)
    told = served.provider.calls[-1].headers
    assert told["x-api-key"] == PROVIDER_KEY
    assert "anthropic-version" in told
    assert KEY not in json.dumps(told)


def test_a_stream(served, client, request):
    with client.messages.stream(model=MODEL, max_tokens=50, messages=ASK) as stream:
        assert "".join(stream.text_stream) == TEXT
        assert stream.get_final_message().stop_reason == "end_turn"
    [exchange] = kept(served, request)
    assert exchange.reply.text == TEXT
    assert exchange.time_to_first_token is not None


async def test_a_stream_of_the_async_client(served, request):
    async with anthropic.AsyncAnthropic(
        base_url=served.url, api_key=KEY, max_retries=0, default_headers={SESSION: request.node.name}
    ) as client:
        events = await client.messages.create(model=MODEL, max_tokens=50, messages=ASK, stream=True)
        kinds = [event.type async for event in events]
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    assert kept(served, request)[0].reply.text == TEXT


@pytest.mark.parametrize("streams", [False, True])
def test_tools(served, client, request, streams):
    def ask(messages):
        if not streams:
            return client.messages.create(model=MODEL, max_tokens=50, messages=messages, tools=[TOOL])
        with client.messages.stream(model=MODEL, max_tokens=50, messages=messages, tools=[TOOL]) as stream:
            return stream.get_final_message()

    first = ask(ASK)
    assert (first.stop_reason, first.content[0].input) == ("tool_use", {"city": "Paris"})
    result = {"type": "tool_result", "tool_use_id": first.content[0].id, "content": "21"}
    answered = [*ASK, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    assert ask(answered).content[0].text == TEXT
    called, told = kept(served, request, 2)
    [call] = called.reply.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Paris"})
    assert [tool.function.name for tool in called.tools] == ["get_weather"]
    assert called.tools[0].function.parameters == SCHEMA
    assert [message.role for message in told.messages] == ["user", "assistant", "tool"]
    assert told.messages[2].tool_call_id == call.id
    assert told.messages[2].text == "21"
    assert told.reply.text == TEXT


def test_errors_arrive_as_the_package_knows_them(served, client, request):
    with pytest.raises(anthropic.AuthenticationError):
        client.with_options(api_key="jm-wrong").messages.create(model=MODEL, max_tokens=5, messages=ASK)
    with pytest.raises(anthropic.NotFoundError, match="nobody"):
        client.messages.create(model="nobody", max_tokens=5, messages=ASK)
    assert served.exchanges(request.node.name, 0) == []
    with pytest.raises(anthropic.RateLimitError, match="said by the provider"):
        client.messages.create(model="claude/status-429", max_tokens=5, messages=ASK)
    [exchange] = served.exchanges(request.node.name, 1)
    assert (exchange.state, exchange.status, exchange.error) == ("failed", 429, "said by the provider")
