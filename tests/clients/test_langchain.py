"""LangChain's chat model for OpenAI, unmodified, through the gateway."""

from functools import partial

import httpx
import pydantic
import pytest
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from tests.clients.provider import OBJECT, TEXT
from tests.clients.serving import KEY, SESSION

ASK = [SystemMessage("Be brief."), HumanMessage("What is the weather in Paris?")]


class Weather(pydantic.BaseModel):
    """What a structured answer is parsed into."""

    city: str
    degrees: int


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"21 degrees in {city}"


@pytest.fixture(params=["chat", "responses"])
def api(request):
    return request.param


@pytest.fixture
def build(served, request, api):
    about = {"base_url": served.v1, "api_key": KEY, "max_retries": 0, "timeout": 20}
    session = {SESSION: request.node.name}
    return partial(
        ChatOpenAI, model="acme/small", use_responses_api=api == "responses", default_headers=session, **about
    )


@pytest.fixture
def model(build):
    return build()


def kept(served, request, api, count=1):
    exchanges = served.exchanges(request.node.name, count)
    for exchange in exchanges:
        assert (exchange.api, exchange.state, exchange.status) == (api, "complete", 200)
        assert (exchange.model, exchange.upstream, exchange.project) == ("acme/small", "acme", "shop")
        assert (exchange.usage.prompt_tokens, exchange.usage.completion_tokens) == (12, 5)
        assert [message.role for message in exchange.messages[:2]] == ["system", "user"]
        assert exchange.messages[1].text == "What is the weather in Paris?"
    return exchanges


def test_invoke(served, request, api, model):
    said = model.invoke(ASK)
    assert (said.text, said.usage_metadata["total_tokens"]) == (TEXT, 17)
    assert kept(served, request, api)[0].reply.text == TEXT


async def test_ainvoke_and_astream(served, request, api, build):
    # Its own client would be kept for ever, bound to an event loop that ends with this test.
    async with httpx.AsyncClient() as http:
        model = build(http_async_client=http)
        assert (await model.ainvoke(ASK)).text == TEXT
        assert "".join([piece.text async for piece in model.astream(ASK)]) == TEXT
    assert [exchange.reply.text for exchange in kept(served, request, api, 2)] == [TEXT, TEXT]


def test_stream(served, request, api, model):
    assert "".join(piece.text for piece in model.stream(ASK)) == TEXT
    [exchange] = kept(served, request, api)
    assert exchange.reply.text == TEXT
    assert exchange.time_to_first_token is not None


@pytest.mark.parametrize("streams", [False, True])
def test_bind_tools(served, request, api, model, streams):
    bound = model.bind_tools([get_weather])

    def ask(messages):
        if not streams:
            return bound.invoke(messages)
        pieces = list(bound.stream(messages))
        return sum(pieces[1:], pieces[0])

    first = ask(ASK)
    [asked] = first.tool_calls
    assert (asked["name"], asked["args"]) == ("get_weather", {"city": "Paris"})
    answered = ToolMessage(get_weather.invoke(asked["args"]), tool_call_id=asked["id"])
    assert ask([*ASK, first, answered]).text == TEXT
    called, told = kept(served, request, api, 2)
    [call] = called.reply.tool_calls
    assert (call.function.name, call.id) == ("get_weather", asked["id"])
    assert [offered.function.name for offered in called.tools] == ["get_weather"]
    assert [message.role for message in told.messages] == ["system", "user", "assistant", "tool"]
    assert (told.messages[3].text, told.messages[3].tool_call_id) == ("21 degrees in Paris", call.id)


def test_with_structured_output(served, request, api, model):
    assert model.with_structured_output(Weather).invoke(ASK) == Weather(city="Paris", degrees=21)
    assert kept(served, request, api)[0].reply.text == OBJECT
