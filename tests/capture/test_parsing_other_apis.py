"""Completions, embeddings, responses and Anthropic's messages, as their documents show them, told as chats."""

import json

import pytest

from journeyman.capture.parsing import parse, parse_unended
from journeyman.records import Tokens
from tests.capture.calls import (
    ANTHROPIC_ANSWER,
    ANTHROPIC_EVENTS,
    ANTHROPIC_REQUEST,
    DONE,
    RESPONSES_ANSWER,
    RESPONSES_EVENTS,
    RESPONSES_REQUEST,
    dump,
    end,
    events,
    start,
)

THINKING = {"type": "thinking", "thinking": "I should look.", "signature": "EqQBCgIYAhIM"}
ANTHROPIC_REPLY = {
    "role": "assistant",
    "content": "I'll check the current weather for you.",
    "tool_calls": [
        {
            "type": "function",
            "id": "toolu_01A09q",
            "function": {"name": "get_weather", "arguments": '{"location":"San Francisco"}'},
        }
    ],
    "reasoning_content": "I should look.",
    "blocks": [THINKING],
}
COMPLETION = {
    "id": "cmpl-uqkvlQyYK7bGYrRHQ0eXlWi7",
    "object": "text_completion",
    "created": 1589478378,
    "model": "gpt-3.5-turbo-instruct",
    "choices": [{"text": "\n\nThis is a test", "index": 0, "logprobs": None, "finish_reason": "length"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
}


def read(api, request, answer, state="complete", **fields):
    wire = parse(start(api), dump(request), answer, end(state, **fields))
    assert wire.exchange().api == api
    return wire


def test_a_message_of_anthropic():
    wire = read("messages", ANTHROPIC_REQUEST, dump(ANTHROPIC_ANSWER))
    assert (wire.state, wire.fidelity, wire.response_id) == ("complete", "reconstructed", ANTHROPIC_ANSWER["id"])
    assert wire.choices == [{"message": ANTHROPIC_REPLY, "finish_reason": "tool_use", "tokens": None}]
    assert (wire.prompt_tokens, wire.completion_tokens, wire.cached_prompt_tokens) == (370, 95, 50)
    assert wire.messages == [
        {"role": "system", "content": "You are a weather bot."},
        {"role": "user", "content": "What is the weather like in San Francisco?"},
        ANTHROPIC_REPLY,
        {"role": "tool", "content": "15 degrees", "tool_call_id": "toolu_01A09q"},
        {"role": "tool", "content": "No such place", "tool_call_id": "toolu_02", "is_error": True},
        {"role": "user", "content": ANTHROPIC_REQUEST["messages"][2]["content"][2:]},
    ]
    tool = ANTHROPIC_REQUEST["tools"][0]
    function = {"name": "get_weather", "description": tool["description"], "parameters": tool["input_schema"]}
    assert wire.tools == [{"type": "function", "function": function}]
    assert wire.sampling == {"max_tokens": 1024, "other_tools": ANTHROPIC_REQUEST["tools"][1:]}
    assert (wire.person, wire.tags) == (ANTHROPIC_REQUEST["metadata"]["user_id"], {})


def test_a_reply_of_anthropic_and_its_repetition_are_the_same_message():
    wire = read("messages", ANTHROPIC_REQUEST, events(*ANTHROPIC_EVENTS))
    assert json.dumps(wire.choices[0]["message"]) == json.dumps(wire.messages[2])


def test_a_stream_of_anthropic_says_what_a_whole_message_says():
    whole = read("messages", ANTHROPIC_REQUEST, dump(ANTHROPIC_ANSWER))
    for line_end in (b"\n", b"\r\n"):
        stream = events(*ANTHROPIC_EVENTS).replace(b"\n", line_end)
        assert read("messages", ANTHROPIC_REQUEST, stream) == whole


def test_a_stream_of_anthropic_cut_at_any_event_is_not_complete():
    for length in range(1, len(ANTHROPIC_EVENTS)):
        wire = read("messages", ANTHROPIC_REQUEST, events(*ANTHROPIC_EVENTS[:length]))
        assert wire.state == "truncated_upstream"
        assert [choice["finish_reason"] for choice in wire.choices] in ([], [None if length < 17 else "tool_use"])
    cut = events(*ANTHROPIC_EVENTS[:14])
    [called] = read("messages", ANTHROPIC_REQUEST, cut).choices[0]["message"]["tool_calls"]
    assert called["function"] == {"name": "get_weather", "arguments": '{"location": '}
    assert parse_unended(start("messages"), dump(ANTHROPIC_REQUEST), cut).state == "killed"


def test_errors_of_anthropic():
    refused = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_1"}
    assert read("messages", ANTHROPIC_REQUEST, dump(refused), status=529).error == "Overloaded"
    streamed = read("messages", ANTHROPIC_REQUEST, events(*ANTHROPIC_EVENTS[:9], refused))
    assert (streamed.state, streamed.error) == ("failed", "Overloaded")
    assert streamed.choices[0]["message"]["content"] == "I'll check the current"


@pytest.mark.parametrize("api", ["messages", "responses"])
def test_a_malformed_event_between_good_ones_is_told(api):
    request, parts = {
        "messages": (ANTHROPIC_REQUEST, ANTHROPIC_EVENTS),
        "responses": (RESPONSES_REQUEST, RESPONSES_EVENTS[:-1]),
    }[api]
    bad = b"event: x\ndata: {oops\n\n"
    wire = read(api, request, events(*parts[:10]) + bad + events(*parts[10:]))
    assert (wire.state, wire.fidelity) == ("failed", "lossy")
    assert "cannot be read" in wire.error
    assert wire.choices[0]["message"]["tool_calls"]


RESPONSES_REPLY = {
    "role": "assistant",
    "content": "Let me look.",
    "tool_calls": [
        {
            "type": "function",
            "id": "call_1",
            "function": {"name": "get_weather", "arguments": '{"location":"Paris"}'},
        }
    ],
    "reasoning_content": "The user wants the weather.",
    "items": [RESPONSES_ANSWER["output"][0]],
}


def test_a_response():
    wire = read("responses", RESPONSES_REQUEST, dump(RESPONSES_ANSWER))
    assert (wire.state, wire.fidelity, wire.response_id) == ("complete", "reconstructed", RESPONSES_ANSWER["id"])
    assert wire.choices == [{"message": RESPONSES_REPLY, "finish_reason": "completed", "tokens": None}]
    assert (wire.prompt_tokens, wire.completion_tokens, wire.cached_prompt_tokens) == (36, 87, 32)
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}
    assert wire.messages == [
        {"role": "system", "content": "Talk like a pirate."},
        {"role": "user", "content": [{"type": "text", "text": "Weather in Paris?"}, image]},
        RESPONSES_REPLY,
        {"role": "tool", "content": "15 degrees", "tool_call_id": "call_1"},
        {"role": "user", "content": "And tomorrow?"},
    ]
    [tool] = wire.tools
    assert tool["function"].keys() == {"name", "description", "parameters", "strict"}
    assert wire.sampling == {
        "previous_response_id": "resp_0",
        "reasoning": {"effort": "low"},
        "other_tools": [{"type": "web_search"}],
    }
    assert (wire.person, wire.tags) == ("person-7", {"topic": "weather"})
    assert json.dumps(wire.choices[0]["message"]) == json.dumps(wire.messages[2])


def test_a_stream_of_a_response_says_what_a_whole_one_says():
    whole = read("responses", RESPONSES_REQUEST, dump(RESPONSES_ANSWER))
    assert read("responses", RESPONSES_REQUEST, events(*RESPONSES_EVENTS)) == whole
    silent = {"type": "response.completed", "response": {**RESPONSES_ANSWER, "output": []}}
    assert read("responses", RESPONSES_REQUEST, events(*RESPONSES_EVENTS[:-1], silent)) == whole


def test_a_stream_of_a_response_cut_at_any_event_is_not_complete():
    for length in range(1, len(RESPONSES_EVENTS)):
        wire = read("responses", RESPONSES_REQUEST, events(*RESPONSES_EVENTS[:length]), streamed=True)
        assert wire.state == "truncated_upstream"
        assert [choice["finish_reason"] for choice in wire.choices] in ([], [None])
    cut = read("responses", RESPONSES_REQUEST, events(*RESPONSES_EVENTS[:14])).choices[0]["message"]
    assert (cut["content"], cut["reasoning_content"]) == ("Let me look.", "The user wants the weather.")
    assert cut["tool_calls"][0]["function"]["arguments"] == '{"location":'
    assert (
        read("responses", RESPONSES_REQUEST, events(*RESPONSES_EVENTS[:10])).choices[0]["message"]["content"]
        == "Let me"
    )


def test_an_incomplete_a_failed_and_a_waiting_response():
    incomplete = {**RESPONSES_ANSWER, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    wire = read("responses", RESPONSES_REQUEST, dump(incomplete))
    assert (wire.state, wire.choices[0]["finish_reason"]) == ("complete", "max_output_tokens")
    failed = {
        **RESPONSES_ANSWER,
        "status": "failed",
        "output": [],
        "error": {"code": "server_error", "message": "broke"},
    }
    for answer in (dump(failed), events(RESPONSES_EVENTS[0], {"type": "response.failed", "response": failed})):
        wire = read("responses", RESPONSES_REQUEST, answer)
        assert (wire.state, wire.error, wire.choices) == ("failed", "broke", [])
    said = {"type": "error", "code": "ERR", "message": "Something went wrong", "param": None, "sequence_number": 1}
    wire = read("responses", RESPONSES_REQUEST, events(*RESPONSES_EVENTS[:10], said))
    assert (wire.state, wire.error) == ("failed", "Something went wrong")
    queued = {**RESPONSES_ANSWER, "status": "queued", "output": []}
    assert read("responses", RESPONSES_REQUEST, dump(queued)).state == "truncated_upstream"


def test_a_response_to_a_plain_text_and_items_of_other_kinds():
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    custom = {"type": "custom_tool_call", "call_id": "call_9", "name": "code", "input": "print()"}
    output = {"type": "custom_tool_call_output", "call_id": "call_9", "output": "ok"}
    wire = read("responses", {"model": "m", "input": "Hi"}, dump(RESPONSES_ANSWER))
    assert wire.messages == [{"role": "user", "content": "Hi"}]
    wire = read(
        "responses", {"model": "m", "input": [search, custom, output, {"type": "item_reference", "id": "x"}]}, b""
    )
    assert wire.messages == [
        {"role": "assistant", "items": [search, custom]},
        {"role": "tool", "tool_call_id": "call_9", "items": [output]},
        {"role": "user", "items": [{"type": "item_reference", "id": "x"}]},
    ]


def test_a_completion():
    request = {"model": "m", "prompt": "Say this is a test", "max_tokens": 7, "temperature": 0}
    wire = read("completions", request, dump(COMPLETION))
    assert (wire.state, wire.messages) == ("complete", [{"role": "user", "content": "Say this is a test"}])
    reply = {"role": "assistant", "content": "\n\nThis is a test"}
    assert wire.choices == [{"message": reply, "finish_reason": "length", "tokens": None}]
    assert (wire.prompt_tokens, wire.completion_tokens, wire.sampling) == (5, 7, {"max_tokens": 7, "temperature": 0})


def test_a_stream_of_a_completion():
    pieces = [
        {
            **COMPLETION,
            "usage": None,
            "choices": [{"text": word, "index": index, "logprobs": None, "finish_reason": end}],
        }
        for word, index, end in (("a", 0, None), ("b", 1, None), ("A", 0, "stop"), ("B", 1, "length"))
    ]
    wire = read("completions", {"model": "m", "prompt": ["x", "y"]}, events(*pieces) + DONE)
    assert wire.state == "complete"
    assert [choice["message"]["content"] for choice in wire.choices] == ["aA", "bB"]
    assert read("completions", {"prompt": "x"}, events(*pieces)).state == "truncated_upstream"
    assert read("completions", {"prompt": "x"}, events(*pieces[:3]) + DONE).state == "truncated_upstream"


def test_tokens_of_a_completion_of_token_ids():
    choice = {
        "text": "ab",
        "index": 0,
        "finish_reason": "stop",
        "prompt_token_ids": [1, 2],
        "token_ids": [7, 8],
        "logprobs": {"tokens": ["a", "b"], "token_logprobs": [-0.5, -1.5], "top_logprobs": None, "text_offset": [0, 1]},
    }
    wire = read("completions", {"model": "m", "prompt": [1, 2]}, dump({**COMPLETION, "choices": [choice]}))
    assert wire.messages == [{"role": "user", "prompt_token_ids": [1, 2]}]
    assert wire.exchange().choices[0].tokens == Tokens(prompt=(1, 2), reply=(7, 8), logprobs=(-0.5, -1.5))


def test_embeddings():
    answer = {
        "object": "list",
        "data": [{"object": "embedding", "embedding": [0.0023064255, -0.009327292], "index": 0}],
        "model": "text-embedding-ada-002",
        "usage": {"prompt_tokens": 8, "total_tokens": 8},
    }
    request = {"model": "m", "input": ["The food", "was delicious"], "encoding_format": "float"}
    wire = read("embeddings", request, dump(answer))
    assert (wire.state, wire.choices, wire.prompt_tokens) == ("complete", [], 8)
    assert wire.messages == [{"role": "user", "content": "The food"}, {"role": "user", "content": "was delicious"}]
    assert wire.sampling == {"encoding_format": "float"}
    assert read("embeddings", request, b'{"model": "m"}').state == "failed"
    assert read("embeddings", request, b'{"error": {"message": "too long"}}', status=400).error == "too long"
