"""Joins what a span tells of a call with the events that bring its content, in whatever order they come.

A half is kept in the store as an unfinished exchange: `streaming` when the span has come and its content has not,
`started` when there are only events. So a restart loses nothing, and lists show what is awaited. A call is final once
its span and a reply are there, or when nothing more has come for `wait` seconds; what comes later is counted as late.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace

from journeyman.capture.otlp.content import Json
from journeyman.capture.otlp.events import AT
from journeyman.capture.otlp.told import SOURCE
from journeyman.records import UNFINISHED, Condition, Exchange, Filter, WireExchange
from journeyman.store.store import Store

WAIT_SECONDS = 120.0
"""Exporters send every few seconds and try again for about a minute."""
_MOST_OPEN = 10_000
_MOST_FINAL = 1_000


class Joining:
    """The halves that wait for their other half. One per store: the ingester's."""

    def __init__(self, store: Store, wait: float = WAIT_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._wait, self._clock = store, wait, clock
        # The store gets what we return only later: until then a second half finds the first one here.
        self._open: OrderedDict[str, tuple[float, WireExchange]] = OrderedDict()
        # Told again when asked again: the ingester reads a batch anew when the store failed to take it.
        self._final: OrderedDict[str, WireExchange] = OrderedDict()
        self._looked = False
        self.late = 0
        """Parts that came when their exchange was final in the store already."""

    def add(self, part: WireExchange) -> WireExchange | None:
        """Take a half (unfinished) or a whole (final); what to store of it now, None when it came too late."""
        if part.id in self._final:
            return replace(self._final[part.id])
        known = self._known(part.id)
        if known is not None and known.state not in UNFINISHED:
            self.late += part.state in UNFINISHED
            return None
        found = part if known is None else _joined(known, part)
        if found.state not in UNFINISHED or _is_whole(found):
            return self._settled(found)
        self._open[found.id] = (self._clock(), found)
        self._open.move_to_end(found.id)
        if len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)
        return replace(found)

    def waiting(self) -> int:
        """How many halves wait."""
        return len(self._open)

    def settle(self, everything: bool = False) -> list[WireExchange]:
        """The exchanges whose other half has not come for too long, made final; `everything`: without waiting.

        The first time it also looks for those that an earlier process left unfinished.
        """
        if not self._looked:
            self._looked = True
            for exchange in self._left_over():
                self._open.setdefault(exchange.id, (self._clock(), exchange))
        due = self._clock() - self._wait
        ripe = [id for id, (since, _) in self._open.items() if everything or since <= due]
        return [self._settled(self._open[id][1]) for id in ripe]

    def _known(self, id: str) -> WireExchange | None:
        if id in self._open:
            return self._open[id][1]
        found = self._store.get(Exchange, id)
        return None if found is None else WireExchange.of(found)

    def _settled(self, exchange: WireExchange) -> WireExchange:
        final = _final(exchange)
        self._open.pop(final.id, None)
        self._final[final.id] = final
        if len(self._final) > _MOST_FINAL:
            self._final.popitem(last=False)
        return replace(final)

    def _left_over(self) -> Iterator[WireExchange]:
        ours = Condition(field="source", operator="=", value=SOURCE)
        for state in UNFINISHED:
            where = Filter(conditions=(ours, Condition(field="state", operator="=", value=state)))
            for exchange in self._store.find(Exchange, where, limit=_MOST_OPEN // 2):
                yield WireExchange.of(exchange)


def half(exchange: WireExchange, of_span: bool) -> WireExchange:
    """The exchange as one that awaits its other half."""
    exchange.state = "streaming" if of_span else "started"
    if not of_span:
        exchange.latency = None
    return exchange


def _is_whole(exchange: WireExchange) -> bool:
    """Whether nothing more is awaited: the span is there, and so are its replies, or its failure and its request."""
    if exchange.latency is None:
        return False
    if exchange.error is not None:
        return bool(exchange.messages)
    wanted = exchange.sampling.get("n")
    return len(exchange.choices) >= (wanted if isinstance(wanted, int) and wanted > 0 else 1)


def _joined(known: WireExchange, come: WireExchange) -> WireExchange:
    """Both halves in one; of what both tell, the span's word stands, and messages that came apart are put in order."""
    span, other = (come, known) if come.latency is not None else (known, come)
    fields = {name: getattr(span, name) for name in WireExchange.__slots__}
    for name, value in fields.items():
        if not value or value == "unknown":
            fields[name] = getattr(other, name)
    fields["messages"] = _in_order(known.messages, come.messages)
    fields["choices"] = _in_order_of_choices(known.choices, come.choices)
    fields["tags"] = {**other.tags, **span.tags}
    fields["error"] = span.error
    fields["latency"] = span.latency
    return WireExchange(**fields)


def _in_order(first: list[Json], second: list[Json]) -> list[Json]:
    whole = next((each for each in (first, second) if each and AT not in each[0]), None)
    if whole is not None:
        return whole
    kept: list[Json] = []
    for message in (*first, *second):
        if message not in kept:
            kept.append(message)
    return sorted(kept, key=lambda message: message[AT])


def _in_order_of_choices(first: list[Json], second: list[Json]) -> list[Json]:
    whole = next((each for each in (first, second) if each and AT not in each[0]["message"]), None)
    if whole is not None:
        return whole
    by_index = {choice["message"][AT]: choice for choice in (*first, *second)}
    return [by_index[index] for index in sorted(by_index)]


def _final(exchange: WireExchange) -> WireExchange:
    """The exchange as it stays."""
    if exchange.state in UNFINISHED:
        exchange = replace(exchange, state="failed" if exchange.error else "complete")
    exchange.messages = [_plain(message) for message in exchange.messages]
    exchange.choices = [{**choice, "message": _plain(choice["message"])} for choice in exchange.choices]
    return exchange


def _plain(message: Json) -> Json:
    return {name: value for name, value in message.items() if name != AT} if AT in message else message
