"""Reads the rows of an export file one by one, whatever it is packed in, in bounded memory.

Taken: JSON lines, a JSON array, a single pretty-printed object, CSV with a header; each plain, gzipped or zstd. A byte
order mark, CRLF line ends, bytes that are no UTF-8, NaN and half surrogate pairs do no harm (a NaN stays one: what
it means is its format's to say).
"""

import csv
import gzip
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import zstandard

from journeyman.errors import InvalidInput

MOST_ROW_BYTES = 64 << 20
"""A longer row is reported and passed over, so that a file without line ends cannot fill the memory."""

_PIECE = 1 << 20
_BOM = b"\xef\xbb\xbf"
# A whole string, a bracket, or the quote of a string that is not whole yet.
_SIGN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{}]', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


class Row(NamedTuple):
    """One row of a file: the line it begins on (from 1), and what it holds or why it cannot be read."""

    line: int
    fields: dict[str, Any] | None
    problem: str = ""


class ExportFile:
    """A file that is open for reading; `progress` says how much of it has been read."""

    def __init__(self, path: Path) -> None:
        """Open it; InvalidInput when that cannot be done."""
        self.path = path
        try:
            self.size = path.stat().st_size
            self._raw = path.open("rb", buffering=0)
        except OSError as problem:
            raise InvalidInput(f"cannot read {path} ({problem.strerror}); nothing was imported from it") from problem

    @property
    def progress(self) -> float:
        """The share of the file's bytes that were read, from 0 to 1."""
        return 1.0 if self._raw.closed or not self.size else self._raw.tell() / self.size

    def rows(self) -> Iterator[Row]:
        """All rows in the file's order; the last one says so when the file is cut short or its packing is damaged."""
        line = 0
        with self._raw:
            try:
                for row in self._unpacked():
                    line = row.line
                    yield row
            except (OSError, EOFError, zstandard.ZstdError) as problem:
                yield Row(line + 1, None, f"the file cannot be read on from here ({problem})")

    def _unpacked(self) -> Iterator[Row]:
        with _unpack(self._raw) as stream:
            head = stream.peek(4)[:4]
            if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise InvalidInput(f"{self.path} is UTF-16; save it as UTF-8 and import it again. Nothing was imported")
            if head.startswith(_BOM):
                stream.read(len(_BOM))
            first = stream.peek(_PIECE).lstrip()
            if first[:1] == b"[":
                yield from (_read(line, value) for line, value in _values(stream, inside=1))
            elif first[:1] == b"{" and first.partition(b"\n")[0].strip() == b"{":
                yield from (_read(line, value) for line, value in _values(stream, inside=0))
            elif self.path.name.lower().removesuffix(".gz").removesuffix(".zst").endswith(".csv"):
                yield from _table(stream)
            else:
                yield from _lines(stream)


def decoded(text: bytes | str) -> Any:
    """JSON, also where it is sloppy (NaN, no UTF-8, half surrogate pairs); ValueError when it is none."""
    try:
        return orjson.loads(text)
    except ValueError:
        loose = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    try:
        return _sound(json.loads(loose))
    except RecursionError as problem:
        raise ValueError("it is nested too deeply") from problem


class _Zstandard(io.RawIOBase):
    """Unpacks zstd frames; EOFError when the last one is cut short, which the library's own reader keeps quiet."""

    def __init__(self, packed: io.FileIO) -> None:
        self._packed, self._rest, self._ready = packed, b"", b""
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._inside = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            packed = self._rest or self._packed.read(_PIECE >> 6)
            if not packed:
                if self._inside:
                    raise EOFError("it ends in the middle of a zstd frame")
                return 0
            self._ready = self._frame.decompress(packed)
            self._inside, self._rest = not self._frame.eof, self._frame.unused_data
            if self._frame.eof:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size


def _unpack(raw: io.FileIO) -> io.BufferedReader:
    magic = raw.read(4)
    raw.seek(0)
    if magic[:2] == b"\x1f\x8b":
        return io.BufferedReader(gzip.GzipFile(fileobj=raw), _PIECE)
    if magic == b"\x28\xb5\x2f\xfd":
        return io.BufferedReader(_Zstandard(raw), _PIECE)
    return io.BufferedReader(raw, _PIECE)


def _read(line: int, text: bytes | None) -> Row:
    if text is None:
        return Row(line, None, f"is longer than {MOST_ROW_BYTES >> 20} MiB")
    try:
        fields = decoded(text)
    except ValueError as problem:
        return Row(line, None, f"is not JSON ({problem})")
    if not isinstance(fields, dict):
        return Row(line, None, "is JSON, but no object")
    return Row(line, fields)


def _lines(stream: io.BufferedReader) -> Iterator[Row]:
    number = 0
    while text := stream.readline(MOST_ROW_BYTES + 1):
        number += 1
        whole: bytes | None = text
        while len(text) > MOST_ROW_BYTES and not text.endswith(b"\n"):
            whole, text = None, stream.readline(MOST_ROW_BYTES + 1)
        if whole is None or whole.strip():
            yield _read(number, whole)


def _values(stream: io.BufferedReader, inside: int) -> Iterator[tuple[int, bytes | None]]:
    """Every object whose brackets open `inside` levels deep, and its line; None where it is too long.

    What stands between the objects is passed over: a broken one costs itself alone, as long as its brackets match.
    """
    buffer, depth, begin, seen, line = b"", 0, -1, 0, 1
    while piece := stream.read(_PIECE):
        buffer += piece
        at = seen
        for sign in _SIGN.finditer(buffer, seen):
            mark = sign[0]
            if mark == b'"':
                break
            at = sign.end()
            if mark in b"[{":
                if depth == inside:
                    begin = sign.start()
                depth += 1
            elif mark in b"]}":
                depth -= 1
                if depth == inside and begin >= 0:
                    yield line + buffer.count(b"\n", 0, begin), buffer[begin:at]
                    begin = -1
        else:
            at = len(buffer)
        keep = begin if begin >= 0 else at
        if len(buffer) - keep > MOST_ROW_BYTES:
            yield line + buffer.count(b"\n", 0, keep), None
            return
        line += buffer.count(b"\n", 0, keep)
        buffer, seen, begin = buffer[keep:], at - keep, 0 if begin >= 0 else -1
    if begin >= 0 or buffer.strip():
        yield line, buffer


def _table(stream: io.BufferedReader) -> Iterator[Row]:
    csv.field_size_limit(MOST_ROW_BYTES)
    with io.TextIOWrapper(stream, "utf-8", errors="replace", newline="") as text:
        table = csv.DictReader(_without_zeros(text), restkey="")
        while True:
            try:
                fields = next(table)
            except StopIteration:
                return
            except csv.Error as problem:
                yield Row(table.line_num, None, f"is not CSV ({problem})")
                continue
            extra = fields.pop("", None)
            if extra is not None or None in fields.values():
                yield Row(table.line_num, None, f"has not the {len(table.fieldnames or ())} cells of the header")
                continue
            # An empty cell is a missing value: CSV knows no other way to say it.
            yield Row(table.line_num, {name: cell for name, cell in fields.items() if cell != ""})


def _without_zeros(lines: Iterator[str]) -> Iterator[str]:
    return (line.replace("\0", "\ufffd") for line in lines)


def _sound(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_SURROGATE.sub("\ufffd", name): _sound(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_sound(each) for each in value]
    return value
