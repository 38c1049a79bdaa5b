"""Server-sent events: a stream's bytes split into events, and the JSON that they carry."""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import orjson

from journeyman.capture.parsing.reading import SHALLOW, Json, Notes, fits, read_json

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_DONE = b"[DONE]"
_PLAIN_END = b"\n\ndata: [DONE]\n\n"


class Events(NamedTuple):
    """What a stream said: its JSON objects in order, whether `[DONE]` came, and why a part of it cannot be read."""

    objects: list[Json]
    done: bool
    unreadable: str | None


def event_data(stream: bytes) -> Iterator[bytes]:
    """The data of each whole event; a last event without its blank line is not whole."""
    if b"\r" in stream or stream.startswith(_BYTE_ORDER_MARK):
        yield from _by_lines(_LINE_END.split(stream.removeprefix(_BYTE_ORDER_MARK))[:-1])
        return
    *whole, _ = stream.split(b"\n\n")
    for event in whole:
        head, begin, data = event.partition(b"data: ")
        if (
            begin
            and b"\n" not in data
            and (not head or (head.startswith(b"event: ") and head.find(b"\n") == len(head) - 1))
        ):
            yield data
        else:
            yield from _by_lines([*event.split(b"\n"), b""])


def read_events(stream: bytes, notes: Notes, shorten: Callable[[list[bytes]], list[bytes]] | None = None) -> Events:
    """The JSON objects of a stream up to its `[DONE]`; an event that cannot be read is left out and told of.

    `shorten` may make fewer events of them that say the same.
    """
    datas, done = _plain(stream)
    if datas is None:
        datas = [data for data in event_data(stream) if data]
        done = _DONE in datas
        if done:
            del datas[datas.index(_DONE) :]
        elif stream[-64:].rstrip().endswith((b"\ndata: [DONE]", b"\ndata:[DONE]")):
            # The mark is whole, only the blank line behind it never came: clients take it, and so do we.
            done = True
    sent, datas = datas, shorten(datas) if shorten else datas
    try:
        # One call for all events takes less time than one for each.
        objects = orjson.loads(b"[" + b",".join(datas) + b"]")
    except ValueError:
        return _one_by_one(sent, done, notes)
    if len(objects) != len(datas) or not {*map(type, objects)} <= {dict}:
        return _one_by_one(sent, done, notes)
    if max(map(len, datas), default=0) >= SHALLOW and not fits(objects):
        return _one_by_one(sent, done, notes)
    return Events(objects, done, None)


def _plain(stream: bytes) -> tuple[list[bytes] | None, bool]:
    """The data of a stream whose every event is one line of data, up to its `[DONE]`; None when it is not like that."""
    if not stream.startswith(b"data: ") or not stream.endswith(_PLAIN_END) or b"\r" in stream:
        return None, False
    datas = stream[6 : -len(_PLAIN_END)].split(b"\n\ndata: ")
    # Each event but the last has two line ends behind it: others would be within one.
    return (datas, True) if stream.count(b"\n") == 2 * len(datas) + 2 else (None, False)


def _one_by_one(datas: list[bytes], done: bool, notes: Notes) -> Events:
    objects: list[Json] = []
    unreadable = None
    for number, data in enumerate(datas, 1):
        if data.strip() == _DONE:
            return Events(objects, True, unreadable)
        try:
            found = read_json(data, notes)
        except ValueError as error:
            unreadable = unreadable or f"event {number} of the stream is not JSON: {error}"
            continue
        if type(found) is dict:
            objects.append(found)
        else:
            unreadable = unreadable or f"event {number} of the stream is not a JSON object"
    return Events(objects, done, unreadable)


def _by_lines(lines: list[bytes]) -> Iterator[bytes]:
    data: list[bytes] = []
    for line in lines:
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line and data:
            yield b"\n".join(data)
            data = []
