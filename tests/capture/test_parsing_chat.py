"""Chats, whole and streamed: what the bytes say is what the record says."""

import json

import pytest

from journeyman.capture.parsing import PARSER, VERSIONS, parse, parse_unended
from journeyman.records import Tokens
from tests.capture.calls import CHAT_STREAM, DONE, chat_answer, chat_request, chunk, dump, end, events, start

CALL = {"id": "call_abc123", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}


def read(request=None, answer=b"", done=None, **fields):
    wire = parse(start(**fields), dump(request or chat_request()), answer, done or end())
    return wire.exchange()


def streamed(stream, state="complete", **fields):
    return read(answer=stream, done=end(state, streamed=True), **fields)


def test_a_whole_chat():
    wire = parse(
        start(session="anna", key="f1"), dump(chat_request(temperature=1, top_k=5)), dump(chat_answer()), end()
    )
    exchange = wire.exchange()
    assert (exchange.state, exchange.error, exchange.fidelity, exchange.parser) == ("complete", None, "exact", PARSER)
    assert [message.wire() for message in exchange.messages] == chat_request()["messages"]
    assert exchange.reply.wire() == {"role": "assistant", "content": "Hello! How can I help you today?"}
    assert exchange.choices[0].finish_reason == "stop"
    assert exchange.usage.model_dump() == {"prompt_tokens": 19, "completion_tokens": 10, "cached_prompt_tokens": 4}
    assert exchange.sampling.wire() == {"temperature": 1.0, "top_k": 5}
    assert (exchange.response_id, exchange.served) == ("chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "gpt-5.4")
    assert (exchange.session, exchange.key, exchange.latency) == ("anna", "f1", 0.5)


def test_a_stream_says_what_a_whole_answer_says():
    exchange = streamed(CHAT_STREAM)
    assert (exchange.state, exchange.reply.text, exchange.choices[0].finish_reason) == ("complete", "Hello", "stop")


@pytest.mark.parametrize("line_end", [b"\r\n", b"\r"])
def test_line_ends_do_not_matter(line_end):
    assert streamed(CHAT_STREAM.replace(b"\n", line_end)) == streamed(CHAT_STREAM)


def test_comments_names_empty_data_and_several_lines_of_data_do_not_matter():
    noisy = b"\xef\xbb\xbf: hello\n\n" + CHAT_STREAM.replace(b"\n\n", b"\n\n: keep-alive\n\ndata:\n\nretry: 5\n\n")
    noisy = noisy.replace(b'"choices": [', b'"choices": [\ndata: ').replace(b"data: {", b"id: 7\nevent: x\ndata:{")
    assert streamed(noisy) == streamed(CHAT_STREAM)


def test_a_stream_cut_at_any_byte_is_truncated_and_never_finished():
    for length in range(len(CHAT_STREAM) - 2):
        exchange = streamed(CHAT_STREAM[:length])
        assert exchange.state == ("failed" if length == 0 else "truncated_upstream")
        assert "Hello".startswith(exchange.reply.text if exchange.reply else "")
        seen_finish = CHAT_STREAM[:length].count(b"\n\n") >= 4
        assert [choice.finish_reason for choice in exchange.choices] == (
            ["stop" if seen_finish else None] if exchange.choices else []
        )


@pytest.mark.parametrize(("state", "told"), [("aborted_client", "aborted_client"), ("truncated_upstream",) * 2])
def test_a_transfer_that_broke_off_is_told_as_it_was(state, told):
    exchange = streamed(CHAT_STREAM[:-30], state=state)
    assert (exchange.state, exchange.reply.text) == (told, "Hello")


def test_a_client_that_hangs_up_behind_the_last_byte_has_a_complete_answer():
    assert streamed(CHAT_STREAM, state="aborted_client").state == "complete"
    assert read(answer=dump(chat_answer()), done=end("aborted_client")).state == "complete"


def test_done_without_a_finish_reason_and_a_finish_reason_without_done_are_truncated():
    assert streamed(events(chunk({"content": "Hel"})) + DONE).state == "truncated_upstream"
    assert streamed(events(chunk({"content": "Hel"}), chunk({}, "stop"))).state == "truncated_upstream"
    assert read(answer=dump(chat_answer(finish=None))).state == "truncated_upstream"


def test_every_choice_must_be_finished():
    parts = [chunk({"content": word}, index=index) for index, word in ((1, "b"), (0, "a"), (1, "B"))]
    one = streamed(events(*parts, chunk({}, "stop", index=1)) + DONE)
    assert one.state == "truncated_upstream"
    both = streamed(events(*parts, chunk({}, "stop", index=1), chunk({}, "length", index=0)) + DONE)
    assert both.state == "complete"
    assert [(choice.message.text, choice.finish_reason) for choice in both.choices] == [("a", "length"), ("bB", "stop")]


def test_tool_calls_come_in_pieces_and_in_any_order():
    def piece(index, **fields):
        return chunk({"tool_calls": [{"index": index, **fields}]})

    stream = events(
        chunk({"role": "assistant", "content": None}),
        piece(1, id="call_2", type="function", function={"name": "b", "arguments": ""}),
        piece(0, id="call_1", type="function", function={"name": "a", "arguments": '{"x"'}),
        piece(1, function={"arguments": "{}"}),
        piece(0, function={"arguments": ": 1}"}),
        chunk({}, "tool_calls"),
    )
    reply = streamed(stream + DONE).reply
    assert [(call.id, call.function.name, call.function.arguments) for call in reply.tool_calls] == [
        ("call_1", "a", '{"x": 1}'),
        ("call_2", "b", "{}"),
    ]
    assert "content" not in reply.wire()


def test_a_reply_and_its_repetition_in_the_next_request_are_the_same_message():
    said = {
        "role": "assistant",
        "content": None,
        "tool_calls": [CALL],
        "refusal": None,
        "annotations": [],
        "audio": None,
    }
    reply = parse(start(), dump(chat_request()), dump(chat_answer(said)), end()).choices[0]["message"]
    for again in (
        said,
        {"tool_calls": [{"function": CALL["function"], "type": "function", "id": CALL["id"]}], "role": "assistant"},
        {"content": None, "role": "assistant", "tool_calls": [{**CALL, "index": 0}], "function_call": None},
    ):
        repeated = parse(start(), dump(chat_request(messages=[again])), b"", end()).messages[0]
        assert json.dumps(repeated) == json.dumps(reply)


def test_reasoning_and_unknown_fields_survive():
    stream = events(
        chunk({"role": "assistant", "reasoning_content": "Let me "}),
        chunk({"reasoning_content": "think."}),
        chunk({"content": "4", "reasoning_details": [{"type": "x", "data": "1"}]}),
        chunk({"reasoning_details": [{"type": "x", "data": "2"}]}, "stop"),
    )
    assert streamed(stream + DONE).reply.wire() == {
        "role": "assistant",
        "content": "4",
        "reasoning_content": "Let me think.",
        "reasoning_details": [{"type": "x", "data": "1"}, {"type": "x", "data": "2"}],
    }


def test_reasoning_that_is_text_here_and_a_list_there_is_told():
    stream = events(chunk({"reasoning": ["a"]}), chunk({"reasoning": "b"}), chunk({"content": "c"}, "stop"))
    exchange = streamed(stream + DONE)
    assert (exchange.state, exchange.reply.text) == ("failed", "c")


def test_token_ids_and_logprobs_are_kept_whole_or_streamed():
    sampled = [{"token": "a", "logprob": -0.5, "bytes": None}, {"token": "b", "logprob": -1.5, "bytes": None}]
    whole = chat_answer()
    whole["prompt_token_ids"] = [1, 2, 3]
    whole["choices"][0] |= {"token_ids": [7, 8], "logprobs": {"content": sampled}}
    expected = Tokens(prompt=(1, 2, 3), reply=(7, 8), logprobs=(-0.5, -1.5))
    exchange = read(answer=dump(whole))
    assert (exchange.choices[0].tokens, exchange.fidelity) == (expected, "exact")
    assert exchange.reply.wire() == {"role": "assistant", "content": "Hello! How can I help you today?"}
    first = chunk({"role": "assistant", "content": ""}) | {"prompt_token_ids": [1, 2, 3]}
    parts = [
        chunk({"content": letter}, token_ids=[id], logprobs={"content": [each]})
        for letter, id, each in zip("ab", (7, 8), sampled, strict=True)
    ]
    assert streamed(events(first, *parts, chunk({}, "stop")) + DONE).choices[0].tokens == expected


def test_our_own_engines_token_logprobs_are_read():
    last = chunk({}, "stop", token_ids=[7], token_logprobs=[-1]) | {"prompt_token_ids": [1]}
    tokens = streamed(events(chunk({"content": "x"}), last) + DONE).choices[0].tokens
    assert tokens == Tokens(prompt=(1,), reply=(7,), logprobs=(-1.0,))


def test_logprobs_without_token_ids_stay_with_the_reply():
    logprobs = {"content": [{"token": "a", "logprob": -0.5, "top_logprobs": []}], "refusal": None}
    whole = chat_answer()
    whole["choices"][0]["logprobs"] = logprobs
    exchange = read(answer=dump(whole))
    assert exchange.choices[0].tokens is None
    assert exchange.reply.wire()["logprobs"] == logprobs
    assert exchange.fidelity == "reconstructed"


def test_usage_alone_in_the_last_chunk_is_read():
    usage = chunk({}) | {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    exchange = streamed(CHAT_STREAM[: -len(DONE)] + events(usage) + DONE)
    assert (exchange.state, exchange.usage.total_tokens) == ("complete", 5)


def test_an_error_in_a_stream_is_a_failed_call():
    exchange = streamed(CHAT_STREAM[:-80] + b"\n\n" + events({"error": {"message": "out of memory"}}))
    assert (exchange.state, exchange.error) == ("failed", "out of memory")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"error": {"message": "no such model", "type": "x"}}', "no such model"),
        (b'{"error": "no such model"}', "no such model"),
        (b'{"object": "error", "message": "no such model"}', "no such model"),
        (b"<html>Bad Gateway</html>", "<html>Bad Gateway</html>"),
        (b"\xff", "\ufffd"),
        (b"", "HTTP status 502"),
    ],
)
def test_an_answer_with_an_errors_status_failed_with_its_own_words(body, told):
    exchange = read(answer=body, done=end(status=502))
    assert (exchange.state, exchange.error, exchange.choices, exchange.status) == ("failed", told, (), 502)


