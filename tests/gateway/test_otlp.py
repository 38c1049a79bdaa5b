"""OTLP over HTTP: what is accepted, what is answered, and that nothing is acknowledged that is not in the spool."""

import gzip
import json
import zlib

import httpx
import pytest

from journeyman.capture.frames import Frame, read_frames, read_record
from journeyman.capture.spool import Spool
from journeyman.gateway.otlp import MOST_BYTES, OtlpRoutes

SPAN = {"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "startTimeUnixNano": "1"}
GOOD = {"resourceSpans": [{"scopeSpans": [{"spans": [SPAN]}]}]}
HALF = {"resourceSpans": [{"scopeSpans": [{"spans": [SPAN, {**SPAN, "spanId": ""}]}]}]}
JSON, PROTOBUF = {"content-type": "application/json"}, {"content-type": "application/x-protobuf"}


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path)
    yield spool
    spool.close()


@pytest.fixture
async def client(spool):
    routes = OtlpRoutes(spool)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=routes), base_url="http://here") as client:
        client.report = routes.report
        yield client


def kept(folder):
    """What is in the spool: (what, about, body) of each batch."""
    return [
        read_record(found.payload)
        for path in sorted(folder.glob("*.spool"))
        for _, found in read_frames(path.read_bytes())
        if isinstance(found, Frame)
    ]


def as_protobuf(spans):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number in range(spans):
        scope.spans.add(trace_id=b"t" * 16, span_id=number.to_bytes(8, "big"), start_time_unix_nano=1)
    return request.SerializeToString()


async def test_a_batch_in_json_is_in_the_spool_before_it_is_acknowledged(client, tmp_path):
    answer = await client.post("/v1/traces", content=json.dumps(GOOD), headers=JSON)
    assert (answer.status_code, answer.json()) == (200, {})
    ((what, about, body),) = kept(tmp_path)
    assert (what, about["encoding"], json.loads(body)) == ("otlp/traces", "json", GOOD)
    assert client.report()["accepted_traces"] == 1


async def test_bad_spans_are_counted_and_told_in_the_requests_encoding(client):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    told = (await client.post("/v1/traces", content=json.dumps(HALF), headers=JSON)).json()["partialSuccess"]
    assert told["rejectedSpans"] == "1"
    assert "span 1: spanId" in told["errorMessage"]
    answer = await client.post("/v1/traces", content=as_protobuf(200), headers=PROTOBUF)
    assert answer.headers["content-type"] == "application/x-protobuf"
    partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert partial.rejected_spans == 1
    assert "span 0" in partial.error_message
    assert client.report() == {
        "accepted_traces": 200, "rejected_traces": 2, "misdirected_batches": 0,
    }  # fmt: skip


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_packed_bodies_are_unpacked(client, tmp_path, coding, pack):
    body = pack(json.dumps(GOOD).encode())
    answer = await client.post("/v1/traces", content=body, headers={**JSON, "content-encoding": coding})
    assert answer.status_code == 200
    assert json.loads(kept(tmp_path)[0][2]) == GOOD


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{", JSON, 400),
        (b"[]", JSON, 400),
        (b"\x0a\xff", PROTOBUF, 400),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"{}", {}, 415),
        (b"{}", {**JSON, "content-encoding": "br"}, 415),
        (b"no gzip", {**JSON, "content-encoding": "gzip"}, 400),
        (gzip.compress(b"{}", mtime=0)[:-9], {**JSON, "content-encoding": "gzip"}, 400),
        (gzip.compress(b" " * (MOST_BYTES + 1)), {**JSON, "content-encoding": "gzip"}, 413),
    ],
)
async def test_what_cannot_be_read_is_refused_for_good(client, tmp_path, content, headers, status):
    answer = await client.post("/v1/traces", content=content, headers=headers)
    assert answer.status_code == status
    assert "retry-after" not in answer.headers
    assert kept(tmp_path) == []


async def test_a_spool_that_refuses_is_told_with_a_time(client, spool, tmp_path):
    spool.close()
    answer = await client.post("/v1/traces", content=json.dumps(GOOD), headers=JSON)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["code"] == 14
    assert kept(tmp_path) == []


async def test_logs_that_were_sent_to_the_path_for_traces_are_kept_as_logs(client, tmp_path):
    record = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"eventName": "gen_ai.user.message"}]}]}]}
    answer = await client.post("/v1/traces", content=json.dumps(record), headers=JSON)
    assert answer.status_code == 200
    assert kept(tmp_path)[0][0] == "otlp/logs"
