"""`POST /v1/traces` and `POST /v1/logs`: OTLP over HTTP, acknowledged once the spool has it.

Every span is taken or left for itself; the answer says how many were left and why. 400: sending it again is no use;
503 with Retry-After: the spool cannot take it now. What the spans mean is read by the ingester.
"""

import asyncio
import zlib
from collections import Counter
from typing import Any, Protocol

import orjson

from journeyman.capture.otlp import scan
from journeyman.capture.otlp.check import Encoding, Signal, Verdict, checking
from journeyman.capture.otlp.signals import protobuf_is_there
from journeyman.errors import InvalidInput, JourneymanError, Overloaded
from journeyman.gateway.asgi import BodyTooLarge, ClientGone, Receive, Scope, Send, read_body

PATHS: dict[str, Signal] = {"/v1/traces": "traces", "/v1/logs": "logs"}
MOST_BYTES = 64 << 20
"""Of a batch, unpacked."""
RETRY_SECONDS = 5.0
_TYPES: dict[bytes, Encoding] = {b"application/x-protobuf": "protobuf", b"application/json": "json"}
_WRITTEN = {encoding: kind for kind, encoding in _TYPES.items()}
_LARGE = 256 << 10
"""Compressed bytes from which on unpacking goes to a thread."""
_STEP = 1 << 20
_CODES = {400: 3, 413: 11, 415: 3, 503: 14}
"""gRPC's codes, which the body of an OTLP error carries."""


class Unsupported(InvalidInput):
    """The body comes in a form that cannot be read here."""

    code = "unsupported_media_type"
    status = 415


class SpoolRefuses(Overloaded):
    """The spool cannot take more now."""

    code = "spool_unavailable"
    status = 503


class Spool(Protocol):
    """What is needed of `capture.spool.Spool`."""

    def record(self, what: str, about: dict[str, Any], body: bytes) -> bool:
        """Write something whole; False when it could not be."""


class OtlpRoutes:
    """An ASGI application for the two paths. Whoever mounts it has checked the caller's key."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._counts: Counter[str] = Counter()
        self._reads_protobuf = protobuf_is_there()

    async def __call__(self, scope: Scope, receive: Receive, send: Send, about: dict[str, Any] | None = None) -> None:
        """Answer one request; `about` is what is to be known of all its spans (`project`, `key`)."""
        signal = PATHS[scope["path"]]
        headers = dict(scope["headers"])
        encoding: Encoding = "json"
        coding = headers.get(b"content-encoding", b"")
        try:
            encoding = self._encoding(headers)
            body = await _unpacked(await read_body(receive, MOST_BYTES, headers.get(b"content-length")), coding)
            verdict = await _verdict(body, encoding, signal)
            told = {**(about or {}), "encoding": encoding}
            if verdict.accepted and not self._spool.record(f"otlp/{verdict.signal}", told, body):
                raise SpoolRefuses(
                    "the spool cannot take the batch now (disk full, or its budget is reached); nothing of it was "
                    "kept. Send it again later; GET /healthz tells why",
                    RETRY_SECONDS,
                )
        except ClientGone:
            self._counts["aborted"] += 1
        except JourneymanError as error:
            self._counts["refused_batches"] += 1
            await _answer(send, error.status, encoding, _refusal(error, encoding), getattr(error, "retry_after", None))
        else:
            self._counts[f"accepted_{verdict.signal}"] += verdict.accepted
            self._counts[f"rejected_{verdict.signal}"] += verdict.rejected
            self._counts["misdirected_batches"] += verdict.signal != signal
            await _answer(send, 200, encoding, _receipt(verdict, signal, encoding))

    def report(self) -> dict[str, int]:
        """Spans and log records that were accepted and rejected, and batches that were refused, since the start."""
        return dict(self._counts)

    def _encoding(self, headers: dict[bytes, bytes]) -> Encoding:
        kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        encoding = _TYPES.get(kind)
        if encoding is None:
            raise Unsupported(
                f"the Content-Type {kind.decode('latin-1')!r} is not OTLP's; nothing was kept. "
                "Send application/x-protobuf or application/json"
            )
        if encoding == "protobuf" and not self._reads_protobuf:
            raise Unsupported(
                "OTLP in protobuf needs the package opentelemetry-proto, which is not installed here; nothing was "
                "kept. Install journeyman[otlp], or send JSON (OTEL_EXPORTER_OTLP_PROTOCOL=http/json)"
            )
        return encoding


async def _verdict(body: bytes, encoding: Encoding, signal: Signal) -> Verdict:
    verdict = Verdict(signal)
    try:
        for so_far in checking(body, encoding, signal):
            verdict = so_far
            await asyncio.sleep(0)
    except ValueError as error:
        raise InvalidInput(
            f"the body is no OTLP request in {encoding} ({error}); nothing was kept, and sending it again is no use"
        ) from error
    return verdict


async def _unpacked(body: bytes, coding: bytes) -> bytes:
    name = coding.strip().lower()
    if name in (b"", b"identity"):
        return body
    if name not in (b"gzip", b"deflate"):
        raise Unsupported(
            f"the Content-Encoding {name.decode('latin-1')!r} is not read here; nothing was kept. Send gzip or deflate"
        )
    if len(body) > _LARGE:
        return await asyncio.to_thread(unpacked, body)
    return unpacked(body)


def unpacked(body: bytes) -> bytes:
    """What gzip or zlib packed; BodyTooLarge once it comes to more than 64 MiB, InvalidInput when it is broken."""
    parts: list[bytes] = []
    size = 0
    rest = body
    try:
        while rest:
            stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
            while not stream.eof:
                part = stream.decompress(rest, _STEP)
                rest = stream.unconsumed_tail
                size += len(part)
                parts.append(part)
                if size > MOST_BYTES:
                    raise BodyTooLarge(
                        f"the body unpacks to more than {MOST_BYTES >> 20} MiB; nothing was kept. Send smaller batches"
                    )
                if not part and not rest and not stream.eof:
                    raise zlib.error("it is cut off")
            rest = stream.unused_data
    except zlib.error as error:
        raise InvalidInput(f"the body cannot be unpacked ({error}); nothing was kept") from error
    return b"".join(parts)


def _receipt(verdict: Verdict, signal: Signal, encoding: Encoding) -> bytes:
    """An export response: empty when everything was taken."""
    if not verdict.rejected:
        return b"{}" if encoding == "json" else b""
    if encoding == "json":
        name = "rejectedSpans" if signal == "traces" else "rejectedLogRecords"
        return orjson.dumps({"partialSuccess": {name: str(verdict.rejected), "errorMessage": verdict.message}})
    count = scan.written_varint(1 << 3 | scan.VARINT) + scan.written_varint(verdict.rejected)
    return scan.written_bytes(1, count + scan.written_bytes(2, verdict.message.encode()))


def _refusal(error: JourneymanError, encoding: Encoding) -> bytes:
    """A google.rpc.Status, as OTLP has it for errors."""
    code = _CODES.get(error.status, 2)
    if encoding == "json":
        return orjson.dumps({"code": code, "message": str(error)})
    head = scan.written_varint(1 << 3 | scan.VARINT) + scan.written_varint(code)
    return head + scan.written_bytes(2, str(error).encode())


async def _answer(send: Send, status: int, encoding: Encoding, body: bytes, retry: float | None = None) -> None:
    headers = [(b"content-type", _WRITTEN[encoding]), (b"content-length", str(len(body)).encode())]
    if retry is not None:
        headers.append((b"retry-after", str(round(retry)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
