"""Erases all that is known of a person or of a session, and leaves word that it was done."""

from collections.abc import Sequence
from typing import Literal

from journeyman.records import (
    Condition,
    Erasure,
    Exchange,
    Feedback,
    Filter,
    Record,
    Tagging,
    Trajectory,
    who_hash,
)
from journeyman.store.store import Store

_PAGE = 100


def erase(store: Store, what: Literal["person", "session"], name: str, by: str) -> list[Erasure]:
    """Remove a person's or a session's exchanges, and the feedback, taggings and trajectories about them.

    Of a person all sessions go that hold exchanges of nobody else; what is about such a session goes with it. What
    other exchanges have in common with those that go stays, for it is theirs too. An Erasure is kept for each page of
    exchanges, without the name; when this is interrupted, call it again. Datasets that were built before keep their
    rows: an Erasure lists the exchanges to look for in them. `SqlStore.shrink` gives back the disk.
    """
    left = []
    while page := store.find(Exchange, _is(what, name), limit=_PAGE):
        # Word is left before the exchanges go: after a crash between the two, both happen again.
        ids = tuple(exchange.id for exchange in page)
        records = _forget(store, (Feedback, Tagging), _is("exchange_id", *ids))
        if known := [exchange.external_id for exchange in page if exchange.external_id is not None]:
            records += _forget(store, (Feedback, Tagging), _is("external_id", *known))
        left.append(_keep(store, Erasure(what=what, who=who_hash(what, name), exchanges=ids, records=records, by=by)))
        store.forget(Exchange, _is("id", *ids))
        if what == "person":
            sessions = {exchange.session for exchange in page if exchange.session is not None}
            emptied = [each for each in sorted(sessions) if not store.find(Exchange, _is("session", each), limit=1)]
            for session in emptied:
                _forget(store, (Feedback, Tagging, Trajectory), _is("session", session))
    if what == "session":
        records = _forget(store, (Feedback, Tagging, Trajectory), _is("session", name))
        if records or not left:
            left.append(_keep(store, Erasure(what=what, who=who_hash(what, name), records=records, by=by)))
    return left


def is_erased(store: Store, what: Literal["person", "session"], name: str) -> bool:
    """Whether that person's or session's data was erased, so that it must not come back from elsewhere."""
    return bool(store.find(Erasure, _is("who", who_hash(what, name)), limit=1))


def _is(field: str, *values: str) -> Filter:
    return Filter(join="or", conditions=tuple(Condition(field=field, operator="=", value=value) for value in values))


def _forget(store: Store, kinds: Sequence[type[Record]], where: Filter) -> int:
    return sum(store.forget(kind, where) for kind in kinds)


def _keep(store: Store, erasure: Erasure) -> Erasure:
    store.put(erasure)
    return erasure
