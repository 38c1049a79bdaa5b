"""Streams in every cut: what passes must not depend on how the network split it."""

import json

import pytest

from journeyman.gateway.assemble import assemble
from journeyman.gateway.sse import UsageFilter, event_data, is_done


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


async def test_an_assembled_stream_never_depends_on_line_ends(stream):
    expected = assemble(stream, streamed=True)
    assert expected.finished
    assert expected.choices[0].message.content == "Hello"
    for end in (b"\r\n\r\n", b"\r\r"):
        assert assemble(stream.replace(b"\n\n", end), streamed=True) == expected


async def test_a_stream_cut_at_any_byte_is_not_finished(stream):
    for length in range(len(stream) - 2):
        part = assemble(stream[:length], streamed=True)
        assert not part.finished
        assert part.unreadable is None


def test_events_may_have_comments_names_and_several_data_lines():
    stream = b": keep-alive\n\nevent: x\ndata: {\ndata: }\n\ndata:1\n\ndata: cut"
    assert list(event_data(stream)) == [b"{\n}", b"1"]


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


async def test_several_choices_are_told_apart_and_tokens_are_kept(upstream):
    parts = [upstream.chunk({"content": word}, index=index) for index, word in ((1, "b"), (0, "a"), (1, "B"))]
    for index in (0, 1):
        last = upstream.chunk({}, finish="stop", index=index, token_ids=[index, 9], token_logprobs=[-1.0, -2.0])
        parts.append(last | {"prompt_token_ids": [1, 2]})
    stream = b"".join([*map(upstream.event, parts), upstream.event("[DONE]")])
    read = assemble(stream, streamed=True)
    assert [choice.message.content for choice in read.choices] == ["a", "bB"]
    assert [choice.tokens.reply for choice in read.choices] == [(0, 9), (1, 9)]
    assert read.choices[0].tokens.prompt == (1, 2)
    assert read.usage is None


@pytest.mark.parametrize(
    "data", ["1", "[]", '{"choices": 3}', '{"choices": [1]}', '{"choices": [{"delta": 5}]}',
             '{"choices": [{"delta": {"tool_calls": [{"index": "x"}, {"index": 1}]}}]}', '{"choices": {"a": 1}}'],
)  # fmt: skip
def test_strange_events_are_unreadable_and_never_an_exception(data):
    read = assemble(f"data: {data}\n\ndata: [DONE]\n\n".encode(), streamed=True)
    assert read.unreadable
    assert not read.finished


@pytest.mark.parametrize("body", [b"", b"null", b"3", b"{}", b'{"choices": [{}]}', b"\xff"])
def test_strange_whole_answers_are_unreadable(body):
    read = assemble(body, streamed=False)
    assert read.unreadable
    assert not read.finished
