"""What every engine keeps to: checks that are run over each implementation of the seam (`test_conformance.py`)."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from journeyman.engines.engine import AdapterEngine, Engine
from journeyman.errors import InvalidInput, NotFound, UpstreamFailed
from journeyman.records import Function, Sampling, Tokens, Tool
from journeyman.records.message import call, system, tool_result, user

GREEDY = Sampling(temperature=0, max_tokens=12)
FIND = Tool(
    function=Function(
        name="paint",
        description="Paint the house",
        parameters={
            "type": "object",
            "properties": {"colour": {"type": "string", "enum": ["red", "green"]}},
            "required": ["colour"],
            "additionalProperties": False,
        },
    )
)
PROMPTS = ("please transfer money", "hello", "the balance of the account", "0123456789")
LOGPROB = 1e-3
"""How far log probabilities in float32 may move with what else is in the batch."""


@dataclass
class Subject:
    """An engine under test: the name of its base model, folders of adapters by name, and a way to crash it."""

    engine: Engine
    base: str
    adapters: dict[str, Path] = field(default_factory=dict)
    other_base: Path | None = None
    """An adapter of another base model."""
    crash: Callable[[], Awaitable[None]] | None = None

    @property
    def adapter_engine(self) -> AdapterEngine:
        return self.engine  # type: ignore[return-value]

    async def load_all(self) -> None:
        for name, folder in self.adapters.items():
            await self.adapter_engine.load(name, folder)

    async def tokens(self, model: str, prompt: str = PROMPTS[0], sampling: Sampling = GREEDY) -> Tokens:
        reply = await self.engine.reply(model, [user(prompt)], (), sampling)
        tokens = reply.choices[0].tokens
        assert tokens is not None, "the engine did not tell its tokens"
        return tokens


Check = Callable[[Subject], Awaitable[None]]


async def a_reply_has_words_usage_latency_and_a_reason_to_end(subject: Subject) -> None:
    reply = await subject.engine.reply(subject.base, [system("Be brief."), user("hello")], (), GREEDY)
    assert reply.message.role == "assistant"
    assert isinstance(reply.message.content, str)
    assert reply.choices[0].finish_reason in ("stop", "length")
    assert reply.served == subject.base
    assert reply.usage.prompt_tokens > 0
    assert reply.usage.completion_tokens > 0
    assert reply.latency >= 0


async def tools_and_their_results_are_read(subject: Subject) -> None:
    plain = await subject.engine.reply(subject.base, [user("paint it")], (), GREEDY)
    conversation = [user("paint it"), call("t1", "paint", colour="red"), tool_result("t1", "painted")]
    with_tools = await subject.engine.reply(subject.base, conversation, [FIND], GREEDY)
    assert with_tools.usage.prompt_tokens > plain.usage.prompt_tokens
    assert with_tools.message.role == "assistant"


async def a_forced_tool_call_is_a_tool_call(subject: Subject) -> None:
    forced = Sampling.model_validate({"temperature": 0, "max_tokens": 120, "tool_choice": "required"})
    reply = await subject.engine.reply(subject.base, [user("paint it")], [FIND], forced)
    assert reply.message.tool_calls, reply.message
    function = reply.message.tool_calls[0].function
    assert function.name == "paint"
    assert json.loads(function.arguments) in ({"colour": "red"}, {"colour": "green"})


async def several_replies_to_one_prompt_come_at_once(subject: Subject) -> None:
    reply = await subject.engine.reply(
        subject.base, [user("hello")], (), Sampling(n=3, seed=1, temperature=1.5, max_tokens=8)
    )
    told = [choice.tokens.reply for choice in reply.choices if choice.tokens]
    assert len(told) == 3
    assert len(set(told)) > 1, "every reply was drawn alike"
    assert reply.usage.completion_tokens == sum(map(len, told))


async def token_ids_and_their_raw_logprobs_are_told(subject: Subject) -> None:
    reply = await subject.engine.reply(subject.base, [user("hello")], (), GREEDY)
    tokens = reply.choices[0].tokens
    assert tokens is not None
    assert len(tokens.prompt) == reply.usage.prompt_tokens
    assert len(tokens.reply) == len(tokens.logprobs) == reply.usage.completion_tokens
    assert all(logprob <= 0 for logprob in tokens.logprobs)
    # Nearly greedy: processed log probabilities would be close to 0, raw ones are those of temperature 1.
    cold = await subject.tokens(subject.base, "hello", Sampling(temperature=0.01, seed=3, max_tokens=12))
    assert cold.reply == tokens.reply
    assert cold.logprobs == pytest.approx(tokens.logprobs, abs=LOGPROB)


async def the_same_seed_draws_the_same_reply(subject: Subject) -> None:
    rule = Sampling(temperature=1.2, seed=11, max_tokens=8)
    alone = await subject.tokens(subject.base, "hello", rule)
    others = [subject.tokens(subject.base, prompt, GREEDY) for prompt in PROMPTS]
    *_, crowded = await asyncio.gather(*others, subject.tokens(subject.base, "hello", rule))
    assert crowded.reply == alone.reply


async def a_name_that_stands_for_nothing_is_an_error_and_never_the_base_model(subject: Subject) -> None:
    for name in ("nobody", "nobody@1", f"{subject.base}@1"):
        with pytest.raises(NotFound):
            await subject.engine.reply(name, [user("hello")], (), GREEDY)


async def each_adapter_answers_as_if_it_were_alone(subject: Subject) -> None:
    """The canary: many adapters in one batch, over several prompts, and none speaks with another's weights."""
    await subject.load_all()
    names = [subject.base, *subject.adapters]
    asked = [(name, prompt) for prompt in PROMPTS for name in names]
    alone = {each: await subject.tokens(*each) for each in asked}
    for prompt in PROMPTS:
        assert len({alone[name, prompt].reply for name in names}) == len(names), "the adapters cannot be told apart"
    for _ in range(2):
        mixed = await asyncio.gather(*(subject.tokens(*each) for each in asked))
        for each, told in zip(asked, mixed, strict=True):
            assert told.reply == alone[each].reply, each
            assert told.logprobs == pytest.approx(alone[each].logprobs, abs=LOGPROB), each


