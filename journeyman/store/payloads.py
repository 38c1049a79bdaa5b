"""Takes exchanges apart into rows that share what repeats, and puts them together again exactly."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import Any

import orjson
from sqlalchemy import Connection, select

from journeyman.records import WireExchange
from journeyman.store.conversations import Hashes, Json, hash_messages, places_to_continue, said_until, tips_of
from journeyman.store.encoding import is_plain, pack, storable, storable_json, unpack, written_exactly
from journeyman.store.parts import cut_out, has_large_pieces, large_pieces, part_hash, put_back, read_parts
from journeyman.store.tables import REAL_COLUMNS, TEXT_COLUMNS, WHOLE_COLUMNS, payloads

MESSAGES, CHOICES, SAMPLING, ATTEMPTS, TOOLS, PARTS, EXACT = "m", "c", "s", "a", "t", "p", "x"
"""Names inside a payload. PARTS: for each piece kept apart its number and where it stood: message, then the path."""

COLUMNS = ("at", *TEXT_COLUMNS, *WHOLE_COLUMNS, *REAL_COLUMNS)
_FIELDS = attrgetter(*COLUMNS)
_TEXTS_END = 1 + len(TEXT_COLUMNS)
_SEARCHED = frozenset({"temperature", "top_p", "max_tokens", "seed", "n", "stop"})
_AT_ONCE = 500
_NEAREST = 6
"""Places that are looked up first: a conversation nearly always goes on from its last turns."""


@dataclass(slots=True)
class Draft:
    """An exchange on its way into the tables. `exact`: it holds what plain JSON cannot say."""

    exchange: WireExchange
    exact: bool
    hashes: Hashes
    tips: list[tuple[bytes, int]]
    near: list[tuple[int, bytes]]
    """How many messages may be known already, and the tip by which; the longest first."""
    number: int = 0
    parent: int | None = None
    point: int | None = None
    known: int = 0
    """Messages that the parent holds."""
    pieces: list[tuple[bytes, list[str | int]]] | None = None
    tools: bytes | None = None
    tags: dict[str, str] | None = None
    """The exchange's tags with those that it was given afterwards; None: its own."""

    def far(self) -> list[tuple[int, bytes]]:
        """The places that come behind those in `near`."""
        if len(self.near) < _NEAREST:
            return []
        lengths = islice(places_to_continue(self.exchange.messages), _NEAREST, None)
        return [(length, self.hashes.tip(length)) for length in lengths]


def draft(exchange: WireExchange, *, checked: bool) -> Draft:
    """Prepare an exchange. `checked`: its parts may hold what JSON cannot say, so look."""
    exact = not is_plain(_parts_of(exchange)) if checked else _has_odd_tokens(exchange.choices)
    write = written_exactly if exact else orjson.dumps
    try:
        hashes = hash_messages(exchange.messages, write)
        tips = tips_of(hashes, exchange.choices, write)
    except (TypeError, ValueError):  # half a surrogate pair, or a number of more than 64 bits
        exact, write = True, written_exactly
        hashes = hash_messages(exchange.messages, write)
        tips = tips_of(hashes, exchange.choices, write)
    lengths = islice(places_to_continue(exchange.messages), _NEAREST)
    return Draft(exchange, exact, hashes, tips, [(length, hashes.tip(length)) for length in lengths])


def cut_parts(drafted: Draft, wanted: dict[bytes, Any], uses: Counter[bytes]) -> None:
    """Note which pieces of what the draft adds are kept apart; they are added to `wanted` and counted in `uses`."""
    exchange, known = drafted.exchange, drafted.known
    for place, body in enumerate(drafted.hashes.json[known:] if known else drafted.hashes.json):
        message = exchange.messages[known + place]
        if not has_large_pieces(message, len(body)):
            continue
        for path, piece in large_pieces(message):
            hash = part_hash(piece)
            wanted[hash] = piece
            uses[hash] += 1
            drafted.pieces = [*(drafted.pieces or ()), (hash, [place, *path])]
    if exchange.tools:
        drafted.tools = part_hash(exchange.tools)
        wanted[drafted.tools] = exchange.tools
        uses[drafted.tools] += 1


