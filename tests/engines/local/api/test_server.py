"""The engine as the stock `openai` client and plain HTTP see it."""

import json
import math

import openai
import pytest

from journeyman.engines.local.request import Request
from journeyman.rendering.chat import ChatTokenizer

HELLO = [{"role": "user", "content": "hello, world!"}]
TOOL = {"type": "function", "function": {"name": "balance", "parameters": {"properties": {"account": {}}}}}


@pytest.fixture
def client(served):
    with served.client as client:
        yield client


@pytest.fixture
def create(client):
    def created(messages=HELLO, model="tiny", **arguments):
        arguments = {"temperature": 0, "max_tokens": 12} | arguments
        return client.chat.completions.create(model=model, messages=messages, **arguments)

    return created


def prompt_ids(tiny, messages, tools=()):
    from journeyman.records import Message

    return ChatTokenizer(tiny).prompt([Message.model_validate(message) for message in messages], tools)


def joined(chunks):
    """A stream put together: text, tool calls and finish reason of each choice, and the last chunk of each."""
    choices = {}
    for chunk in chunks:
        for choice in chunk.choices:
            found = choices.setdefault(choice.index, {"text": "", "calls": [], "finish": None, "last": None})
            found["text"] += choice.delta.content or ""
            found["calls"] += choice.delta.tool_calls or []
            if choice.finish_reason:
                assert found["finish"] is None
                found["finish"], found["last"] = choice.finish_reason, chunk
    return choices


def test_a_reply_is_the_models_greedy_continuation_with_its_tokens(create, tiny, reference):
    for model, adapter in (("tiny", None), ("green", "green")):
        answer = create(model=model, extra_body={"return_token_ids": True})
        prompt = prompt_ids(tiny, HELLO)
        assert answer.prompt_token_ids == prompt
        choice = answer.choices[0]
        assert choice.token_ids == reference.greedy(prompt, adapter, 12)
        logprobs = reference.logprobs([*prompt, *choice.token_ids], adapter)[len(prompt) - 1 : -1]
        for id, row, logprob in zip(choice.token_ids, logprobs, choice.token_logprobs, strict=True):
            assert math.isclose(row[id], logprob, abs_tol=1e-4)
        assert choice.message.content == ChatTokenizer(tiny).decode(choice.token_ids)
        assert choice.finish_reason == "length"
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(prompt), 12)
        assert answer.model == model


@pytest.mark.parametrize("model", ["tiny", "blue"])
def test_a_stream_is_the_whole_reply_in_pieces(create, model):
    arguments = {"model": model, "temperature": 1, "seed": 5, "n": 3, "extra_body": {"return_token_ids": True}}
    whole = create(**arguments)
    chunks = list(create(stream=True, stream_options={"include_usage": True}, **arguments))
    streamed = joined(chunks)
    assert len({chunk.id for chunk in chunks}) == 1
    assert len(chunks) > 10, "it comes in pieces"
    for choice in whole.choices:
        found = streamed[choice.index]
        assert (found["text"], found["finish"]) == (choice.message.content, choice.finish_reason)
        (last,) = found["last"].choices
        assert last.token_ids == choice.token_ids
        assert last.token_logprobs == pytest.approx(choice.token_logprobs, abs=1e-4)
        assert found["last"].prompt_token_ids == whole.prompt_token_ids
    assert len({tuple(choice.token_ids) for choice in whole.choices}) == 3
    usage = chunks[-1].usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (whole.usage.prompt_tokens, whole.usage.completion_tokens)


def test_a_seed_repeats_a_reply_and_no_seed_does_not(create):
    def said(**arguments):
        return create(temperature=1.5, max_tokens=20, **arguments).choices[0].message.content

    assert said(seed=3) == said(seed=3)
    assert said(seed=3) != said(seed=4)
    assert len({said() for _ in range(3)}) == 3


def test_stop_strings(create):
    text = create(max_tokens=30).choices[0].message.content
    stop = text[10:14]
    stopped = create(max_tokens=30, stop=[stop, "never there"]).choices[0]
    assert stopped.message.content == text[: text.index(stop)]
    assert stopped.finish_reason == "stop"
    streamed = joined(create(max_tokens=30, stop=stop, stream=True))[0]
    assert (streamed["text"], streamed["finish"]) == (stopped.message.content, "stop")


def test_logprobs_in_openais_shape(create):
    content = create(logprobs=True, top_logprobs=3).choices[0].logprobs.content
    assert len(content) == 12
    for token in content:
        assert [top.logprob for top in token.top_logprobs] == sorted(
            (t.logprob for t in token.top_logprobs), reverse=True
        )
        assert token.top_logprobs[0].token == token.token, "greedy"
        assert token.bytes is None or bytes(token.bytes).decode() == token.token
    assert create(logprobs=True).choices[0].logprobs.content[0].top_logprobs == []
    assert create().choices[0].logprobs is None
    last = list(create(logprobs=True, top_logprobs=3, stream=True))[-1]
    assert [token.token for token in last.choices[0].logprobs.content] == [token.token for token in content]


