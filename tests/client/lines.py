"""Everything that a program does with the openai package, with the stock client and with ours: it must be the same.

Run as a program by an interpreter that has some line of the package. Each scenario runs with both clients against the
same small provider; results, their types and errors are compared, and our calls are looked up in the spool. The last
line is `N scenarios, openai VERSION`; the exit code is 1 where something differed.
"""

import asyncio
import inspect
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pydantic

import journeyman
from tests.client.spooled import Spooled, spooled
from tests.client.upstream import TEXT, Upstream, running

HELLO: Any = [{"role": "user", "content": "What is the answer?"}]
TOOL: Any = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}
Scenario = tuple[Callable[..., Any], list[str | None]]
sync_scenarios: list[Scenario] = []
async_scenarios: list[Scenario] = []


class Person(pydantic.BaseModel):
    """What a structured answer is parsed into."""

    name: str
    age: int


def states(*expected: str | None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The states in which the scenario's HTTP attempts end, in their order."""

    def keep(function: Callable[..., Any]) -> Callable[..., Any]:
        kept = async_scenarios if inspect.iscoroutinefunction(function) else sync_scenarios
        kept.append((function, list(expected)))
        return function

    return keep


@states("complete")
def whole(client: Any) -> Any:
    return client.chat.completions.create(model="plain", messages=HELLO)


@states("complete")
def whole_gzip(client: Any) -> Any:
    return client.chat.completions.create(model="gzip", messages=HELLO)


@states("complete")
def tool_call(client: Any) -> Any:
    return client.chat.completions.create(model="tool", messages=HELLO, tools=[TOOL])


@states("complete")
def raw_response(client: Any) -> Any:
    raw = client.chat.completions.with_raw_response.create(model="plain", messages=HELLO)
    return type(raw).__name__, raw.status_code, raw.headers["content-type"], raw.parse(), raw.elapsed is not None


@states("complete", "complete")
def streaming_response(client: Any) -> Any:
    found = []
    for model in ("plain", "gzip"):
        with client.chat.completions.with_streaming_response.create(model=model, messages=HELLO) as response:
            found.append((type(response).__name__, response.status_code, list(response.iter_lines())))
    return found


@states("aborted_client")
def streaming_response_unread(client: Any) -> Any:
    with client.chat.completions.with_streaming_response.create(model="plain", messages=HELLO) as response:
        return response.status_code


@states("complete")
def embeddings(client: Any) -> Any:
    return client.embeddings.create(model="plain", input="hello", encoding_format="float")


@states("complete")
def completions(client: Any) -> Any:
    return client.completions.create(model="plain", prompt="hello")


@states("complete")
def parse(client: Any) -> Any:
    chat = client.beta.chat.completions if not hasattr(client.chat.completions, "parse") else client.chat.completions
    parsed = chat.parse(model="plain", messages=HELLO, response_format=Person).choices[0].message.parsed
    return type(parsed), parsed


@states("complete")
def stream_read_on(client: Any) -> Any:
    stream = client.chat.completions.create(model="plain", messages=HELLO, stream=True)
    return type(stream), list(stream)


@states("complete")
def stream_gzip(client: Any) -> Any:
    return list(client.chat.completions.create(model="gzip", messages=HELLO, stream=True))


@states("complete")
def stream_of_tools(client: Any) -> Any:
    return list(client.chat.completions.create(model="tool", messages=HELLO, tools=[TOOL], stream=True))


@states("complete")
def stream_as_context(client: Any) -> Any:
    with client.chat.completions.create(model="plain", messages=HELLO, stream=True) as stream:
        return [chunk.choices[0].delta.content for chunk in stream if chunk.choices]


@states("aborted_client")
def stream_broken_off(client: Any) -> Any:
    with client.chat.completions.create(model="slow", messages=HELLO, stream=True) as stream:
        for chunk in stream:
            return chunk


@states("aborted_client")
def stream_closed_unread(client: Any) -> Any:
    stream = client.chat.completions.create(model="slow", messages=HELLO, stream=True)
    stream.close()
    return type(stream.response)


@states("truncated_upstream")
def stream_cut(client: Any) -> Any:
    seen = []
    try:
        for chunk in client.chat.completions.create(model="cut-3", messages=HELLO, stream=True):
            seen.append(chunk)
    except Exception as error:
        return seen, type(error), str(error), type(error.__cause__)
    return seen


@states("complete")
def stream_helper(client: Any) -> Any:
    chat = client.beta.chat.completions if not hasattr(client.chat.completions, "stream") else client.chat.completions
    with chat.stream(model="plain", messages=HELLO) as stream:
        return [event.type for event in stream], stream.get_final_completion().choices[0].message.content


@states("truncated_upstream")
def whole_cut(client: Any) -> Any:
    return client.with_options(max_retries=0).chat.completions.create(model="cut-20", messages=HELLO)


@states("failed")
def hung_up(client: Any) -> Any:
    return client.with_options(max_retries=0).chat.completions.create(model="silent", messages=HELLO)


@states("failed")
def nobody_there(client: Any) -> Any:
    nowhere = client.with_options(max_retries=0, base_url="http://127.0.0.1:9/v1")
    return nowhere.chat.completions.create(model="plain", messages=HELLO)


@states("failed")
def too_late(client: Any) -> Any:
    return client.with_options(max_retries=0, timeout=0.3).chat.completions.create(model="late", messages=HELLO)


@states("complete")
def refused(client: Any) -> Any:
    return client.chat.completions.create(model="status-400", messages=HELLO)


@states("complete", "complete", "complete")
def retried(client: Any) -> Any:
    return client.chat.completions.create(model="status-503", messages=HELLO)


@states("complete")
def redirected(client: Any) -> Any:
    return client.chat.completions.create(model="redirect", messages=HELLO)


@states()
def not_a_model_call(client: Any) -> Any:
    return client.models.with_raw_response.list().status_code


@states("complete")
def copied(client: Any) -> Any:
    other = client.copy(max_retries=0).with_options(timeout=20)
    return type(other) is type(client), other.chat.completions.create(model="plain", messages=HELLO)


if hasattr(openai.OpenAI(api_key="none"), "responses"):

    @states("complete", "complete")
    def responses(client: Any) -> Any:
        told = client.responses.create(model="plain", input="hello")
        events = [event.type for event in client.responses.create(model="plain", input="hello", stream=True)]
        return told.output_text, events


@states("complete")
async def async_whole(client: Any) -> Any:
    return await client.chat.completions.create(model="plain", messages=HELLO)


@states("complete")
async def async_raw(client: Any) -> Any:
    raw = await client.chat.completions.with_raw_response.create(model="gzip", messages=HELLO)
    return type(raw).__name__, raw.parse()


@states("complete")
async def async_streaming_response(client: Any) -> Any:
    async with client.chat.completions.with_streaming_response.create(model="plain", messages=HELLO) as response:
        return [line async for line in response.iter_lines()]


@states("complete")
async def async_stream(client: Any) -> Any:
    stream = await client.chat.completions.create(model="plain", messages=HELLO, stream=True)
    return type(stream), [chunk async for chunk in stream]


@states("complete")
async def async_stream_gzip(client: Any) -> Any:
    return [chunk async for chunk in await client.chat.completions.create(model="gzip", messages=HELLO, stream=True)]


@states("aborted_client")
async def async_broken_off(client: Any) -> Any:
    async with await client.chat.completions.create(model="slow", messages=HELLO, stream=True) as stream:
        async for chunk in stream:
            return chunk


@states("truncated_upstream")
async def async_cut(client: Any) -> Any:
    return [chunk async for chunk in await client.chat.completions.create(model="cut-3", messages=HELLO, stream=True)]


@states("aborted_client")
async def async_cancelled(client: Any) -> Any:
    stream = await client.chat.completions.create(model="slow", messages=HELLO, stream=True)
    seen = []

    async def read() -> None:
        async for chunk in stream:
            seen.append(chunk)

    task = asyncio.create_task(read())
    await asyncio.sleep(0.2)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return len(seen)


@states("aborted_client")
async def async_cancelled_early(client: Any) -> Any:
    task = asyncio.create_task(client.chat.completions.create(model="late", messages=HELLO))
    await asyncio.sleep(0.2)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError as error:
        return type(error)


@states("failed")
async def async_timeout(client: Any) -> Any:
    hasty = client.with_options(max_retries=0, timeout=0.3)
    return await hasty.chat.completions.create(model="late", messages=HELLO)


@states("complete")
async def async_parse(client: Any) -> Any:
    chat = client.beta.chat.completions if not hasattr(client.chat.completions, "parse") else client.chat.completions
    return (await chat.parse(model="plain", messages=HELLO, response_format=Person)).choices[0].message.parsed


@states(*["complete"] * 20)
async def async_many(client: Any) -> Any:
    async def one(number: int) -> Any:
        with journeyman.session(f"s{number}", tags={"number": str(number)}):
            await asyncio.sleep(0.01 * (number % 3))
            return await client.chat.completions.create(model="plain", messages=HELLO, user=f"s{number}")

    return await asyncio.gather(*(one(number) for number in range(20)))


def outcome(run: Callable[[], Any]) -> Any:
    """What a caller saw, in a form that can be compared: a value with its type, or an error."""
    try:
        found = run()
    except Exception as error:
        return "error", type(error), str(error), type(error.__cause__), getattr(error, "status_code", None)
    return type(found), repr(found)


async def with_async(make: Any, upstream: Upstream, scenario: Any) -> Any:
    """One scenario with an asynchronous client of its own."""
    async with make(base_url=upstream.url, api_key="sk-of-the-provider") as client:
        return await scenario(client)


def differences(upstream: Upstream, home: Path, scenario: Any, expected: list[str | None]) -> list[str]:
    """What was not as it must be."""

    def run(sync: Any, asynchronous: Any) -> Any:
        if inspect.iscoroutinefunction(scenario):
            return outcome(lambda: asyncio.run(with_async(asynchronous, upstream, scenario)))
        with sync(base_url=upstream.url, api_key="sk-of-the-provider") as client:
            return outcome(lambda: scenario(client))

    stock = run(openai.OpenAI, openai.AsyncOpenAI)
    assert not spooled(home), "the stock client was captured"
    sent = len(upstream.calls)
    ours = run(journeyman.OpenAI, journeyman.AsyncOpenAI)
    problems = [] if stock == ours else [f"stock: {stock}\nours:  {ours}"]
    calls = spooled(home)
    if [call.state for call in calls] != expected:
        problems.append(f"states {[call.end or call for call in calls]}, expected {expected}")
    return problems + [problem for call in calls for problem in wrong_with(call)] + differing_headers(upstream, sent)


def wrong_with(call: Spooled) -> list[str]:
    """What is wrong with a spooled call, whatever the scenario."""
    problems = []
    if b"sk-of-the-provider" in str(call.start).encode() + call.body + call.answer:
        problems.append("the provider's key is in the record")
    if call.state == "complete" and (call.end or {}).get("status") == 200:
        text = call.answer.decode()
        said = any(each in text for each in (*TEXT, "Ada", "look_up", "embedding"))
        if not said or (call.end or {}).get("streamed") != text.startswith(("data:", "event:")):
            problems.append(f"answer {text[:200]!r} is not what was streamed: {call.end}")
    if b'"user":' in call.body and f'"{call.start["session"]}"'.encode() not in call.body:
        problems.append(f"the session {call.start['session']} is not that of the task: {call.body!r}")
    return problems


def differing_headers(upstream: Upstream, sent: int) -> list[str]:
    """What we changed of what goes out: of the headers, nothing but their values that are random."""
    stock, ours = upstream.headers[:sent], upstream.headers[sent:]
    random = {"host", "content-length", "connection", "idempotency-key", "x-client-request-id"}
    seen, told = ({frozenset(each.items()) for each in _without(kind, random)} for kind in (stock, ours))
    return [f"headers: {told - seen}"] if told - seen else []


def _without(headers: list[dict[str, str]], names: set[str]) -> list[dict[str, str]]:
    return [{name: value for name, value in each.items() if name not in names} for each in headers]


def main() -> int:
    """Runs all scenarios, each with an installation of its own."""
    failed = 0
    scenarios = [*sync_scenarios, *async_scenarios]
    for scenario, expected in scenarios:
        if len(sys.argv) > 1 and scenario.__name__ not in sys.argv[1:]:
            continue
        with running() as upstream, tempfile.TemporaryDirectory() as folder:
            os.environ["JOURNEYMAN_HOME"] = folder
            try:
                problems = differences(upstream, Path(folder), scenario, expected)
            except Exception:
                problems = [traceback.format_exc()]
        failed += bool(problems)
        print(f"{'FAILED' if problems else 'ok'} {scenario.__name__}", *problems, sep="\n    ")
    print(f"{len(scenarios)} scenarios, openai {openai.__version__}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
