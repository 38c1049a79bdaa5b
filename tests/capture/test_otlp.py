"""Batches that real instrumentations sent, read into exchanges."""

import base64
import json
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journeyman.capture.otlp.check import check
from journeyman.capture.otlp.handlers import OtlpHandlers
from journeyman.capture.otlp.told import exchange_id
from journeyman.records import Exchange, Feedback, Tagging, WireExchange
from journeyman.records.exchange import Choice
from journeyman.records.message import assistant, user
from journeyman.store.memory import MemoryStore

PAYLOADS = Path(__file__).parent / "otlp_payloads"
DIALECTS = ["openinference", "openllmetry", "conventions-events", "conventions-span", "conventions-details"]
JSON = {"encoding": "json"}
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def recorded(name):
    """The batches of one emitter: (signal, request)."""
    told = json.loads((PAYLOADS / f"{name}.json").read_text())
    return [(signal, request) for signal in ("logs", "traces") for request in told[signal]]


def as_protobuf(signal, request):
    from google.protobuf import json_format
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    def base64_ids(value):
        if isinstance(value, list):
            return [base64_ids(each) for each in value]
        if not isinstance(value, dict):
            return value
        ids = ("traceId", "spanId", "parentSpanId")
        return {
            name: base64.b64encode(bytes.fromhex(inner)).decode() if name in ids else base64_ids(inner)
            for name, inner in value.items()
        }

    kind = ExportTraceServiceRequest if signal == "traces" else ExportLogsServiceRequest
    return json_format.ParseDict(base64_ids(request), kind()).SerializeToString()


def take(handlers, store, signal, body, about=JSON):
    handle = handlers.handle_traces if signal == "traces" else handlers.handle_logs
    records = [each.exchange() if isinstance(each, WireExchange) else each for each in handle(about, body)]
    store.put(*records)
    return records


def stored(batches, encoding="json", restart=False):
    store = MemoryStore()
    handlers = OtlpHandlers(store)
    for signal, request in batches:
        body = json.dumps(request).encode() if encoding == "json" else as_protobuf(signal, request)
        take(handlers, store, signal, body, {"encoding": encoding})
        if restart:
            handlers = OtlpHandlers(store)
    return sorted(store.find(Exchange), key=lambda exchange: exchange.at)


def attribute(name, value):
    kind = {str: "stringValue", bool: "boolValue", float: "doubleValue", int: "intValue"}[type(value)]
    return {"key": name, "value": {kind: str(value) if kind == "intValue" else value}}


def span(span_id=SPAN, trace=TRACE, start=1_760_000_000_000_000_000, **attributes):
    named = [attribute(name.replace("__", "."), value) for name, value in attributes.items()]
    return {
        "traceId": trace, "spanId": span_id, "name": "call", "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + 10**9), "attributes": named,
    }  # fmt: skip


def dotted(attributes, **fields):
    return {**span(**fields), "attributes": [attribute(*pair) for pair in attributes.items()]}


def traces(*spans):
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}


def logs(*records):
    return {"resourceLogs": [{"scopeLogs": [{"logRecords": list(records)}]}]}


