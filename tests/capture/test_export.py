"""OpenAI rows and OTLP spans: valid for those who read them, and nothing left out in silence."""

from collections import Counter
from datetime import UTC, datetime

import orjson
import pytest
from aiohttp import web
from google.protobuf.json_format import Parse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from journeyman.capture.exports import openai_chat, otlp, sending
from journeyman.capture.exports.reading import matching
from journeyman.errors import InvalidInput, UpstreamFailed
from journeyman.records import Choice, Exchange, Filter, Sampling, Tool, Usage
from journeyman.records.message import Message, assistant, call, system, tool_result, user
from journeyman.store.memory import MemoryStore

TOOL = Tool.model_validate({"function": {"name": "look_up", "parameters": {"type": "object"}}})


def exchange(**fields):
    told = {
        "id": "a" * 32, "at": datetime(2026, 7, 1, 10, tzinfo=UTC), "model": "support", "state": "complete",
        "messages": (system("Be brief."), user("hi"), call("c1", "look_up", x=1), tool_result("c1", "found")),
        "tools": (TOOL,), "choices": (Choice(message=assistant("hello"), finish_reason="stop"),), "latency": 0.5,
        "usage": Usage(prompt_tokens=9, completion_tokens=2, cached_prompt_tokens=4), "session": "s",
        "upstream": "openai", "served": "gpt-4.1", "sampling": Sampling(temperature=0.2, stop="x", n=1),
        "tags": {"stage": "gold"},
    }  # fmt: skip
    return Exchange.model_validate({**told, **fields})


def lines(*exchanges):
    left_out = Counter()
    return [orjson.loads(line) for line in openai_chat.lines(exchanges, left_out)], +left_out


def test_an_openai_row():
    thought = Message.model_validate({"role": "assistant", "content": "hello", "reasoning_content": "hm"})
    choices = (Choice(message=thought, finish_reason="stop"), Choice(message=assistant("hey")))
    (row,), left_out = lines(exchange(choices=choices))
    assert [each["role"] for each in row["messages"]] == ["system", "user", "assistant", "tool", "assistant"]
    assert row["messages"][-1] == {"role": "assistant", "content": "hello"}
    assert row["messages"][2]["tool_calls"][0]["function"] == {"name": "look_up", "arguments": '{"x":1}'}
    assert row["tools"] == [TOOL.wire()]
    assert left_out == {"message field reasoning_content": 1, "further choice of a call that has several": 1}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"state": "truncated_upstream"}, "call with the state truncated_upstream"),
        ({"choices": ()}, "reply without content and without tool calls"),
        ({"choices": (Choice(message=assistant("")),)}, "reply without content and without tool calls"),
        ({"messages": ()}, "request without messages"),
        ({"messages": (user("hi"), tool_result("c9", "?"))}, "tool message that answers no call before it"),
        (
            {"messages": (Message(role="user", content=[{"type": "hologram"}]),)},
            "content part that the format does not know",
        ),
        ({"api": "embeddings"}, "embeddings call"),
    ],
)
def test_what_a_row_cannot_say_is_counted(changed, reason):
    assert lines(exchange(**changed)) == ([], {reason: 1})


def attributes(span):
    return {each["key"]: next(iter(each["value"].values())) for each in span["attributes"]}


def test_a_span_speaks_the_conventions():
    made = otlp.span(exchange(trace="1" * 32, span="2" * 16, response_id="r", time_to_first_token=0.1, person="ana"))
    said = attributes(made)
    assert (made["traceId"], made["parentSpanId"], made["name"], made["kind"]) == (
        "1" * 32,
        "2" * 16,
        "chat support",
        3,
    )
    assert int(made["endTimeUnixNano"]) - int(made["startTimeUnixNano"]) == 500_000_000
    assert (said["gen_ai.usage.input_tokens"], said["gen_ai.usage.cache_read.input_tokens"]) == ("9", "4")
    assert (said["gen_ai.request.temperature"], said["gen_ai.request.choice.count"]) == (0.2, "1")
    assert said["gen_ai.response.finish_reasons"] == {"values": [{"stringValue": "stop"}]}
    assert said["journeyman.tag.stage"] == "gold"
    asked = orjson.loads(said["gen_ai.input.messages"])
    assert asked[1]["parts"] == [{"type": "tool_call", "id": "c1", "name": "look_up", "arguments": {"x": 1}}]
    assert asked[2]["parts"] == [{"type": "tool_call_response", "id": "c1", "response": "found"}]
    assert orjson.loads(said["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be brief."}]
    assert orjson.loads(said["gen_ai.output.messages"])[0]["finish_reason"] == "stop"


def test_failed_calls_are_errors_and_calls_of_one_session_share_a_trace():
    failed = otlp.span(exchange(state="failed", error="busy", status=503, id="b" * 32))
    assert failed["status"] == {"code": 2, "message": "busy"}
    assert attributes(failed)["error.type"] == "503"
    assert failed["traceId"] == otlp.span(exchange())["traceId"] != otlp.span(exchange(session="other"))["traceId"]
    assert failed["spanId"] != otlp.span(exchange())["spanId"]


def test_others_can_read_the_requests():
    many = [exchange(id=f"{number:032x}") for number in range(otlp.SPANS_AT_ONCE + 1)]
    bodies = list(otlp.requests(many))
    assert [number for _, number in bodies] == [otlp.SPANS_AT_ONCE, 1]
    for body, number in bodies:
        assert body.count(b"\n") == 1
        read = Parse(body, ExportTraceServiceRequest())
        assert len(read.resource_spans[0].scope_spans[0].spans) == number


@pytest.fixture
async def collector():
    """A real OTLP endpoint, which answers what `answers` holds, then 200."""
    taken, answers = [], []

    async def take(request):
        taken.append((request.path, dict(request.headers), orjson.loads(await request.read())))
        status, headers, body = answers.pop(0) if answers else (200, {}, b"{}")
        return web.Response(status=status, headers=headers, body=body)

    app = web.Application(client_max_size=1 << 26)
    app.router.add_post("/{any:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}", taken, answers
    await runner.cleanup()


async def test_sending(collector):
    url, taken, answers = collector
    answers += [
        (503, {"retry-after": "0"}, b""),
        (200, {}, b'{"partialSuccess": {"rejectedSpans": "1", "errorMessage": "no"}}'),
    ]
    sent = await sending.send(url, otlp.requests([exchange()]), {"authorization": "Bearer x"})
    assert sent == (1, 1, "no")
    assert len(taken) == 2
    path, headers, body = taken[0]
    assert (path, headers["Authorization"], headers["Content-Type"]) == ("/v1/traces", "Bearer x", "application/json")
    assert len(body["resourceSpans"]) == 1


async def test_what_may_not_be_sent_again_is_not(collector):
    url, taken, answers = collector
    answers.append((400, {}, b"bad span"))
    with pytest.raises(UpstreamFailed, match=r"400: bad span.*0 spans were sent"):
        await sending.send(url + "/api/otel", otlp.requests([exchange()]))
    assert [path for path, *_ in taken] == ["/api/otel"]


def test_a_wrong_url_is_refused():
    with pytest.raises(InvalidInput, match="no http"):
        sending.traces_url("ftp://x")


def test_matching_reads_page_by_page():
    store = MemoryStore()
    store.put(*[exchange(id=f"{number:032x}", tags={"odd": str(number % 2)}) for number in range(1100)])
    assert sum(1 for _ in matching(store, Filter.parse("tags.odd = 1"))) == 550
