"""Erases what is known of a person, of a session, or all that a filter finds, and keeps it from coming back.

Each batch leaves an `Erasure` before it goes: by these the ingester, a later import and the datasets know what must
not return. They hold ids of calls and a hash of the name, never the name.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime

from journeyman.records import Condition, Erasure, Exchange, Feedback, Filter, Record, Tagging, Trajectory, WireExchange
from journeyman.records.erasure import Erased, who_hash
from journeyman.store.store import Store

_PAGE = 200
"""Exchanges erased in one go: a writer waits for that many at most."""
FRESH_SECONDS = 2.0
"""So long after an erasure an ingester that runs may not know of it yet."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Target:
    """What is to be erased: everything of the person or the session `name`, or what the filter `name` finds."""

    what: Erased
    name: str

    @property
    def where(self) -> Filter:
        """The filter that finds the exchanges."""
        return Filter.parse(self.name) if self.what == "filter" else _only(self.what, self.name)


@dataclass
class Reach:
    """How much there is to erase, or was erased."""

    exchanges: int = 0
    sessions: int = 0
    feedback: int = 0
    taggings: int = 0
    trajectories: int = 0

    def __add__(self, other: "Reach") -> "Reach":
        """What both come to."""
        return Reach(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    @property
    def nothing(self) -> bool:
        """True when there is nothing at all."""
        return not (self.exchanges or self.feedback or self.taggings or self.trajectories)


def reach_of(store: Store, target: Target) -> Reach:
    """What an erasure would remove now. Records of a session count only where all of the session goes."""
    reach, gone = Reach(), dict[str, int]()
    for page in _pages(store, target.where):
        reach.exchanges += len(page)
        for exchange in page:
            if exchange.session is not None:
                gone[exchange.session] = gone.get(exchange.session, 0) + 1
        for kind, number in _about_exchanges(page, lambda kind, where: store.count(kind, where)[""]).items():
            _add(reach, kind, number)
    if target.what == "session":
        gone.setdefault(target.name, 0)
    for session, number in gone.items():
        if store.count(Exchange, _only("session", session))[""] == number:
            reach.sessions += 1
            for kind in (Feedback, Tagging, Trajectory):
                _add(reach, kind, store.count(kind, _only("session", session))[""])
    return reach


def erase(store: Store, target: Target, by: str, witness: Callable[[Sequence[Exchange]], None] | None = None) -> Reach:
    """Erase for good; what went. `witness` sees each batch of exchanges before it goes.

    Stopped half-way, what is left can be erased by asking again.
    """
    reach, sessions = Reach(), dict[str, None]()
    if target.what == "session":
        sessions[target.name] = None
    if target.what != "filter":
        # Told before anything goes, so that calls under way and late imports are refused from now on.
        store.put(Erasure(what=target.what, who=who_hash(target.what, target.name), by=by))
    while page := store.find(Exchange, target.where, limit=_PAGE):
        if witness:
            witness(page)
        ids = tuple(exchange.id for exchange in page)
        store.put(Erasure(what=target.what, who=who_hash(target.what, target.name), exchanges=ids, by=by))
        for kind, number in _about_exchanges(page, store.forget).items():
            _add(reach, kind, number)
        reach.exchanges += store.forget(Exchange, _any("id", ids))
        sessions |= {each.session: None for each in page if each.session is not None}
    for session in sessions:
        if not store.count(Exchange, _only("session", session))[""]:
            reach.sessions += 1
            for each in (Feedback, Tagging, Trajectory):
                _add(reach, each, store.forget(each, _only("session", session)))
    return reach


class Erasures:
    """What was erased, for those who could bring it back. Reads the store again at most every `fresh` seconds."""

    def __init__(self, store: Store, fresh: float = FRESH_SECONDS) -> None:
        self._store, self._fresh = store, fresh
        self._lock = threading.Lock()
        self._read_at = -float("inf")
        self._known: set[str] = set()
        self.ids: set[str] = set()
        """Ids of the exchanges that were erased."""
        self._names: dict[str, dict[str, int]] = {"person": {}, "session": {}}

    def is_erased(self, exchange: WireExchange) -> bool:
        """Whether this exchange was erased, or is from before its person or its session was."""
        self.refresh()
        if exchange.id in self.ids:
            return True
        return self.names(exchange.person, exchange.session, exchange.at)

    @property
    def count(self) -> int:
        """How many erasures are known."""
        return len(self._known)

    def names(self, person: str | None, session: str | None, at: int) -> bool:
        """Whether all from before that moment (microseconds) of the person or of the session was erased."""
        for what, name in (("person", person), ("session", session)):
            erased = self._names[what]
            if name is not None and erased and at <= erased.get(who_hash(what, name), -1):  # type: ignore[arg-type]
                return True
        return False

    def refresh(self, now: bool = False) -> None:
        """Read what was erased since the last look; `now` also when that was a moment ago."""
        if not now and time.monotonic() - self._read_at < self._fresh:
            return
        with self._lock:
            self._read_at = time.monotonic()
            page = self._store.find(Erasure, limit=_PAGE)
            while page:
                fresh = [each for each in page if each.id not in self._known]
                for each in fresh:
                    self._learn(each)
                # Newest first: a page without news has none behind it either.
                page = self._store.find(Erasure, after=page[-1].id, limit=_PAGE) if fresh else ()

    def _learn(self, erasure: Erasure) -> None:
        self._known.add(erasure.id)
        self.ids.update(erasure.exchanges)
        if erasure.what in self._names:
            at = int((erasure.at - _EPOCH).total_seconds() * 1_000_000)
            known = self._names[erasure.what]
            known[erasure.who] = max(at, known.get(erasure.who, at))


def _about_exchanges(page: Sequence[Exchange], apply: Callable[[type[Record], Filter], int]) -> dict[type[Record], int]:
    """What `apply` makes of the feedback and the taggings that name these exchanges."""
    ids = [exchange.id for exchange in page]
    own = [exchange.external_id for exchange in page if exchange.external_id is not None]
    where = [_any("exchange_id", ids), *([_any("external_id", own)] if own else [])]
    return {kind: sum(apply(kind, each) for each in where) for kind in (Feedback, Tagging)}


def _pages(store: Store, where: Filter) -> Iterable[Sequence[Exchange]]:
    page = store.find(Exchange, where, limit=_PAGE)
    while page:
        yield page
        page = store.find(Exchange, where, after=page[-1].id, limit=_PAGE)


def _add(reach: Reach, kind: type[Record], number: int) -> None:
    if kind is Feedback:
        reach.feedback += number
    elif kind is Tagging:
        reach.taggings += number
    else:
        reach.trajectories += number


def _only(field: str, value: str) -> Filter:
    return Filter(conditions=(Condition(field=field, operator="=", value=value),))


def _any(field: str, values: Iterable[str]) -> Filter:
    return Filter(join="or", conditions=tuple(Condition(field=field, operator="=", value=each) for each in values))