def one(*spans):
    (exchange,) = stored([("traces", traces(*spans))])
    return exchange


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_tells_the_same_calls(name, encoding):
    first, second, streamed, failed = stored(recorded(name), encoding)
    request = [("system", "You answer about weather."), ("user", "How warm is it in Paris?")]
    assert [(each.role, each.content) for each in first.messages] == request
    call = first.reply.tool_calls[0]
    assert (call.id, call.function.name, json.loads(call.function.arguments)) == (
        "call_1",
        "weather",
        {"city": "Paris"},
    )
    assert first.choices[0].finish_reason == "tool_calls"
    assert [each.role for each in second.messages] == ["system", "user", "assistant", "tool"]
    assert (second.messages[3].tool_call_id, second.messages[3].content) == ("call_1", '{"celsius": 18}')
    assert second.reply.content == "It is 18 degrees in Paris."
    assert streamed.reply.content == "It is mild."
    assert (failed.state, failed.choices) == ("failed", ())
    assert "does not exist" in failed.error
    assert [(each.role, each.content) for each in failed.messages] == request
    assert [each.state for each in (first, second, streamed)] == ["complete"] * 3
    assert [each.response_id for each in (first, second, streamed)] == [
        "chatcmpl-tool1", "chatcmpl-text1", "chatcmpl-stream1",
    ]  # fmt: skip
    assert (first.usage.prompt_tokens, first.usage.completion_tokens) == (60, 15)
    assert (first.model, first.served, first.upstream) == ("gpt-4.1-mini", "gpt-4.1-mini-2025-04-14", "openai")
    assert first.sampling.wire() == {"temperature": 0.2, "max_tokens": 64}
    assert first.trace == failed.trace
    assert first.span != second.span
    assert first.tags["otel.parent"] == second.tags["otel.parent"]
    assert first.latency > 0
    assert {each.fidelity for each in (first, second, streamed)} == {
        "reconstructed" if name == "openinference" else "lossy"
    }


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("name", ["conventions-events", "conventions-details"])
def test_halves_join_in_any_order_and_over_a_restart(name, restart):
    expected = stored(recorded(name))
    for order in permutations(recorded(name)):
        found = stored(order, restart=restart)
        assert [each.model_dump(exclude={"at"}) for each in found] == [
            each.model_dump(exclude={"at"}) for each in expected
        ]


@pytest.mark.parametrize("name", DIALECTS)
def test_a_batch_that_is_sent_twice_is_stored_once(name):
    assert len(stored([*recorded(name), *recorded(name)])) == 4


def test_a_batch_can_be_read_anew_when_the_store_failed_to_take_it():
    store = MemoryStore()
    handlers = OtlpHandlers(store)
    batches = recorded("conventions-events")
    for signal, request in batches:
        (handlers.handle_traces if signal == "traces" else handlers.handle_logs)(JSON, json.dumps(request).encode())
    for signal, request in batches:
        take(handlers, store, signal, json.dumps(request).encode())
    assert [each.state for each in store.find(Exchange)].count("complete") == 3


def test_a_span_without_content_is_made_final_after_a_while():
    store = MemoryStore()
    handlers = OtlpHandlers(store, wait=0)
    body = json.dumps(traces(span(gen_ai__operation__name="chat", gen_ai__request__model="m"))).encode()
    take(handlers, store, "traces", body)
    (settled,) = [*OtlpHandlers(store, wait=0).settle(), None][:1]
    exchange = settled.exchange() if settled else store.find(Exchange)[0]
    assert (exchange.state, exchange.fidelity, exchange.messages) == ("complete", "lossy", ())


