"""Calls as the APIs' public documents show them, in bytes."""

import json

HEAD = {"id": "0" * 32, "at": 1_700_000_000_000_000, "source": "gateway", "model": "support"}
DONE = b"data: [DONE]\n\n"


def start(api="chat", **fields):
    return {**HEAD, "api": api, **fields}


def end(state="complete", **fields):
    return {"state": state, "status": 200, "streamed": False, "latency": 0.5, **fields}


def dump(value):
    return json.dumps(value).encode()


def events(*chunks):
    """A stream as OpenAI's chats and Anthropic write it: with the type as the event's name where there is one."""
    names = [f"event: {chunk['type']}\n" if "type" in chunk else "" for chunk in chunks]
    return b"".join(f"{name}data: {json.dumps(chunk)}\n\n".encode() for name, chunk in zip(names, chunks, strict=True))


def chat_request(**fields):
    return {
        "model": "support",
        "messages": [
            {"role": "developer", "content": "You are a helpful assistant."},
            {"role": "user", "content": "Hello!"},
        ],
        **fields,
    }


def chat_answer(message=None, finish="stop", **fields):
    said = {"role": "assistant", "content": "Hello! How can I help you today?", "refusal": None, "annotations": []}
    return {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "object": "chat.completion",
        "created": 1741569952,
        "model": "gpt-5.4",
        "choices": [{"index": 0, "message": message or said, "logprobs": None, "finish_reason": finish}],
        "usage": {
            "prompt_tokens": 19,
            "completion_tokens": 10,
            "total_tokens": 29,
            "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
        "service_tier": "default",
    }


def chunk(delta, finish=None, index=0, **fields):
    return {
        "id": "chatcmpl-123",
        "object": "chat.completion.chunk",
        "created": 1694268190,
        "model": "gpt-4o-mini",
        "system_fingerprint": "fp_44709d6fcb",
        "choices": [{"index": index, "delta": delta, "logprobs": None, "finish_reason": finish, **fields}],
    }


CHAT_STREAM = (
    events(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({}, "stop"),
    )
    + DONE
)

ANTHROPIC_REQUEST = {
    "model": "claude-opus-4-6",
    "max_tokens": 1024,
    "system": "You are a weather bot.",
    "metadata": {"user_id": "13803d75-b4b5-4c3e-b2a2-6f21399b021b"},
    "tools": [
        {
            "name": "get_weather",
            "description": "Get the current weather in a given location",
            "input_schema": {
                "type": "object",
                "properties": {"location": {"type": "string"}},
                "required": ["location"],
            },
        },
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
    ],
    "messages": [
        {"role": "user", "content": "What is the weather like in San Francisco?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "I should look.", "signature": "EqQBCgIYAhIM"},
                {"type": "text", "text": "I'll check the current weather for you."},
                {
                    "type": "tool_use",
                    "id": "toolu_01A09q",
                    "name": "get_weather",
                    "input": {"location": "San Francisco"},
                },
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_01A09q",
                    "content": [{"type": "text", "text": "15 degrees"}],
                },
                {"type": "tool_result", "tool_use_id": "toolu_02", "content": "No such place", "is_error": True},
                {"type": "text", "text": "And now?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "/9j/4AAQ"}},
            ],
        },
    ],
}

ANTHROPIC_ANSWER = {
    "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-4-6",
    "content": [
        {"type": "thinking", "thinking": "I should look.", "signature": "EqQBCgIYAhIM"},
        {"type": "text", "text": "I'll check the current weather for you.", "citations": None},
        {"type": "tool_use", "id": "toolu_01A09q", "name": "get_weather", "input": {"location": "San Francisco"}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 20,
        "cache_creation_input_tokens": 300,
        "cache_read_input_tokens": 50,
        "output_tokens": 95,
    },
}

ANTHROPIC_EVENTS = [
    {
        "type": "message_start",
        "message": {
            **ANTHROPIC_ANSWER,
            "content": [],
            "stop_reason": None,
            "usage": {
                "input_tokens": 20,
                "cache_creation_input_tokens": 300,
                "cache_read_input_tokens": 50,
                "output_tokens": 1,
            },
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "I should "}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "look."}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "EqQBCgIYAhIM"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "I'll check the current"}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": " weather for you."}},
    {"type": "content_block_stop", "index": 1},
    {
        "type": "content_block_start",
        "index": 2,
        "content_block": {"type": "tool_use", "id": "toolu_01A09q", "name": "get_weather", "input": {}},
    },
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": ""}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"location": '}},
    {
        "type": "content_block_delta",
        "index": 2,
        "delta": {"type": "input_json_delta", "partial_json": '"San Francisco"}'},
    },
    {"type": "content_block_stop", "index": 2},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 95},
    },
    {"type": "message_stop"},
]