def test_an_error_body_with_a_good_status_failed_too():
    exchange = read(answer=b'{"error": {"message": "overloaded"}}', done=end(streamed=True))
    assert (exchange.state, exchange.error) == ("failed", "overloaded")


@pytest.mark.parametrize(
    "bad",
    [
        b"data: {oops\n\n",
        b"data: 1\n\n",
        b'data: {"choices": 3}\n\n',
        b'data: {"choices": [1]}\n\n',
        b'data: {"choices": [{"delta": 5}]}\n\n',
        b'data: {"choices": [{"index": []}]}\n\n',
        b'data: {"choices": [{"delta": {"tool_calls": [{"index": "x"}]}}]}\n\n',
        b'data: {"a": 1}, {"b": 1}\n\n',
    ],
)
def test_a_malformed_event_between_good_ones_is_told_and_costs_nothing_else(bad):
    good = events(chunk({"content": "Hel"}))
    exchange = streamed(good + bad + events(chunk({"content": "lo"}), chunk({}, "stop")) + DONE)
    assert (exchange.state, exchange.reply.text, exchange.fidelity) == ("failed", "Hello", "lossy")
    assert "cannot be read" in exchange.error


@pytest.mark.parametrize(
    "body", [b"null", b"3", b"{}", b'{"choices": [{}]}', b"\xff", b"hello", b'{"choices": 3}', b"{"]
)
def test_strange_whole_answers_failed_and_say_so(body):
    exchange = read(answer=body)
    assert (exchange.state, exchange.fidelity) == ("failed", "lossy")
    assert "cannot be read" in exchange.error


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'"x"'])
def test_a_request_that_cannot_be_read_keeps_its_answer(body):
    exchange = parse(start(), body, dump(chat_answer()), end()).exchange()
    assert (exchange.state, exchange.fidelity, exchange.messages) == ("complete", "lossy", ())
    assert "the request cannot be read" in exchange.error


