import pytest

from journeyman.engines.engine import Engine
from journeyman.engines.scripted import ScriptedEngine
from journeyman.errors import InvalidInput, UpstreamFailed
from journeyman.records import Message, Sampling
from journeyman.records.message import assistant, call, user


def echo(messages, tools) -> Message:
    return assistant(f"{messages[-1].text} with {len(tools)} tools")


async def test_it_says_what_the_script_says() -> None:
    engine: Engine = ScriptedEngine(echo)
    reply = await engine.reply("any-name", [user("hello")], sampling=Sampling(temperature=1.0))
    assert reply.message.text == "hello with 0 tools"
    assert (reply.served, reply.choices[0].finish_reason) == ("any-name", "stop")
    assert reply.usage.prompt_tokens > 0
    longer = await engine.reply("any-name", [user("hello " * 100)])
    assert longer.usage.prompt_tokens - reply.usage.prompt_tokens == pytest.approx(595 / 4, abs=1)


async def test_a_call_finishes_as_a_call() -> None:
    engine = ScriptedEngine(lambda messages, tools: call("a", "look", where="here"))
    assert (await engine.reply("m", [user("x")])).choices[0].finish_reason == "tool_calls"


async def test_it_refuses_what_it_cannot_do_and_passes_errors_on() -> None:
    with pytest.raises(InvalidInput, match="n=2"):
        await ScriptedEngine(echo).reply("m", [user("x")], sampling=Sampling(n=2))

    def fail(messages, tools) -> Message:
        raise UpstreamFailed("gone")

    with pytest.raises(UpstreamFailed, match="gone"):
        await ScriptedEngine(fail).reply("m", [user("x")])
