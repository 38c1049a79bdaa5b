"""Whatever the bytes: the parser never raises, what it gives validates and can be written, and claims nothing false."""

import json

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journeyman.capture.parsing import parse, parse_unended
from journeyman.capture.parsing.events import read_events
from journeyman.capture.parsing.reading import Notes
from journeyman.capture.parsing.version1.alike import merge_alike
from journeyman.capture.parsing.version1.chat import Joining
from tests.capture.calls import (
    ANTHROPIC_ANSWER,
    ANTHROPIC_EVENTS,
    ANTHROPIC_REQUEST,
    CHAT_STREAM,
    RESPONSES_ANSWER,
    RESPONSES_EVENTS,
    RESPONSES_REQUEST,
    chat_answer,
    chat_request,
    dump,
    end,
    events,
    start,
)

APIS = ("chat", "completions", "responses", "embeddings", "messages")
KNOWN = {
    "model", "messages", "role", "content", "tool_calls", "function", "name", "arguments", "id", "type", "text",
    "tools",
    "parameters", "choices", "message", "delta", "index", "finish_reason", "usage", "prompt_tokens", "logprobs",
    "token_ids", "prompt_token_ids", "input", "output", "instructions", "status", "call_id", "response", "error",
    "system", "tool_use_id", "input_schema", "stop_reason", "content_block", "metadata", "user", "prompt", "data",
    "temperature", "stop", "n", "seed", "max_tokens", "as_sent", "tool_call_id", "annotations", "citations", "summary",
}  # fmt: skip
WORDS = KNOWN | {
    "user", "assistant", "tool", "function", "text", "tool_use", "tool_result", "thinking", "function_call", "message",
    "reasoning", "response.completed", "response.output_item.added", "response.output_text.delta", "message_start",
    "content_block_start", "content_block_delta", "message_delta", "message_stop", "error", "stop", "completed",
    "response.function_call_arguments.delta", "custom", "input_text", "output_text", "input_image",
}  # fmt: skip
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from(sorted(WORDS))
)
names = st.one_of(st.sampled_from(sorted(KNOWN)), st.text(max_size=4))
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=6), max_leaves=25
)


@st.composite
def bent(draw, sound):
    """A sound value of which some part has been replaced by anything."""
    if draw(st.integers(0, 9)) == 0 or not isinstance(sound, dict | list) or not sound:
        return draw(values)
    if isinstance(sound, dict):
        name = draw(st.sampled_from(sorted(sound)))
        return {**sound, name: draw(bent(sound[name]))}
    index = draw(st.integers(0, len(sound) - 1))
    return [*sound[:index], draw(bent(sound[index])), *sound[index + 1 :]]


def stream_of(parts):
    parts = parts if isinstance(parts, list) else [parts]
    return b"".join(f"data: {json.dumps(part)}\n\n".encode() for part in parts) + b"data: [DONE]\n\n"


requests = st.one_of(
    st.binary(max_size=60),
    values.map(dump),
    *(bent(each).map(dump) for each in (chat_request(tools=[{}]), ANTHROPIC_REQUEST, RESPONSES_REQUEST)),
)
CHUNKS = [json.loads(line[6:]) for line in CHAT_STREAM.split(b"\n\n")[:-2]]
answers = st.one_of(
    st.binary(max_size=60),
    values.map(dump),
    st.lists(values, max_size=5).map(stream_of),
    *(bent(each).map(dump) for each in (chat_answer(), ANTHROPIC_ANSWER, RESPONSES_ANSWER)),
    *(bent(each).map(stream_of) for each in (CHUNKS, ANTHROPIC_EVENTS, RESPONSES_EVENTS, RESPONSES_EVENTS[:-1])),
)


@pytest.mark.parametrize("api", APIS)
@settings(max_examples=250, deadline=None)
@given(request=requests, answer=answers, streamed=st.booleans(), state=st.sampled_from(["complete", "aborted_client"]))
def test_anything_gives_a_record_that_validates_and_can_be_written(api, request, answer, streamed, state):
    wire = parse(start(api), request, answer, end(state, streamed=streamed))
    assert "the parser failed" not in (wire.error or "")
    exchange = wire.exchange()
    exchange.model_dump_json()
    orjson.dumps([wire.messages, wire.tools, wire.sampling, wire.choices, wire.tags, wire.error])
    for message in exchange.messages:
        assert isinstance(message.text, str)
    if wire.state == "complete":
        assert api == "embeddings" or (wire.choices and all(choice["finish_reason"] for choice in wire.choices))
    unended = parse_unended(start(api), request, answer)
    assert unended.exchange().state == "killed"


