"""The spool's format: frames of raw bytes, each with its length and its checksum, so that a torn one is seen.

A frame is a header (payload length, CRC-32 of what follows it, kind, call number; little-endian) and its payload. A
call is a START frame, CHUNK frames with the bytes of its answer as they came, and an END frame; all carry the number
that the call has among those of its writer. A RECORD frame stands alone.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, NamedTuple, NotRequired, TypedDict

import orjson

from journeyman.records import Api, State

HEADER = struct.Struct("<IIBQ")
_SUMMED = struct.Struct("<BQ")
_SUMMED_FROM = HEADER.size - _SUMMED.size
"""Where in a header that begins which the checksum is of."""
_HEADER_BYTES = HEADER.size
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
    lost: NotRequired[bool]
    """Bytes of the answer are missing here, because the disk did not take them; the caller got them."""
    elsewhere: NotRequired[str]
    """The id under which a gateway keeps this call in the same spool: this record of it is to be let go."""


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
    number = int(kind)  # packed three times as fast as the member
    checksum = zlib.crc32(payload, zlib.crc32(_SUMMED.pack(number, call)))
    return HEADER.pack(len(payload), checksum, number, call) + payload


def read_frames(data: bytes | memoryview, *, complete: bool = True) -> Iterator[tuple[int, Frame | Damage]]:
    """The frames in `data`, each with the offset behind it.

    A last frame that is not whole is told as torn; its offset is where it begins. Unless `complete`, more may come, and
    nothing inside it is looked at. Behind damage, reading goes on where the next whole frame begins.
    """
    view, position, size = memoryview(data), 0, len(data)
    while position < size:
        found = _frame_at(view, position)
        if found is not None:
            position += _HEADER_BYTES + len(found.payload)
            yield position, found
            continue
        if not complete and _may_become_whole(view, position):
            yield position, Damage(position, size, torn=True)
            return
        resumed = _next_whole(view, position + 1)
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
    begin = position + _HEADER_BYTES
    if begin > len(view):
        return None
    length, checksum, number, call = HEADER.unpack_from(view, position)
    kind, end = _KINDS.get(number), begin + length
    if kind is None or end > len(view):
        return None
    # The kind and the call's number are summed as they stand there, at the end of the header.
    if zlib.crc32(view[position + _SUMMED_FROM : end]) != checksum:
        return None
    return Frame(kind, call, view[begin:end].tobytes())


def _next_whole(view: memoryview, position: int) -> int | None:
    """Where the next whole frame begins, behind damage.

    What looks like headers may be somebody's text: when much was summed in vain, only short frames are tried.
    """
    patience, longest = 64 * len(view), MOST_BYTES
    for candidate in _PLAUSIBLE.finditer(view, position):
        at = candidate.start()
        length = HEADER.unpack_from(view, at)[0]
        if length > longest or at + HEADER.size + length > len(view):
            continue
        if _frame_at(view, at) is not None:
            return at
        patience -= length
        if patience < 0:
            longest = _SHORT
    return None


def _may_become_whole(view: memoryview, position: int) -> bool:
    """Whether what stands there can be the beginning of a frame of which more is to come."""
    if len(view) - position < HEADER.size:
        return True
    length, _, kind, _ = HEADER.unpack_from(view, position)
    return kind in _KINDS and length <= MOST_BYTES and position + HEADER.size + length > len(view)


_KINDS = {int(kind): kind for kind in Kind}
_SHORT = 1 << 16
_PLAUSIBLE = re.compile(rb"(?s)(?=.{3}[\x00-\x40].{4}[\x01-\x04].{5}\x00{3})")
"""What a header can be: a length within `MOST_BYTES`, a checksum, a kind, and fewer than 2**40 calls."""
