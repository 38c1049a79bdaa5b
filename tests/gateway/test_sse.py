"""Streams in every cut: what passes must not depend on how the network split it."""

import json

import pytest

from journeyman.gateway.sse import StreamEnd, is_done
from journeyman.gateway.usage import UsageFilter, read_usage


@pytest.fixture
def stream(upstream):
    return b"".join(upstream.hello)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
async def test_the_usage_chunk_alone_is_held_back_however_the_stream_is_split(upstream, end, size):
    parts = [part.replace(b"\n\n", end) for part in upstream.hello]
    stream, expected = b"".join(parts), b"".join(parts[:4] + parts[5:])
    usage = UsageFilter()
    passed = b"".join(usage.feed(stream[at : at + size]) for at in range(0, len(stream), size))
    assert passed + usage.rest() == expected


async def test_words_about_usage_are_not_held_back(upstream):
    sly = upstream.event(upstream.chunk({"content": '{"choices": [], "usage": {"a": 1}}'}))
    last = json.loads(upstream.hello[3][6:]) | {"usage": {"prompt_tokens": 1}}
    stream = sly + upstream.event(last)
    usage = UsageFilter()
    assert usage.feed(stream) + usage.rest() == stream


@pytest.mark.parametrize(
    ("stream", "done"),
    [
        (b"data: 1\n\ndata: [DONE]\n\n", True),
        (b"data:[DONE]\r\n\r\n", True),
        (b'data: {"content": "data: [DONE]"}\n\n', False),
        (b"data: [DONE]\n\ndata: 1\n\n", False),
        (b"", False),
    ],
)
def test_done_is_an_event_of_its_own(stream, done):
    assert is_done(stream) is done


DONE = b"data: [DONE]\n\n"
STOPPED = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
COMPLETED = b'data: {"type":"response.completed","response":{"output":"%b"}}\n\n' % (b"x" * 3000)


@pytest.mark.parametrize(
    ("api", "stream", "well"),
    [
        ("chat", DONE, True),
        ("completions", b"data: 1\r\n\r\n" + DONE, True),
        ("chat", STOPPED, False),
        ("messages", STOPPED, True),
        ("messages", b'data: {"type":"text","text":"message_stop"}\n\n', False),
        ("responses", COMPLETED, True),
        ("responses", COMPLETED.replace(b"completed", b"incomplete"), True),
        ("responses", b'data: {"type":"response.output_text.delta","delta":"response.completed"}\n\n', False),
        ("responses", DONE, False),
        ("chat", b"", False),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_streams_end_is_known_by_its_apis_mark_however_it_is_split(api, stream, well, size):
    end = StreamEnd(api)
    for at in range(0, len(stream), size):
        end.feed(stream[at : at + size])
    assert end.well is well


async def test_events_with_a_usage_are_kept_and_pass_when_the_client_asked_for_them(upstream):
    stream = b"".join(upstream.hello)
    for size in (1, 9, 10_000):
        usage = UsageFilter(hold=False)
        passed = b"".join(usage.feed(stream[at : at + size]) for at in range(0, len(stream), size))
        assert passed + usage.rest() == stream
        assert read_usage(b"".join(usage.told), streamed=True).total_tokens == 15


@pytest.mark.parametrize(
    ("body", "streamed", "expected"),
    [
        (b'{"usage":{"prompt_tokens":5,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":3}}}', False,
         (5, 2, 3)),
        (b'{"usage":{"input_tokens":5,"output_tokens":2,"input_tokens_details":{"cached_tokens":3}}}', False,
         (5, 2, 3)),
        (b'{"usage":{"input_tokens":5,"output_tokens":2,"cache_read_input_tokens":3,"cache_creation_input_tokens":4}}',
         False, (12, 2, 3)),
        (b'data: {"type":"response.completed","response":{"usage":{"input_tokens":5,"output_tokens":2}}}\n\n', True,
         (5, 2, 0)),
        (b'data: {"message":{"usage":{"input_tokens":5,"output_tokens":1}}}\n\ndata: {"usage":{"output_tokens":9}}\n\n',
         True, (5, 9, 0)),
        (b'{"usage":{"prompt_tokens":"many"}}', False, (0, 0, 0)),
        (b'{"usage":null}', False, None),
        (b"[1]", False, None),
        (b"{", False, None),
    ],
)  # fmt: skip
def test_usage_is_read_in_every_apis_words(body, streamed, expected):
    usage = read_usage(body, streamed)
    told = usage and (usage.prompt_tokens, usage.completion_tokens, usage.cached_prompt_tokens)
    assert told == expected
