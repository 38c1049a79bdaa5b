"""Reads the little that the gateway must know of a request's body, and changes that little in its bytes."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from journeyman.gateway.validate import BadField

# A string that nothing closes reaches to the end: no bytes are looked at twice, whatever they are.
_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)'
_TOKEN = re.compile(_STRING + rb"|[{}\[\],:]", re.DOTALL)
_MODEL_VALUE = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*(" + _STRING + rb")", re.DOTALL)
_BLANK = b" \t\r\n"


class Asked(NamedTuple):
    """A request as far as it concerns the gateway. `fields` is None when the body is not JSON that we can read."""

    raw: bytes
    fields: dict[str, Any] | None
    model: str

    @property
    def stream(self) -> bool:
        """Whether a stream is asked for."""
        return self.fields is not None and self.fields.get("stream") is True

    @property
    def include_usage(self) -> bool:
        """Whether the client itself asks for the stream's usage."""
        options = self.fields.get("stream_options") if self.fields else None
        return isinstance(options, dict) and bool(options.get("include_usage"))

    @property
    def choices(self) -> int:
        """How many replies are asked for."""
        number = self.fields.get("n") if self.fields else None
        return number if isinstance(number, int) and number > 0 else 1

    @property
    def metadata(self) -> dict[str, str]:
        """The caller's own labels, those that are text."""
        given = self.fields.get("metadata") if self.fields else None
        if not isinstance(given, dict):
            return {}
        return {key: value for key, value in given.items() if isinstance(value, str)}


def read_asked(raw: bytes) -> Asked:
    """What is asked for. BadField when the model's name is not there: nobody could be asked.

    A body that is no JSON may still name its model; it is for the upstream to refuse it in its own words.
    """
    try:
        fields = orjson.loads(raw)
    except ValueError as error:
        model = _model_by_scan(raw)
        if model is None:
            raise BadField(f"the body is not JSON, and names no model: {error}") from error
        return Asked(raw, None, model)
    if not isinstance(fields, dict):
        kinds = {list: "an array", str: "a string", bool: "true or false", type(None): "null"}
        raise BadField(f"the body must be a JSON object, not {kinds.get(type(fields), 'a number')}")
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        problem = "Field required" if model is None else "it must be a string that is not empty"
        raise BadField(f"model: {problem}", "model")
    return Asked(raw, fields, model)


def edited(asked: Asked, model: str, more: Mapping[str, Any]) -> bytes:
    """The body with another model's name, and with these further top-level fields; every other byte as it was.

    A body that is no JSON gets the name alone.
    """
    raw, fields = asked.raw, asked.fields
    name = orjson.dumps(model)
    if fields is None:
        return _replaced(raw, {"model": name})
    changed = {key: orjson.dumps(value) for key, value in more.items() if key in fields}
    start, end = (0, 0) if changed else _only_model(raw)
    body = raw[:start] + name + raw[end:] if end else _replaced(raw, changed | {"model": name})
    added = b"".join(
        b"," + orjson.dumps(key) + b":" + orjson.dumps(value) for key, value in more.items() if key not in fields
    )
    if not added:
        return body
    close = body.rindex(b"}")
    return body[:close] + added + body[close:]


def _only_model(raw: bytes) -> tuple[int, int]:
    """Where the model's name stands in a readable body that has one; (0, 0) when more than one place may be it.

    Only ASCII letters that somebody escaped could hide another: no encoder writes them so.
    """
    first = raw.find(b'"model"')
    if first < 0 or raw.find(b'"model"', first + 7) >= 0 or b"\\u006" in raw:
        return 0, 0
    value = _MODEL_VALUE.match(raw, first + 7)
    return value.span(1) if value else (0, 0)


def _replaced(raw: bytes, values: Mapping[str, bytes]) -> bytes:
    """Each top-level value of these names replaced, also where a name is there twice."""
    parts, done = [], 0
    for key, start, end in _top_level(raw):
        if key in values:
            parts += [raw[done:start], values[key]]
            done = end
    return b"".join([*parts, raw[done:]])


def _model_by_scan(raw: bytes) -> str | None:
    for key, start, end in _top_level(raw):
        if key == "model":
            value = _text(raw[start:end])
            if value:
                return value
    return None


def _top_level(raw: bytes) -> Iterator[tuple[str, int, int]]:
    """Key, and where its value starts and ends, of each pair of the outermost object, whole or broken off."""
    depth, key, said, begin = 0, None, None, 0
    for token in _TOKEN.finditer(raw):
        mark = token[0][:1]
        if mark == b'"':
            said = token[0] if depth == 1 and key is None else said
        elif mark == b":" and depth == 1 and key is None and said is not None:
            key, begin = _text(said), token.end()
        elif mark in b"{[":
            if depth == 0 and mark == b"[":
                return
            depth += 1
        elif mark in b"}]" or (mark == b"," and depth == 1):
            if depth == 1 and key is not None:
                yield key, *_trimmed(raw, begin, token.start())
            if depth == 1:
                key = said = None
            depth -= mark != b","
            if depth == 0:
                return
    if depth == 1 and key is not None:  # it breaks off right behind a value
        yield key, *_trimmed(raw, begin, len(raw))


def _trimmed(raw: bytes, start: int, end: int) -> tuple[int, int]:
    while start < end and raw[start] in _BLANK:
        start += 1
    while end > start and raw[end - 1] in _BLANK:
        end -= 1
    return start, end


def _text(token: bytes) -> str | None:
    try:
        value = orjson.loads(token)
    except ValueError:
        return None
    return value if isinstance(value, str) else None