async def adapters_come_and_go_while_others_answer(subject: Subject) -> None:
    engine = subject.adapter_engine
    await subject.load_all()
    first, second = list(subject.adapters)[:2]
    long = Sampling(temperature=0, max_tokens=120)
    expected = {name: await subject.tokens(name, sampling=long) for name in (first, second)}
    running = asyncio.gather(*(subject.tokens(first, sampling=long) for _ in range(3)))
    await asyncio.sleep(0)
    await engine.load("newcomer@1", subject.adapters[second])
    newcomer = await subject.tokens("newcomer@1", sampling=long)
    await engine.unload(first)
    for told in await running:
        assert told.reply == expected[first].reply, "what was under way changed when its adapter was unloaded"
    assert newcomer.reply == expected[second].reply
    with pytest.raises(NotFound):
        await subject.tokens(first)
    await engine.unload("newcomer@1")
    await engine.load(first, subject.adapters[first])
    assert (await subject.tokens(first, sampling=long)).reply == expected[first].reply


async def new_weights_come_under_a_new_name(subject: Subject) -> None:
    engine = subject.adapter_engine
    first, second = list(subject.adapters.values())[:2]
    await engine.load("step@1", first)
    await engine.load("step@1", first)
    before = await subject.tokens("step@1")
    with pytest.raises(InvalidInput, match="never change under a name"):
        await engine.load("step@1", second)
    await engine.load("step@2", second)
    assert (await subject.tokens("step@1")).reply == before.reply
    assert (await subject.tokens("step@2")).reply != before.reply
    for name in ("step@1", "step@2"):
        await engine.unload(name)
    with pytest.raises(NotFound):
        await engine.unload("step@1")


async def an_adapter_that_cannot_be_served_is_refused_and_nothing_else_suffers(subject: Subject) -> None:
    engine = subject.adapter_engine
    before = await subject.tokens(subject.base)
    assert subject.other_base is not None
    for name, folder, why in (
        ("lost@1", Path("/nowhere/at/all"), "there is no|missing"),
        ("foreign@1", subject.other_base, "does not fit|trained on another"),
    ):
        with pytest.raises(InvalidInput, match=why):
            await engine.load(name, folder)
        with pytest.raises(NotFound):
            await subject.tokens(name)
    assert (await subject.tokens(subject.base)).reply == before.reply


async def after_a_crash_it_comes_back_with_the_adapters_it_had(subject: Subject) -> None:
    assert subject.crash is not None
    await subject.load_all()
    expected = {name: (await subject.tokens(name)).reply for name in subject.adapters}
    await subject.crash()
    told_to_wait = False
    for _ in range(6000):
        try:
            await subject.tokens(subject.base)
            break
        except UpstreamFailed as error:
            told_to_wait = told_to_wait or (error.status == 503 and error.retry_after is not None)
            await asyncio.sleep(0.1)
    assert told_to_wait, "nobody was told to try again later"
    assert {name: (await subject.tokens(name)).reply for name in subject.adapters} == expected


REPLYING: tuple[Check, ...] = (
    a_reply_has_words_usage_latency_and_a_reason_to_end,
    tools_and_their_results_are_read,
)
SAMPLING: tuple[Check, ...] = (
    token_ids_and_their_raw_logprobs_are_told,
    several_replies_to_one_prompt_come_at_once,
    the_same_seed_draws_the_same_reply,
    a_forced_tool_call_is_a_tool_call,
    a_name_that_stands_for_nothing_is_an_error_and_never_the_base_model,
)
HOLDING_ADAPTERS: tuple[Check, ...] = (
    each_adapter_answers_as_if_it_were_alone,
    adapters_come_and_go_while_others_answer,
    new_weights_come_under_a_new_name,
    an_adapter_that_cannot_be_served_is_refused_and_nothing_else_suffers,
    after_a_crash_it_comes_back_with_the_adapters_it_had,
)