@pytest.mark.parametrize(
    ("api", "stream"),
    [("chat", CHAT_STREAM), ("messages", events(*ANTHROPIC_EVENTS)), ("responses", events(*RESPONSES_EVENTS))],
)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_cut_stream_is_never_complete(api, stream, data):
    length = data.draw(st.integers(0, len(stream) - 3))
    assert parse(start(api), b"{}", stream[:length], end(streamed=True)).state in ("failed", "truncated_upstream")


PLAIN = st.sampled_from(["a", " word", "é", "😀", '"', "\\", "\n", "\ud83d", "[DONE]", '"}', "{", "data: ", ""])


@st.composite
def chat_chunks(draw):
    """Chunks of a stream, most of them alike but for their words, some with something else beside these."""
    chunks = []
    for _ in range(draw(st.integers(8, 16))):
        piece = {"index": draw(st.sampled_from([0, 0, 0, 1])), "delta": {"content": draw(PLAIN)}, "finish_reason": None}
        oddity = draw(
            st.sampled_from([{}] * 6 + [{"token_ids": [5]}, {"logprobs": None}, {"logprobs": {"content": [{}]}}])
        )
        piece["delta"] |= draw(st.sampled_from([{}] * 6 + [{"reasoning": "r"}, {"role": "assistant"}]))
        more = draw(st.sampled_from([[]] * 6 + [[{"index": 1, "delta": {"content": "x"}}]]))
        chunks.append({"id": "1", "choices": [piece | oddity, *more]})
    return chunks


@settings(max_examples=300, deadline=None)
@given(
    chunks=chat_chunks(), compact=st.booleans(), same=st.integers(0, 15), words=st.lists(PLAIN, min_size=6, max_size=6)
)
def test_events_that_are_merged_before_they_are_read_say_what_they_said(chunks, compact, same, words):
    middle = [chunks[same % len(chunks)] | {} for _ in range(6)]
    for chunk, word in zip(middle, words, strict=True):
        chunk["choices"] = json.loads(json.dumps(chunk["choices"]))
        chunk["choices"][0]["delta"]["content"] = word
    chunks = chunks[:2] + middle + chunks[-3:]
    separators = (",", ":") if compact else None
    stream = b"".join(b"data: " + json.dumps(chunk, separators=separators).encode() + b"\n\n" for chunk in chunks)
    one_by_one = Joining()
    one_by_one.add(read_events(stream, Notes()).objects)
    merged = Joining()
    merged.add(read_events(stream, Notes(), merge_alike).objects)
    assert merged.completion() == one_by_one.completion()


def test_alike_events_are_merged_and_strings_that_end_early_are_not():
    def data(inside):
        return b'{"id":"1","choices":[{"index":0,"delta":{"content":"' + inside + b'"},"logprobs":null}]}'

    plain = [data(b"word %d \\n" % number) for number in range(40)]
    assert len(merge_alike(plain)) == 6
    for sly in (b'x","role":"user', b"x\\", b'x\\\\","role":"user', b"x\0"):
        assert merge_alike([*plain, data(sly), *plain]) == [*plain, data(sly), *plain]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    "levels", [150, 200, 230, 236, 238, 240, 242, 244, 246, 248, 250, 252, 254, 256, 500, 1000, 100_000]
)
def test_nesting_of_any_depth_is_kept_or_told(api, levels):
    deep = levels * '{"a":' + "1" + levels * "}"
    request = (
        f'{{"messages": [{{"role": "user", "content": [{deep}]}}], "input": [{deep}], "tools": [{deep}]}}'.encode()
    )
    answer = f'{{"choices": [{{"message": {{"x": {deep}}}}}], "output": [{deep}], "content": [{deep}]}}'.encode()
    for said in (answer, b"data: " + answer + b"\n\n"):
        wire = parse(start(api), request, said, end())
        assert "the parser failed" not in (wire.error or "")
        wire.exchange().model_dump_json()
        assert wire.fidelity == "lossy" or levels < 250
