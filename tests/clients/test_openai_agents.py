"""OpenAI's Agents SDK, unmodified, through the gateway: an agent with a function tool, over both of OpenAI's APIs."""

import json

import agents
import pytest
from openai import AsyncOpenAI

from tests.clients.provider import ARGUMENTS, TEXT
from tests.clients.serving import KEY, SESSION

MODELS = {"chat": agents.OpenAIChatCompletionsModel, "responses": agents.OpenAIResponsesModel}


@agents.function_tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"21 degrees in {city}"


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("api", MODELS)
async def test_an_agent_with_a_tool(served, request, api, streams):
    session = {SESSION: request.node.name}
    async with AsyncOpenAI(base_url=served.v1, api_key=KEY, max_retries=0, default_headers=session) as client:
        agent = agents.Agent(
            name="Forecaster",
            instructions="Say what the weather is.",
            tools=[get_weather],
            model=MODELS[api](model="acme/small", openai_client=client),
        )
        quiet = agents.RunConfig(tracing_disabled=True)
        if streams:
            result = agents.Runner.run_streamed(agent, "What is the weather in Paris?", run_config=quiet)
            pieces = [
                event.data.delta
                async for event in result.stream_events()
                if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
            ]
            assert "".join(pieces) == TEXT
        else:
            result = await agents.Runner.run(agent, "What is the weather in Paris?", run_config=quiet)
        assert result.final_output == TEXT
    first, second = served.exchanges(request.node.name, 2)
    for exchange in (first, second):
        assert (exchange.api, exchange.state, exchange.status) == (api, "complete", 200)
        assert (exchange.model, exchange.upstream) == ("acme/small", "acme")
        assert (exchange.usage.prompt_tokens, exchange.usage.completion_tokens) == (12, 5)
        assert exchange.messages[0].role == "system"
        [tool] = exchange.tools
        assert tool.function.name == "get_weather"
        assert tool.function.parameters["properties"]["city"]["type"] == "string"
    [call] = first.reply.tool_calls
    assert (call.function.name, call.function.arguments) == ("get_weather", ARGUMENTS)
    assert [message.role for message in second.messages] == ["system", "user", "assistant", "tool"]
    result_message = second.messages[3]
    assert (result_message.text, result_message.tool_call_id) == ("21 degrees in Paris", call.id)
    assert second.reply.text == TEXT
    assert json.loads(served.provider.calls[-1].body)["model"] == "small"
