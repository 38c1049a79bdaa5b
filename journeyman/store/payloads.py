"""Takes exchanges apart into rows that share what repeats, and puts them together again exactly."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from operator import attrgetter
from typing import Any

import orjson
from orjson import Fragment
from sqlalchemy import Connection, select

from journeyman.records import WireExchange
from journeyman.store.blocks import Home, read_bodies
from journeyman.store.conversations import (
    ASKED,
    Hashes,
    Json,
    nearest_places,
    places_to_continue,
    said_until,
    tips_after,
)
from journeyman.store.encoding import is_plain, line, storable, storable_json, written_exactly
from journeyman.store.parts import (
    LARGE_PROMPT,
    cut_out,
    has_large_pieces,
    large_pieces,
    part_hash,
    put_back,
    read_parts,
)
from journeyman.store.tables import REAL_COLUMNS, TEXT_COLUMNS, WHOLE_COLUMNS, payloads

MESSAGES, CHOICES, SAMPLING, ATTEMPTS, TOOLS, PARTS, EXACT = "m", "c", "s", "a", "t", "p", "x"
"""Names inside a payload. PARTS: for each piece kept apart its number and where it stood: message, then the path."""

COLUMNS = ("at", *TEXT_COLUMNS, *WHOLE_COLUMNS, *REAL_COLUMNS)
_SEARCHED = frozenset({"temperature", "top_p", "max_tokens", "seed", "n", "stop"})
_AT_ONCE = 500
_NEAREST = 6
"""Places that are looked up first: a conversation nearly always goes on from its last turns."""


class Draft:
    """An exchange on its way into the tables."""

    __slots__ = (
        "choices", "exact", "exchange", "hashes", "known", "near", "number", "parent", "pieces", "point", "tips",
        "tools",
    )  # fmt: skip

    def __init__(self, exchange: WireExchange, *, checked: bool) -> None:
        """`checked`: its parts may hold what JSON cannot say, so look."""
        self.exchange = exchange
        self.exact = not is_plain(_parts_of(exchange)) if checked else _has_odd_tokens(exchange.choices)
        """It holds what plain JSON cannot say."""
        try:
            self._hash(written_exactly if self.exact else orjson.dumps)
        except (TypeError, ValueError):  # half a surrogate pair, or a number of more than 64 bits
            self.exact = True
            self._hash(written_exactly)
        self.number = 0
        self.parent: int | None = None
        self.point: int | None = None
        self.known = 0
        """Messages that the parent holds."""
        self.pieces: list[tuple[bytes, list[str | int]]] | None = None
        self.tools: bytes | None = None

    def _hash(self, write: Callable[[Any], bytes]) -> None:
        exchange = self.exchange
        self.hashes = hashes = Hashes(exchange.messages, write)
        places = nearest_places(exchange.messages, _NEAREST)
        self.near = [(length, hashes.tip(length)) for length in places]
        """How many messages may be known already, and the tip by which; the longest first."""
        self.tips = [(self.near[0][1], ASKED)] if self.near else []
        self.choices: list[Any] = exchange.choices
        """With the first reply as JSON, since that was written to be hashed."""
        if exchange.choices and type(reply := exchange.choices[0].get("message")) is dict:
            body = write(reply)
            self.tips += tips_after(hashes, reply, body, write)
            if not self.exact:
                self.choices = [{**exchange.choices[0], "message": Fragment(body)}, *exchange.choices[1:]]

    @property
    def may_be_far(self) -> bool:
        """Whether there may be places behind those in `near`."""
        return len(self.near) == _NEAREST

    def far(self) -> list[tuple[int, bytes]]:
        """The places that come behind those in `near`."""
        lengths = islice(places_to_continue(self.exchange.messages), _NEAREST, None)
        return [(length, self.hashes.tip(length)) for length in lengths]

    def cut_parts(self, wanted: dict[bytes, Any], uses: Counter[bytes]) -> None:
        """Note which pieces of what it adds are kept apart; they are added to `wanted` and counted in `uses`."""
        messages, known = self.exchange.messages, self.known
        for place, body in enumerate(self.hashes.json):
            if len(body) < LARGE_PROMPT or place < known or not has_large_pieces(messages[place], len(body)):
                continue
            for path, piece in large_pieces(messages[place]):
                hash = part_hash(piece)
                wanted[hash] = piece
                uses[hash] += 1
                self.pieces = [*(self.pieces or ()), (hash, [place - known, *path])]
        if self.exchange.tools:
            self.tools = part_hash(self.exchange.tools)
            wanted[self.tools] = self.exchange.tools
            uses[self.tools] += 1

    def line(self, numbers: dict[bytes, int], exact: Json) -> bytes:
        """Its payload: all that was said and is not known yet, as one line of JSON."""
        exchange = self.exchange
        body: Json = {}
        if own := self._own():
            body[MESSAGES] = own
        if self.pieces:
            body[PARTS] = [[numbers[hash], *path] for hash, path in self.pieces]
        if self.choices:
            body[CHOICES] = self.choices
        if exchange.sampling:
            body[SAMPLING] = exchange.sampling
        if exchange.attempts:
            body[ATTEMPTS] = exchange.attempts
        if exact:
            body[EXACT] = exact
        if self.tools:
            body[TOOLS] = numbers[self.tools]
        return line(body, exact=self.exact)

    def _own(self) -> list[Any]:
        """The messages that the payload holds."""
        known = self.known
        if self.exact:
            own: list[Any] = self.exchange.messages[known:]
        else:
            own = [*map(Fragment, self.hashes.json[known:] if known else self.hashes.json)]
        cut: dict[int, list[list[str | int]]] = {}
        for _, (place, *path) in self.pieces or ():
            cut.setdefault(int(place), []).append(path)
        for place, paths in cut.items():
            own[place] = cut_out(self.exchange.messages[known + place], paths)
        return own


def payload_columns(drafts: Sequence[Draft], homes: Sequence[Home]) -> dict[str, Sequence[Any]]:
    """The drafts' rows of `payloads`, by column."""
    block, body = zip(*homes, strict=True)
    return {
        "number": [each.number for each in drafts],
        "parent": [each.parent for each in drafts],
        "point": [each.point for each in drafts],
        "tips": [b"".join([tip for tip, _ in each.tips]) for each in drafts],
        "block": block,
        "body": body,
    }


