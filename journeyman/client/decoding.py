"""Answers that arrive compressed, as plain bytes: what the spool keeps."""

import importlib
import zlib
from collections.abc import Callable

import zstandard

Decode = Callable[[bytes], bytes]


def decoder(encoding: str | None) -> Decode | None:
    """What turns the parts of an answer into plain bytes, one after the other; None when they are plain already.

    ValueError for an encoding that nobody here knows.
    """
    named = [each.strip().lower() for each in (encoding or "").split(",")]
    steps = [_step(name) for name in reversed(named) if name not in ("", "identity")]
    if not steps:
        return None

    def decode(data: bytes) -> bytes:
        for step in steps:
            data = step(data)
        return data

    return decode


def _step(name: str) -> Decode:
    if name in ("gzip", "x-gzip"):
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress
    if name == "deflate":
        return _deflate()
    if name == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress
    if name == "br":
        return _brotli()
    raise ValueError(f"an answer in the encoding {name!r} cannot be read; it was passed on as it came")


def _deflate() -> Decode:
    """With zlib's header, as the standard says, or without, as some servers send it."""
    first, chosen = b"", None

    def decode(data: bytes) -> bytes:
        nonlocal first, chosen
        if chosen is None:
            first += data
            if len(first) < 2:
                return b""
            data = first
            # RFC 1950: the first two bytes, as a number, are a multiple of 31, and its low half byte is 8.
            has_header = first[0] & 15 == 8 and int.from_bytes(first[:2]) % 31 == 0
            chosen = zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)
        return chosen.decompress(data)

    return decode


def _brotli() -> Decode:
    """Of the package that the HTTP library uses, too: a client asks for this encoding only where there is one."""
    try:
        found = importlib.import_module("brotli").Decompressor()
    except ImportError:
        found = importlib.import_module("brotlicffi").Decompressor()
    decode: Decode = found.decompress if hasattr(found, "decompress") else found.process
    return decode