REASONING = {
    "id": "rs_1",
    "type": "reasoning",
    "encrypted_content": "gAAAAAB",
    "summary": [{"type": "summary_text", "text": "The user wants the weather."}],
}
SAID = {
    "id": "msg_1",
    "type": "message",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Let me look.", "annotations": [], "logprobs": []}],
}
CALLED = {
    "id": "fc_1",
    "type": "function_call",
    "status": "completed",
    "call_id": "call_1",
    "name": "get_weather",
    "arguments": '{"location":"Paris"}',
}

RESPONSES_REQUEST = {
    "model": "gpt-5.4",
    "instructions": "Talk like a pirate.",
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Weather in Paris?"},
                {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"},
            ],
        },
        REASONING,
        SAID,
        CALLED,
        {"type": "function_call_output", "call_id": "call_1", "output": "15 degrees"},
        {"role": "user", "content": "And tomorrow?"},
    ],
    "tools": [
        {
            "type": "function",
            "name": "get_weather",
            "description": "Weather",
            "strict": True,
            "parameters": {"type": "object", "properties": {"location": {"type": "string"}}},
        },
        {"type": "web_search"},
    ],
    "previous_response_id": "resp_0",
    "reasoning": {"effort": "low"},
    "safety_identifier": "person-7",
    "metadata": {"topic": "weather"},
}

RESPONSES_ANSWER = {
    "id": "resp_67ccd2bed1ec8190b14f964abc054267",
    "object": "response",
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "model": "gpt-5.4",
    "output": [REASONING, SAID, CALLED],
    "usage": {
        "input_tokens": 36,
        "input_tokens_details": {"cached_tokens": 32},
        "output_tokens": 87,
        "output_tokens_details": {"reasoning_tokens": 20},
        "total_tokens": 123,
    },
}

_BEGUN = {**RESPONSES_ANSWER, "status": "in_progress", "output": [], "usage": None}
RESPONSES_EVENTS = [
    {"type": "response.created", "response": _BEGUN},
    {"type": "response.in_progress", "response": _BEGUN},
    {"type": "response.output_item.added", "output_index": 0, "item": {**REASONING, "summary": []}},
    {
        "type": "response.reasoning_summary_part.added",
        "item_id": "rs_1",
        "output_index": 0,
        "summary_index": 0,
        "part": {"type": "summary_text", "text": ""},
    },
    {
        "type": "response.reasoning_summary_text.delta",
        "item_id": "rs_1",
        "output_index": 0,
        "summary_index": 0,
        "delta": "The user wants",
    },
    {
        "type": "response.reasoning_summary_text.delta",
        "item_id": "rs_1",
        "output_index": 0,
        "summary_index": 0,
        "delta": " the weather.",
    },
    {"type": "response.output_item.done", "output_index": 0, "item": REASONING},
    {"type": "response.output_item.added", "output_index": 1, "item": {**SAID, "status": "in_progress", "content": []}},
    {
        "type": "response.content_part.added",
        "item_id": "msg_1",
        "output_index": 1,
        "content_index": 0,
        "part": {"type": "output_text", "text": "", "annotations": []},
    },
    {
        "type": "response.output_text.delta",
        "item_id": "msg_1",
        "output_index": 1,
        "content_index": 0,
        "delta": "Let me",
    },
    {
        "type": "response.output_text.delta",
        "item_id": "msg_1",
        "output_index": 1,
        "content_index": 0,
        "delta": " look.",
    },
    {"type": "response.output_item.done", "output_index": 1, "item": SAID},
    {"type": "response.output_item.added", "output_index": 2, "item": {**CALLED, "arguments": ""}},
    {"type": "response.function_call_arguments.delta", "item_id": "fc_1", "output_index": 2, "delta": '{"location":'},
    {"type": "response.function_call_arguments.delta", "item_id": "fc_1", "output_index": 2, "delta": '"Paris"}'},
    {
        "type": "response.function_call_arguments.done",
        "item_id": "fc_1",
        "output_index": 2,
        "arguments": '{"location":"Paris"}',
    },
    {"type": "response.output_item.done", "output_index": 2, "item": CALLED},
    {"type": "response.completed", "response": RESPONSES_ANSWER},
]
