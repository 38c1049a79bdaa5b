"""The exchanges to export, page by page, so that an export of any size needs little memory."""

from collections.abc import Iterator

from journeyman.records import Exchange, Filter
from journeyman.store.store import Store

_PAGE = 500


def matching(store: Store, where: Filter | None) -> Iterator[Exchange]:
    """All exchanges for which the filter holds, newest first."""
    page = store.find(Exchange, where, limit=_PAGE)
    while page:
        yield from page
        page = store.find(Exchange, where, after=page[-1].id, limit=_PAGE)