def test_what_the_gateway_captured_itself_is_not_stored_again():
    store = MemoryStore()
    ((_, request),) = recorded("openinference")
    at = int(request["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["startTimeUnixNano"]) / 1e9
    mine = Exchange(
        id="a" * 32, at=at, model="gpt-4.1-mini", state="complete", messages=(user("x"),),
        choices=(Choice(message=assistant("y"), finish_reason="stop"),), response_id="chatcmpl-tool1",
    )  # fmt: skip
    store.put(mine)
    records = take(OtlpHandlers(store), store, "traces", json.dumps(request).encode())
    (tagging,) = [each for each in records if isinstance(each, Tagging)]
    assert tagging.exchange_id == mine.id
    assert len(store.find(Exchange)) == 4
    assert tagging.tags["otel.span"]


def test_evaluations_become_feedback_once():
    store = MemoryStore()
    event = {
        "eventName": "gen_ai.evaluation.result", "timeUnixNano": "1760000000000000000", "traceId": TRACE,
        "spanId": SPAN, "attributes": [
            attribute("gen_ai.evaluation.name", "Relevance"), attribute("gen_ai.evaluation.score.value", 0.5),
            attribute("gen_ai.evaluation.score.label", "fair"), attribute("gen_ai.evaluation.explanation", "so so"),
        ],
    }  # fmt: skip
    handlers = OtlpHandlers(store)
    for _ in range(2):
        take(handlers, store, "logs", json.dumps(logs(event)).encode())
    (found,) = store.find(Feedback)
    assert (found.name, found.value, found.label, found.reason) == ("Relevance", 0.5, "fair", "so so")
    assert found.exchange_id == exchange_id(TRACE, SPAN)


def test_old_openllmetry_spans_are_read():
    found = one(
        dotted(
            {
                "llm.request.type": "chat",
                "gen_ai.system": "OpenAI",
                "gen_ai.request.model": "m",
                "gen_ai.prompt.0.role": "user",
                "gen_ai.prompt.0.content": "hello",
                "gen_ai.completion.0.role": "assistant",
                "gen_ai.completion.0.finish_reason": "tool_calls",
                "gen_ai.completion.0.tool_calls.0.id": "c1",
                "gen_ai.completion.0.tool_calls.0.name": "f",
                "gen_ai.completion.0.tool_calls.0.arguments": '{"a": 1}',
                "gen_ai.usage.prompt_tokens": 3,
                "llm.request.functions.0.name": "f",
                "llm.request.functions.0.parameters": '{"type": "object"}',
                "traceloop.association.properties.session_id": "s1",
            }
        )
    )
    assert found.messages == (user("hello"),)
    assert found.reply.tool_calls[0].function.arguments == '{"a": 1}'
    assert found.tools[0].function.parameters == {"type": "object"}
    assert (found.usage.prompt_tokens, found.session) == (3, "s1")


def test_spans_of_vercels_sdk_are_read_and_their_parents_are_not():
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    calls = [{"toolCallId": "c1", "toolName": "f", "input": {"a": 1}}]
    told = {
        "ai.operationId": "ai.streamText.doStream", "ai.model.id": "m", "ai.prompt.messages": json.dumps(prompt),
        "ai.response.toolCalls": json.dumps(calls), "ai.response.finishReason": "tool-calls",
        "ai.usage.promptTokens": 4, "ai.response.msToFirstChunk": 250.0, "ai.telemetry.metadata.userId": "ann",
    }  # fmt: skip
    found = one(dotted(told), dotted({**told, "ai.operationId": "ai.streamText"}, span_id="b" * 16))
    assert [each.content for each in found.messages] == ["Be brief.", "hi"]
    assert found.choices[0].finish_reason == "tool_calls"
    assert (found.person, found.time_to_first_token, found.usage.prompt_tokens) == ("ann", 0.25, 4)


def test_generations_of_langfuses_sdk_are_read():
    found = one(
        dotted(
            {
                "langfuse.observation.type": "generation",
                "langfuse.observation.model.name": "m",
                "langfuse.observation.input": '[{"role": "user", "content": "hi"}]',
                "langfuse.observation.output": '{"role": "assistant", "content": "ho"}',
                "langfuse.observation.usage_details": '{"input": 2, "output": 1}',
                "langfuse.session.id": "s",
            }
        )
    )
    assert (found.messages, found.reply) == ((user("hi"),), assistant("ho"))
    assert (found.usage.total_tokens, found.session) == (3, "s")


def test_tools_and_agents_are_no_exchanges():
    spans = [
        span(gen_ai__operation__name="execute_tool"),
        span("b" * 16, gen_ai__operation__name="invoke_agent", gen_ai__request__model="m"),
        span("c" * 16, openinference__span__kind="CHAIN"),
    ]
    assert stored([("traces", traces(*spans))]) == []


def test_one_bad_span_spoils_no_other():
    good = span(gen_ai__operation__name="chat", gen_ai__request__model="m")
    request = traces({**good, "spanId": "xyz"}, good, {**good, "attributes": 7}, "nonsense")
    verdict = check(json.dumps(request).encode(), "json", "traces")
    assert (verdict.accepted, verdict.rejected) == (2, 2)
    assert "span 0: spanId" in verdict.message
    assert len(stored([("traces", request)])) == 1


def test_a_span_whose_attributes_are_garbage_spoils_no_other_in_protobuf():
    good = as_protobuf("traces", traces(span(gen_ai__operation__name="chat", gen_ai__request__model="m")))
    bad = bytearray(as_protobuf("traces", traces(span("c" * 16, note="broken text"))))
    bad[bad.index(b"broken text") : bad.index(b"broken text") + 2] = b"\xff\xfe"
    store = MemoryStore()
    handlers = OtlpHandlers(store)
    assert check(good + bytes(bad), "protobuf", "traces").accepted == 2
    take(handlers, store, "traces", bytes(bad) + good, {"encoding": "protobuf"})
    assert (len(store.find(Exchange)), handlers.report()["damaged"]) == (1, 1)


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
def test_signals_sent_to_the_wrong_path_are_recognised(encoding):
    for signal, request in recorded("conventions-events"):
        body = json.dumps(request).encode() if encoding == "json" else as_protobuf(signal, request)
        for path in ("traces", "logs"):
            verdict = check(body, encoding, path)
            assert (verdict.signal, verdict.rejected) == (signal, 0)


@given(st.binary(max_size=300))
@settings(max_examples=300)
def test_arbitrary_bytes_are_taken_or_refused(body):
    for encoding in ("json", "protobuf"):
        try:
            check(body, encoding, "traces")
        except ValueError:
            continue
        OtlpHandlers(MemoryStore()).handle_traces({"encoding": encoding}, body)


VALUES = st.recursive(
    st.none()
    | st.text(max_size=8)
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.request.temperature", "gen_ai.request.max_tokens",
        "gen_ai.prompt.0.role", "gen_ai.prompt.0.content", "gen_ai.completion.0", "gen_ai.completion.0.tool_calls.0.id",
        "gen_ai.response.finish_reasons", "gen_ai.tool.definitions", "gen_ai.usage.input_tokens", "input.value",
        "output.value", "llm.input_messages.0.message.role", "llm.input_messages.0.message.contents.0.message_content",
        "llm.tools.0.tool.json_schema", "llm.invocation_parameters", "ai.prompt.messages", "ai.response.toolCalls",
        "gen_ai.request.model", "gen_ai.provider.name", "user.id", "session.id", "ai.model.id", "metadata", "tag.tags",
        "langfuse.observation.input", "langfuse.observation.output", "llm.model_name", "ai.response.id",
    ]
)  # fmt: skip
HEADS = st.sampled_from(
    [
        {"gen_ai.operation.name": "chat"}, {"openinference.span.kind": "LLM"}, {"openinference.span.kind": "EMBEDDING"},
        {"ai.operationId": "ai.generateText.doGenerate"}, {"langfuse.observation.type": "generation"},
        {"mlflow.spanType": "LLM"},
    ]
)  # fmt: skip


def any_value(value):
    match value:
        case bool() | float() | str():
            return attribute("x", value)["value"]
        case int():
            return {"intValue": str(value)}
        case list():
            return {"arrayValue": {"values": [any_value(each) for each in value]}}
        case dict():
            return {"kvlistValue": {"values": [{"key": k, "value": any_value(v)} for k, v in value.items()]}}
    return {}


@given(HEADS, st.dictionaries(NAMES, VALUES | VALUES.map(json.dumps), max_size=6))
@settings(max_examples=300)
def test_whatever_attributes_hold_a_span_gives_a_readable_exchange(head, attributes):
    told = [{"key": name, "value": any_value(value)} for name, value in {**attributes, **head}.items()]
    body = json.dumps(traces({**span(), "attributes": told})).encode()
    handlers = OtlpHandlers(MemoryStore())
    (record,) = handlers.handle_traces(JSON, body)
    assert record.exchange().source == "otlp"


def test_integers_of_more_than_64_bits_are_kept() -> None:
    message = json.dumps([{"role": "user", "content": "Hello", "seen": 2**64 + 1}])
    told = [attribute("gen_ai.operation.name", "chat"), attribute("gen_ai.input.messages", message)]
    body = json.dumps(traces({**span(), "attributes": told})).encode()
    (record,) = OtlpHandlers(MemoryStore()).handle_traces(JSON, body)
    assert record.exchange().messages[0].content == "Hello"