def test_malformed_messages_stay_readable_and_lose_nothing():
    sent = [
        {"role": "wizard", "content": "Hi"},
        "just text",
        {"role": "function", "name": "f", "content": "12"},
        {"role": "user", "content": 5, "name": 7},
        {"role": "user", "content": ["a", {"type": "text", "text": "b"}, {"type": "text", "text": 3}]},
        {
            "role": "assistant",
            "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "x", "input": "y"}}, CALL],
        },
        {"role": "assistant", "tool_calls": [{"function": {"name": "x", "arguments": {"a": 1}}}]},
    ]
    exchange = read(chat_request(messages=sent), dump(chat_answer()))
    read_as = [message.wire() for message in exchange.messages]
    assert read_as[:4] == [
        {"role": "user", "content": "Hi", "as_sent": {"role": "wizard"}},
        {"role": "user", "as_sent": "just text"},
        {"role": "tool", "content": "12", "name": "f", "as_sent": {"role": "function"}},
        {"role": "user", "as_sent": {"content": 5, "name": 7}},
    ]
    assert exchange.messages[4].text == "b"
    assert read_as[4]["as_sent"] == {"content": sent[4]["content"]}
    assert read_as[5]["tool_calls"] == [CALL]
    assert read_as[5]["as_sent"] == {"tool_calls": [sent[5]["tool_calls"][0]]}
    assert read_as[6]["tool_calls"] == [
        {"type": "function", "id": "", "function": {"name": "x", "arguments": '{"a":1}'}}
    ]
    assert (exchange.state, exchange.fidelity) == ("complete", "reconstructed")


