"""The spool's format: frames of raw bytes, each with its length and its checksum, so that a torn one is seen.

A frame is a header (payload length, CRC-32 of what follows it, kind, call number; little-endian) and its payload. A
call is a START frame, CHUNK frames with the bytes of its answer as they came, and an END frame; all carry the number
that the call has among those of its writer. A RECORD frame stands alone.
"""

import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, NamedTuple, NotRequired, TypedDict

import orjson

from journeyman.records import Api, State

HEADER = struct.Struct("<IIBQ")
_SUMMED = struct.Struct("<BQ")
MOST_BYTES = 1 << 30
"""No payload is longer; a longer length is damage."""


class Kind(IntEnum):
    """What a frame holds."""

    START = 1
    """`start_payload`: who asks whom, and the bytes of the request's body."""
    CHUNK = 2
    """Bytes of the answer's body, as the upstream sent them (decompressed)."""
    END = 3
    """`CallEnd` as JSON."""
    RECORD = 4
    """`record_payload`: something whole, such as a batch of spans, that is no call."""


class CallStart(TypedDict):
    """What is known of a call before its upstream is asked. Times are microseconds since 1970."""

    id: str
    at: int
    api: Api
    source: str
    model: str
    """The name that the caller asked for."""
    upstream: NotRequired[str]
    served: NotRequired[str]
    adapter: NotRequired[str | None]
    key: NotRequired[str]
    project: NotRequired[str]
    session: NotRequired[str | None]
    external_id: NotRequired[str | None]
    person: NotRequired[str | None]
    traceparent: NotRequired[str | None]
    tags: NotRequired[dict[str, str]]
    books: NotRequired[bool]
    """Whether the ingester books the call's usage in the ledger: no engine counts it."""


class CallEnd(TypedDict):
    """How a call ended: `complete` means that the transfer ended well; what the answer says, its bytes tell.

    Seconds in `latency` and `time_to_first_token`. `served`, `upstream` and `adapter` are told again when another
    upstream than the first answered; `attempts` are those that failed before (`records.Attempt` in JSON).
    """

    state: State
    status: NotRequired[int | None]
    error: NotRequired[str | None]
    streamed: NotRequired[bool]
    content_type: NotRequired[str]
    latency: NotRequired[float]
    time_to_first_token: NotRequired[float | None]
    upstream: NotRequired[str]
    served: NotRequired[str]
    adapter: NotRequired[str | None]
    attempts: NotRequired[list[dict[str, Any]]]


class Frame(NamedTuple):
    """One frame, read back."""

    kind: Kind
    call: int
    payload: bytes


class Damage(NamedTuple):
    """Bytes `start … end` of a segment that hold no whole frame; `torn` when the segment ends in the middle of one."""

    start: int
    end: int
    torn: bool


def frame(kind: Kind, call: int, payload: bytes) -> bytes:
    """A frame's bytes."""
    checksum = zlib.crc32(payload, zlib.crc32(_SUMMED.pack(kind, call)))
    return HEADER.pack(len(payload), checksum, kind, call) + payload


def read_frames(data: bytes | memoryview, start: int = 0) -> Iterator[tuple[int, Frame | Damage]]:
    """The frames from the offset `start` on, each with the offset behind it.

    Behind damage, reading goes on at the next byte that begins a whole frame; a torn end is told last, and its
    offset is where it begins: more may come.
    """
    view, position, size = memoryview(data), start, len(data)
    while position < size:
        found = _frame_at(view, position)
        if isinstance(found, Frame):
            position += HEADER.size + len(found.payload)
            yield position, found
            continue
        resumed = next((at for at in range(position + 1, size) if isinstance(_frame_at(view, at), Frame)), None)
        if resumed is None:
            yield position, Damage(position, size, torn=True)
            return
        yield resumed, Damage(position, resumed, torn=False)
        position = resumed


def start_payload(start: CallStart, body: bytes) -> bytes:
    """The payload of a START frame."""
    return orjson.dumps(start) + b"\n" + body


def read_start(payload: bytes) -> tuple[CallStart, bytes]:
    """What `start_payload` put together; ValueError when it is something else."""
    head, _, body = payload.partition(b"\n")
    return orjson.loads(head), body


def record_payload(what: str, about: dict[str, Any], body: bytes) -> bytes:
    """The payload of a RECORD frame: `what` it is (`otlp/traces`, `otlp/logs`), what is known of it, and its bytes."""
    return orjson.dumps({"what": what, **about}) + b"\n" + body


def read_record(payload: bytes) -> tuple[str, dict[str, Any], bytes]:
    """What `record_payload` put together; ValueError when it is something else."""
    head, _, body = payload.partition(b"\n")
    about = orjson.loads(head)
    return about.pop("what"), about, body


def _frame_at(view: memoryview, position: int) -> Frame | None:
    if len(view) - position < HEADER.size:
        return None
    length, checksum, kind, call = HEADER.unpack_from(view, position)
    begin = position + HEADER.size
    if length > MOST_BYTES or begin + length > len(view) or kind not in _KINDS:
        return None
    payload = view[begin : begin + length]
    if zlib.crc32(payload, zlib.crc32(_SUMMED.pack(kind, call))) != checksum:
        return None
    return Frame(Kind(kind), call, bytes(payload))


_KINDS = frozenset(Kind)