def payload_row(drafted: Draft, numbers: dict[bytes, int], exact: Json) -> tuple[Any, ...]:
    """The draft's row of `payloads`: number, parent, point, tips and body."""
    exchange = drafted.exchange
    body: Json = {}
    own = drafted.hashes.json[drafted.known :] if drafted.known else drafted.hashes.json
    if drafted.pieces:
        own, write = list(own), written_exactly if drafted.exact else orjson.dumps
        cut: dict[int, list[list[str | int]]] = {}
        for _, (place, *path) in drafted.pieces:
            cut.setdefault(int(place), []).append(path)
        for place, paths in cut.items():
            own[place] = write(cut_out(exchange.messages[drafted.known + place], paths))
        body[PARTS] = [[numbers[hash], *path] for hash, path in drafted.pieces]
    if exchange.choices:
        body[CHOICES] = exchange.choices
    if exchange.sampling:
        body[SAMPLING] = exchange.sampling
    if exchange.attempts:
        body[ATTEMPTS] = exchange.attempts
    if exact:
        body[EXACT] = exact
    if drafted.tools:
        body[TOOLS] = numbers[drafted.tools]
    tips = b"".join([hash for hash, _ in drafted.tips])
    return drafted.number, drafted.parent, drafted.point, tips, pack(body, (MESSAGES, own), exact=drafted.exact)


def exchange_row(drafted: Draft) -> tuple[tuple[Any, ...], Json]:
    """The draft's row of `exchanges`, and what its columns cannot hold exactly."""
    exchange = drafted.exchange
    exact: Json = {}
    fields = _FIELDS(exchange)
    if drafted.exact or not _is_storable("".join([text for text in fields[1:_TEXTS_END] if text])):
        fields, exact = _storable_fields(exchange)
    tags = exchange.tags if drafted.tags is None else drafted.tags
    kept_tags, is_same = _column_json(tags) if tags else (None, True)
    if not is_same:
        exact["tags"] = exchange.tags
    sampling = None
    if given := exchange.sampling:
        searched = {name: value for name, value in given.items() if name in _SEARCHED and value is not None}
        sampling = _column_json(searched)[0] if searched else None
    return (drafted.number, *fields, kept_tags, sampling), exact


class Payload:
    """One payload, read back: what its exchange added to the conversation, and everything else that it said."""

    __slots__ = ("body", "number", "parent", "point")

    def __init__(self, number: int, parent: int | None, point: int | None, body: bytes) -> None:
        self.number, self.parent, self.point = number, parent, point
        self.body: Json = unpack(body)

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


def read_chains(connection: Connection, numbers: Sequence[int]) -> tuple[dict[int, Payload], dict[int, Any]]:
    """Those payloads and all that they continue, with their parts put back; and the parts by number."""
    found: dict[int, Payload] = {}
    for start in range(0, len(numbers), _AT_ONCE):
        wanted = select(payloads.c.number, payloads.c.parent).where(
            payloads.c.number.in_(numbers[start : start + _AT_ONCE])
        )
        chain = wanted.cte("chain", recursive=True)
        above = payloads.alias()
        chain = chain.union(select(above.c.number, above.c.parent).join(chain, above.c.number == chain.c.parent))
        columns = (payloads.c.number, payloads.c.parent, payloads.c.point, payloads.c.body)
        for row in connection.execute(select(*columns).join(chain, chain.c.number == payloads.c.number)):
            if row.number not in found:
                found[row.number] = Payload(*row)
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


def _storable_fields(exchange: WireExchange) -> tuple[tuple[Any, ...], Json]:
    """The fields for their columns, and those that had to be changed for it, as they are."""
    fields, exact = [], {}
    for name in COLUMNS:
        value = stored = getattr(exchange, name)
        if isinstance(value, str):
            stored = storable(value)
        elif isinstance(value, float) and not math.isfinite(value):
            stored = None
        if stored is not value and stored != value:
            exact[name] = value
        fields.append(stored)
    return tuple(fields), exact


def _column_json(value: Json) -> tuple[str, bool]:
    """JSON that any database takes, and whether it says exactly the value."""
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