def test_tools_and_sampling_that_fit_no_record_are_kept_beside():
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}
    other = {"type": "custom", "custom": {"name": "code"}}
    exchange = read(chat_request(tools=[tool, other], temperature="hot", seed=3, stop=["a"], n=None))
    assert [each.wire() for each in exchange.tools] == [tool]
    expected = {"seed": 3, "stop": ["a"], "as_sent": {"temperature": "hot"}, "other_tools": [other]}
    assert exchange.sampling.wire() == expected


def test_who_and_what_a_call_was_for():
    request = chat_request(user="anna", metadata={"stage": "test", "try": 3, "id": "order-7", "none": None})
    exchange = read(request, tags={"stage": "production"}, traceparent=f"00-{'a' * 32}-{'b' * 16}-01")
    assert exchange.tags == {"stage": "production", "try": "3", "id": "order-7"}
    assert (exchange.person, exchange.external_id) == ("anna", "order-7")
    assert (exchange.trace, exchange.span) == ("a" * 32, "b" * 16)
    assert exchange.sampling.wire() == {}
    told = read(request, person="berta", external_id="mine")
    assert (told.person, told.external_id) == ("berta", "mine")


@pytest.mark.parametrize(
    "bad",
    ["", "x", f"00-{'0' * 32}-{'b' * 16}-01", f"00-{'a' * 32}-{'0' * 16}-01", f"ff-{'a' * 32}-{'b' * 16}-01",
     f"00-{'A' * 32}-{'b' * 16}-01", f"00-{'a' * 32}-{'b' * 16}-01-more", f"00-{'a' * 31}-{'b' * 16}-01"],
)  # fmt: skip
def test_a_traceparent_that_is_none_names_no_trace(bad):
    exchange = read(traceparent=bad)
    assert (exchange.trace, exchange.span) == (None, None)


def test_a_later_version_of_traceparent_is_read():
    assert read(traceparent=f"01-{'a' * 32}-{'b' * 16}-01-more").trace == "a" * 32


def test_another_upstream_than_the_first_is_told_by_the_end():
    tried = {"upstream": "a", "served": "m", "error": "503", "latency": 0.1}
    done = end(upstream="b", served="n", adapter=None, attempts=[tried], time_to_first_token=0.2)
    exchange = read(answer=dump(chat_answer()), done=done, upstream="a", served="m", adapter="x")
    assert (exchange.upstream, exchange.served, exchange.adapter) == ("b", "n", None)
    assert (exchange.attempts[0].error, exchange.time_to_first_token) == ("503", 0.2)


def test_a_call_whose_writer_died_is_killed_with_what_came():
    cut = parse_unended(start(), dump(chat_request()), CHAT_STREAM[:-60]).exchange()
    assert (cut.state, cut.reply.text, cut.status) == ("killed", "Hello", None)
    assert cut.error
    silent = parse_unended(start(), dump(chat_request()), b"").exchange()
    assert (silent.state, silent.choices) == ("killed", ())


def test_broken_characters_and_deep_nesting_never_make_a_record_that_cannot_be_kept():
    deep = 300 * '{"a":' + "1" + 300 * "}"
    request = b'{"messages": [{"role": "user", "content": "\\ud83d!", "x": NaN, "deep": ' + deep.encode() + b"}]}"
    wire = parse(start(), request, dump(chat_answer()), end())
    assert (wire.state, wire.fidelity) == ("complete", "lossy")
    assert wire.messages[0]["content"] == "\ufffd!"
    assert wire.exchange().model_dump_json()


def test_a_mistake_in_the_parser_costs_no_record():
    wire = parse(start(api="telepathy"), b"{}", b"", end())
    assert (wire.state, wire.fidelity, wire.id) == ("failed", "lossy", start()["id"])
    assert "the parser failed" in wire.error


def test_every_version_stays_callable():
    assert PARSER in VERSIONS
    for version, parser in VERSIONS.items():
        assert parser(start(), dump(chat_request()), dump(chat_answer()), end()).parser == version