def exchange_columns(
    drafts: Sequence[Draft], tags: Mapping[str, dict[str, str]]
) -> tuple[dict[str, Sequence[Any]], list[Json]]:
    """The drafts' rows of `exchanges`, by column, and of each draft what its columns cannot hold exactly.

    `tags`, by exchange id, are those that were set afterwards.
    """
    found = [each.exchange for each in drafts]
    columns: dict[str, list[Any]] = {name: [*map(attrgetter(name), found)] for name in COLUMNS}
    exact: list[Json] = [{} for _ in found]
    is_storable = all(_is_storable("".join(filter(None, columns[name]))) for name in TEXT_COLUMNS)
    for place, each in enumerate(drafts):
        if each.exact or not is_storable:
            fields, exact[place] = _storable_fields(each.exchange)
            for name, value in fields.items():
                columns[name][place] = value
    kept_tags = []
    for exchange, changed in zip(found, exact, strict=True):
        text, is_same = _column_json(tags.get(exchange.id, exchange.tags))
        kept_tags.append(text)
        if not is_same:
            changed["tags"] = exchange.tags
    sampling = [_searched(exchange.sampling) for exchange in found]
    return {"number": [each.number for each in drafts], **columns, "tags": kept_tags, "sampling": sampling}, exact


class Payload:
    """One payload, read back: what its exchange added to the conversation, and everything else that it said."""

    __slots__ = ("body", "number", "parent", "point")

    def __init__(self, number: int, parent: int | None, point: int | None, body: Json) -> None:
        self.number, self.parent, self.point, self.body = number, parent, point, body

    @property
    def own(self) -> list[Json]:
        """The messages that it added to its parent's."""
        return self.body.get(MESSAGES, [])  # type: ignore[no-any-return]

    @property
    def choices(self) -> list[Json]:
        """Its replies."""
        return self.body.get(CHOICES, [])  # type: ignore[no-any-return]

    def uses(self) -> Counter[int]:
        """How often it uses each part."""
        used = Counter(number for number, *_ in self.body.get(PARTS, ()))
        if TOOLS in self.body:
            used[self.body[TOOLS]] += 1
        return used

    def fill(self, parts: dict[int, Any]) -> None:
        """Put the pieces that are kept apart back where they stood."""
        for number, *path in self.body.get(PARTS, ()):
            put_back(self.own, path, parts[number])


PAYLOAD_COLUMNS = (payloads.c.number, payloads.c.parent, payloads.c.point, payloads.c.block, payloads.c.body)


def read_payloads(connection: Connection, rows: Iterable[Any]) -> list[Payload]:
    """The payloads of rows that begin with `PAYLOAD_COLUMNS`, as they are stored: without what is kept apart."""
    found = {row.number: row for row in rows}
    bodies = read_bodies(connection, ((number, row.block, row.body) for number, row in found.items()))
    return [Payload(number, row.parent, row.point, bodies[number]) for number, row in found.items()]


