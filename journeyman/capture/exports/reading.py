"""The exchanges to export, page by page, so that an export of any size needs little memory."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from journeyman.records import Exchange, Feedback, Filter, Record, Tagging
from journeyman.store.store import Store

_PAGE = 500

Kind = TypeVar("Kind", bound=Record)


def matching(store: Store, where: Filter | None) -> Iterator[Exchange]:
    """All exchanges for which the filter holds, newest first."""
    return _all(store, Exchange, where)


def _all(store: Store, kind: type[Kind], where: Filter | None = None) -> Iterator[Kind]:
    page = store.find(kind, where, limit=_PAGE)
    while page:
        yield from page
        page = store.find(kind, where, after=page[-1].id, limit=_PAGE)


class About:
    """What was said of the exchanges that are exported: of all in the store, or of those `noted`."""

    def __init__(self, whole: bool) -> None:
        self._whole = whole
        self._names: set[tuple[str, str]] = set()

    def noted(self, exchanges: Iterable[Exchange]) -> Iterator[Exchange]:
        """The exchanges, of which is remembered by what names feedback may call them."""
        for exchange in exchanges:
            if not self._whole:
                told = {"exchange_id": exchange.id, "external_id": exchange.external_id, "session": exchange.session}
                self._names |= {(field, name) for field, name in told.items() if name is not None}
            yield exchange

    def said(self, store: Store) -> Iterator[Feedback | Tagging]:
        """Feedback and tags, newest first."""
        yield from filter(self._is_about, _all(store, Feedback))
        yield from filter(self._is_about, _all(store, Tagging))

    def _is_about(self, record: Feedback | Tagging) -> bool:
        names = (("exchange_id", record.exchange_id), ("external_id", record.external_id), ("session", record.session))
        return self._whole or any(each in self._names for each in names)
