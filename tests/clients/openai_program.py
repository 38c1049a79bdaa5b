"""A program as anybody writes one with the package openai, of any line; it knows nothing of what it talks to.

`python -m tests.clients.openai_program URL KEY PREFIX` makes every call below, each in a session of its own (a header),
and prints one JSON object: by scenario what came of it. `null`: this line of the package has no such thing.
"""

import asyncio
import inspect
import json
import sys
from typing import Any

import openai
import pydantic

ASK: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
PARAMETERS: Any = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL: Any = {"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}
FLAT_TOOL: Any = {"type": "function", "name": "get_weather", "parameters": PARAMETERS, "strict": False}
MODEL = "acme/small"


class Weather(pydantic.BaseModel):
    """What a structured answer is parsed into."""

    city: str
    degrees: int


def chat(client: openai.OpenAI) -> Any:
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=ASK, temperature=0.5)
    said = raw.parse()
    return said.choices[0].message.content, said.usage.total_tokens, raw.headers["x-journeyman-exchange"]


async def chat_async(client: openai.AsyncOpenAI) -> Any:
    said = await client.chat.completions.create(model=MODEL, messages=ASK)
    return said.choices[0].message.content


def stream(client: openai.OpenAI) -> Any:
    pieces = list(client.chat.completions.create(model=MODEL, messages=ASK, stream=True))
    # Nobody asked for the usage: the event that the gateway has asked for must not arrive.
    return "".join(each.choices[0].delta.content or "" for each in pieces), [
        each.usage for each in pieces if each.usage
    ]


def stream_with_usage(client: openai.OpenAI) -> Any:
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    with client.chat.completions.create(model=MODEL, messages=ASK, **asked) as pieces:
        return [each.usage.total_tokens for each in pieces if each.usage]


async def stream_async(client: openai.AsyncOpenAI) -> Any:
    pieces = await client.chat.completions.create(model=MODEL, messages=ASK, stream=True)
    return "".join([each.choices[0].delta.content or "" async for each in pieces])


def tools(client: openai.OpenAI) -> Any:
    first = client.chat.completions.create(model=MODEL, messages=ASK, tools=[TOOL]).choices[0].message
    said = [*ASK, first, {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "21"}]
    second = client.chat.completions.create(model=MODEL, messages=said, tools=[TOOL]).choices[0].message
    return first.tool_calls[0].function.arguments, second.content


def stream_of_tools(client: openai.OpenAI) -> Any:
    helper = client.chat.completions if hasattr(client.chat.completions, "stream") else client.beta.chat.completions
    strict = {**TOOL["function"], "strict": True, "parameters": {**PARAMETERS, "additionalProperties": False}}
    with helper.stream(model=MODEL, messages=ASK, tools=[{**TOOL, "function": strict}]) as events:
        final = events.get_final_completion()
    return final.choices[0].message.tool_calls[0].function.arguments


def structured(client: openai.OpenAI) -> Any:
    helper = client.chat.completions if hasattr(client.chat.completions, "parse") else client.beta.chat.completions
    parsed = helper.parse(model=MODEL, messages=ASK, response_format=Weather).choices[0].message.parsed
    return parsed.model_dump()


def completions(client: openai.OpenAI) -> Any:
    return client.completions.create(model=MODEL, prompt="The weather:").choices[0].text


def embeddings(client: openai.OpenAI) -> Any:
    return client.embeddings.create(model=MODEL, input="hello", encoding_format="float").data[0].embedding


def responses(client: openai.OpenAI) -> Any:
    if not hasattr(client, "responses"):
        return None
    return client.responses.create(model=MODEL, input="What is the weather?", instructions="Be brief.").output_text


async def responses_stream(client: openai.AsyncOpenAI) -> Any:
    if not hasattr(client, "responses"):
        return None
    events = await client.responses.create(model=MODEL, input="What is the weather?", stream=True)
    return "".join([event.delta async for event in events if event.type == "response.output_text.delta"])


def responses_tools(client: openai.OpenAI) -> Any:
    if not hasattr(client, "responses"):
        return None
    first = client.responses.create(model=MODEL, input=ASK, tools=[FLAT_TOOL]).output[0]
    result = {"type": "function_call_output", "call_id": first.call_id, "output": "21"}
    call = first.model_dump(exclude_none=True)
    second = client.responses.create(model=MODEL, input=[*ASK, call, result], tools=[FLAT_TOOL])
    return first.arguments, second.output_text


def refused_by_the_provider(client: openai.OpenAI) -> Any:
    try:
        client.chat.completions.create(model="acme/status-429", messages=ASK)
    except openai.RateLimitError as error:
        return error.code, error.body
    return "no error"


def no_such_model(client: openai.OpenAI) -> Any:
    try:
        client.chat.completions.create(model="nobody", messages=ASK)
    except openai.NotFoundError as error:
        return error.code, error.param
    return "no error"


def wrong_key(client: openai.OpenAI) -> Any:
    try:
        client.with_options(api_key="jm-wrong").chat.completions.create(model=MODEL, messages=ASK)
    except openai.AuthenticationError as error:
        return error.code
    return "no error"


def listing(client: openai.OpenAI) -> Any:
    return sorted(model.id for model in client.models.list())


SCENARIOS = [
    chat, chat_async, stream, stream_with_usage, stream_async, tools, stream_of_tools, structured, completions,
    embeddings, responses, responses_stream, responses_tools, refused_by_the_provider, no_such_model, wrong_key,
    listing,
]  # fmt: skip


def main(url: str, key: str, prefix: str) -> None:
    found: dict[str, Any] = {"version": openai.__version__}
    for scenario in SCENARIOS:
        about: Any = {"base_url": url, "api_key": key, "max_retries": 0, "timeout": 20}
        about["default_headers"] = {"x-journeyman-session": f"{prefix}/{scenario.__name__}"}
        if inspect.iscoroutinefunction(scenario):
            found[scenario.__name__] = asyncio.run(asynchronously(scenario, about))
        else:
            with openai.OpenAI(**about) as client:
                found[scenario.__name__] = scenario(client)
    print(json.dumps(found))


async def asynchronously(scenario: Any, about: Any) -> Any:
    async with openai.AsyncOpenAI(**about) as client:
        return await scenario(client)


if __name__ == "__main__":
    main(*sys.argv[1:])
