"""Writes values so that a database takes them and they come back exactly: JSON, compressed, and text of columns."""

import json
import math
import re
import threading
from typing import Any

import orjson
import zstandard

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LEVEL = 1
"""Of zstd: level 3 takes a third longer for small payloads and saves nothing."""
_EXACT = b"j"
_here = threading.local()


def storable(text: str) -> str:
    """Text that any database takes: a NUL, or half a surrogate pair, which some clients send, is a question mark."""
    return text if text.isascii() and "\0" not in text else _UNSTORABLE.sub("?", text)


def storable_json(value: Any) -> Any:
    """The value with all its texts made `storable`, and NaN and infinities as the texts that pydantic reads back."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {storable(name): storable_json(each) for name, each in value.items()}
    if isinstance(value, list):
        return [storable_json(each) for each in value]
    return value


def written(value: Any) -> bytes:
    """JSON whose bytes are the same for the same value: messages are known by their hash.

    The order of keys is kept: it reaches the model's prompt, so it is content.
    """
    try:
        return orjson.dumps(value)
    except (TypeError, ValueError):  # half a surrogate pair, or a number of more than 64 bits
        return written_exactly(value)


def written_exactly(value: Any) -> bytes:
    """JSON that also says what plain JSON does not know: NaN, infinities, half surrogate pairs, huge numbers."""
    return json.dumps(value, separators=(",", ":")).encode()


def pack(value: Any, *, exact: bool = False) -> bytes:
    """JSON, compressed. `exact` also keeps what plain JSON does not know: NaN and infinities."""
    return compress(line(value, exact=exact))


def unpack(body: bytes) -> Any:
    """What `pack` was given."""
    # A zstd frame begins with 0x28; a mark in front of one was written by earlier versions.
    if body[:1] == _EXACT:
        return json.loads(decompress(body[1:]))
    return read_json(decompress(body))


def line(value: Any, *, exact: bool = False) -> bytes:
    """JSON on one line. A mark in front says that it is `exact`: it holds what plain JSON does not know."""
    try:
        return _EXACT + written_exactly(value) if exact else orjson.dumps(value)
    except (TypeError, ValueError):  # half a surrogate pair, or a number of more than 64 bits
        return _EXACT + written_exactly(value)


def read_json(line: bytes) -> Any:
    """What `line` was given."""
    return json.loads(line[1:]) if line[:1] == _EXACT else orjson.loads(line)


def compress(data: bytes) -> bytes:
    """A zstd frame."""
    return _compressor().compress(data)


def decompress(frame: bytes) -> bytes:
    """What `compress` was given."""
    return _decompressor().decompress(frame)


def is_plain(value: Any) -> bool:
    """Whether JSON's own numbers and texts can say the value."""
    try:
        return bool(orjson.loads(orjson.dumps(value)) == value)
    except (TypeError, ValueError):
        return False


def to_json(value: Any) -> str:
    """JSON that SQL can search: real letters, no half surrogate pairs, and NaN as the text that pydantic reads back."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return value


def _compressor() -> zstandard.ZstdCompressor:
    found: zstandard.ZstdCompressor | None = getattr(_here, "compressor", None)
    if found is None:
        found = _here.compressor = zstandard.ZstdCompressor(level=_LEVEL)
    return found


def _decompressor() -> zstandard.ZstdDecompressor:
    found: zstandard.ZstdDecompressor | None = getattr(_here, "decompressor", None)
    if found is None:
        found = _here.decompressor = zstandard.ZstdDecompressor()
    return found