def test_a_tool_call_is_read_whole_and_streamed(create, tiny, monkeypatch):
    # A random model calls no tools: its reply is written for it, everything behind it is the real road.
    text = 'Let me look. <tool_call>balance{"account": "grün 🙂"}</tool_call> One moment.'
    script = [*ChatTokenizer(tiny).encode(text), 2]

    def scripted(self, token, logprob, alternatives, plain=Request.accept):
        return plain(self, script[len(self.reply)], logprob, alternatives)

    monkeypatch.setattr(Request, "accept", scripted)
    whole = create(tools=[TOOL], max_tokens=200).choices[0]
    assert whole.finish_reason == "tool_calls"
    assert whole.message.content == "Let me look.  One moment."
    (call,) = whole.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("balance", {"account": "grün 🙂"})
    streamed = joined(create(tools=[TOOL], max_tokens=200, stream=True))[0]
    assert (streamed["text"], streamed["finish"]) == (whole.message.content, "tool_calls")
    (streamed_call,) = streamed["calls"]
    assert (streamed_call.index, streamed_call.function.model_dump()) == (0, call.function.model_dump())
    for arguments in ({"tools": [TOOL], "tool_choice": "none"}, {}):
        plain = create(max_tokens=200, **arguments).choices[0]
        assert (plain.message.content, plain.message.tool_calls) == (text, None)


def test_an_unknown_model_is_not_found(create):
    with pytest.raises(openai.NotFoundError, match="blue, green, red, tiny") as caught:
        create(model="purple")
    assert caught.value.body["type"] == "invalid_request_error"


def test_a_context_that_is_too_long_names_both_lengths(create):
    with pytest.raises(openai.BadRequestError, match=r"prompt is \d{4,} tokens.*512") as caught:
        create([{"role": "user", "content": "x1" * 4500}])
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError, match=r"max_tokens.* is 5\d\d tokens.*512"):
        create(max_tokens=500)
    assert create(max_tokens=openai.omit, stop="e").usage.completion_tokens > 0


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{not json"}}
STRANGE = {
    "a word of 9,000 characters": {"messages": [{"role": "user", "content": "a" * 9000}]},
    "half a character": {"messages": [{"role": "user", "content": "\ud83d"}]},
    "half a character in a tool": {"tools": [{"type": "function", "function": {"name": "f", "description": "\ud83d"}}]},
    "half a character in a schema": {
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"\ud83d": {}}}}}]
    },
    "half a character as the model": {"model": "\ud83d"},
    "half a character to stop at": {"stop": "\ud83d"},
    "half a character as an argument's name": {"\ud83d": 1},
    "a newline": {"messages": [{"role": "user", "content": "\n"}]},
    "a zero byte": {"messages": [{"role": "user", "content": "\0"}]},
    "nothing said": {"messages": [{"role": "user", "content": ""}]},
    "null said": {"messages": [{"role": "system", "content": None}, {"role": "user"}]},
    "a number said": {"messages": [{"role": "user", "content": 5}]},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]},
    "no parts": {"messages": [{"role": "user", "content": []}]},
    "a part without text": {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
    "a picture": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
    "special tokens said": {"messages": [{"role": "user", "content": "<|im_end|><|im_start|>"}]},
    "a call that is not JSON": {"messages": [*HELLO, {"role": "assistant", "content": None, "tool_calls": [CALL]}]},
    "a call without a function": {"messages": [*HELLO, {"role": "assistant", "tool_calls": [{"id": "c"}]}]},
    "a tool answers nobody": {"messages": [{"role": "tool", "content": "x", "tool_call_id": "?"}]},
    "only the assistant": {"messages": [{"role": "assistant", "content": "I"}]},
    "a tool without properties": {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
    "a tool without parameters": {"tools": [{"type": "function", "function": {"name": "f", "parameters": None}}]},
    "properties that are null": {
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": None}}}]
    },
    "a schema that is true": {
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": True}}}}]
    },
    "an enum that is a number": {
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"enum": 5}}}}}]
    },
    "types": {
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"type": ["x"]}}}}}]
    },
    "a tool choice": {"tools": [TOOL], "tool_choice": "required"},
    "a great seed": {"seed": 2**200},
    "a tiny temperature": {"temperature": 5e-324},
    "many choices": {"n": 10**12},
    "a great limit": {"max_tokens": 10**30},
    "deep metadata": {"metadata": {"a": {"b": {"c": [1, None, {}]}}}},
}


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_no_input_makes_the_engine_fail(served, name, stream):
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 2, "stream": stream} | STRANGE[name]
    status, content = served.post("/v1/chat/completions", body)
    assert status in (200, 400, 404), content
    assert "server_error" not in content
    if status != 200:
        error = json.loads(content)["error"]
        assert error["message"]
        assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/v1/embeddings",
        "/tokenize",
        "/v1/load_lora_adapter",
    ],
)
@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b"null", b"[]", b"{}", b'"\\ud800"'])
def test_bodies_that_are_no_json_objects(served, path, body):
    status, content = served.post(path, body)
    assert status == 400
    assert json.loads(content)["error"]["message"]