def read_chains(connection: Connection, numbers: Sequence[int]) -> tuple[dict[int, Payload], dict[int, Any]]:
    """Those payloads and all that they continue, with their parts put back; and the parts by number."""
    rows: dict[int, Any] = {}
    for start in range(0, len(numbers), _AT_ONCE):
        wanted = select(payloads.c.number, payloads.c.parent).where(
            payloads.c.number.in_(numbers[start : start + _AT_ONCE])
        )
        chain = wanted.cte("chain", recursive=True)
        above = payloads.alias()
        chain = chain.union(select(above.c.number, above.c.parent).join(chain, above.c.number == chain.c.parent))
        for row in connection.execute(select(*PAYLOAD_COLUMNS).join(chain, chain.c.number == payloads.c.number)):
            rows[row.number] = row
    found = {payload.number: payload for payload in read_payloads(connection, rows.values())}
    parts = read_parts(connection, (number for payload in found.values() for number in payload.uses()))
    for payload in found.values():
        payload.fill(parts)
    return found, parts


def conversation(found: dict[int, Payload], number: int) -> list[Json]:
    """All messages of the request that the payload belongs to."""
    pieces: list[list[Json]] = []
    payload, point = found[number], 0
    while True:
        pieces.append(said_until(payload.own, payload.choices, point))
        if payload.parent is None:
            return [message for piece in reversed(pieces) for message in piece]
        payload, point = found[payload.parent], payload.point or 0


def wire_exchange(row: Any, found: dict[int, Payload], parts: dict[int, Any]) -> WireExchange:
    """The exchange of a row of `exchanges`, given what `read_chains` found for it."""
    payload = found[row.number]
    body = payload.body
    fields = {name: getattr(row, name) for name in COLUMNS}
    exact = dict(body.get(EXACT, {}))
    tags = _exact_tags(row.tags or {}, exact.pop("tags", {}))
    return WireExchange(
        **{**fields, **exact},
        messages=conversation(found, row.number),
        tools=parts[body[TOOLS]] if TOOLS in body else [],
        sampling=body.get(SAMPLING, {}),
        choices=payload.choices,
        attempts=body.get(ATTEMPTS, []),
        tags=tags,
    )


def _parts_of(exchange: WireExchange) -> list[Any]:
    numbers = [getattr(exchange, name) for name in REAL_COLUMNS]
    names = ("messages", "tools", "sampling", "choices", "attempts", "tags")
    return [numbers, *(getattr(exchange, name) for name in names)]


def _has_odd_tokens(choices: Iterable[Json]) -> bool:
    """Whether a log probability is no finite number; JSON would make null of it."""
    for choice in choices:
        if (tokens := choice.get("tokens")) and not math.isfinite(math.fsum(tokens.get("logprobs") or ())):
            return True
    return False


def _is_storable(texts: str) -> bool:
    if texts.isascii():
        return "\0" not in texts
    return storable(texts) == texts


def _storable_fields(exchange: WireExchange) -> tuple[Json, Json]:
    """The fields for their columns, and those that had to be changed for it, as they are."""
    fields: Json = {}
    exact: Json = {}
    for name in COLUMNS:
        value = stored = getattr(exchange, name)
        if isinstance(value, str):
            stored = storable(value)
        elif isinstance(value, float) and not math.isfinite(value):
            stored = None
        if stored is not value and stored != value:
            exact[name] = value
        fields[name] = stored
    return fields, exact


def _searched(sampling: Json) -> str | None:
    """The JSON of what can be searched of it."""
    if not sampling or _SEARCHED.isdisjoint(sampling):
        return None
    searched = {name: value for name, value in sampling.items() if name in _SEARCHED and value is not None}
    return _column_json(searched)[0]


def _column_json(value: Json) -> tuple[str | None, bool]:
    """JSON that any database takes, None for nothing, and whether it says exactly the value."""
    if not value:
        return None, True
    try:
        text = orjson.dumps(value).decode()
    except (TypeError, ValueError):
        return orjson.dumps(storable_json(value)).decode(), False
    if "\\u0000" in text:
        return orjson.dumps(storable_json(value)).decode(), False
    return text, True


def _exact_tags(kept: dict[str, str], exact: dict[str, str]) -> dict[str, str]:
    """Tags as they were given, where the column could not hold them so."""
    tags = dict(kept)
    for name, value in exact.items():
        if tags.get(storable(name)) == storable(value):
            del tags[storable(name)]
            tags[name] = value
    return tags
