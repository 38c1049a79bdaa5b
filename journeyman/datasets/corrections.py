"""Replies that should have been given: what people said afterwards in place of what the model said."""

from collections.abc import Iterator

from journeyman.records import Condition, Exchange, Feedback, Filter, Message
from journeyman.store.store import Store

_PAGE = 1000


class Corrections:
    """The newest correction of each exchange, whether it is named by its id, its caller's id, or its session's turn."""

    def __init__(self, store: Store) -> None:
        self._by_id: dict[str, tuple[int, Message]] = {}
        self._by_external_id: dict[str, tuple[int, Message]] = {}
        turns: dict[str, list[str]] = {}
        for age, (feedback, correction) in enumerate(_newest_first(store)):
            if feedback.exchange_id is not None:
                self._by_id.setdefault(feedback.exchange_id, (age, correction))
            elif feedback.external_id is not None:
                self._by_external_id.setdefault(feedback.external_id, (age, correction))
            elif feedback.session is not None and feedback.turn is not None:
                if feedback.session not in turns:
                    turns[feedback.session] = _calls(store, feedback.session)
                calls = turns[feedback.session]
                if feedback.turn < len(calls):
                    self._by_id.setdefault(calls[feedback.turn], (age, correction))

    def of(self, exchange: Exchange) -> Message | None:
        """The reply that should have been given; None when nobody said so."""
        found = [self._by_id.get(exchange.id), self._by_external_id.get(exchange.external_id or "")]
        return min((each for each in found if each is not None), key=lambda each: each[0], default=(0, None))[1]


def _newest_first(store: Store) -> Iterator[tuple[Feedback, Message]]:
    corrected = Filter(conditions=(Condition(field="correction.role", operator="=", value="assistant"),))
    after = None
    while page := store.find(Feedback, corrected, after=after, limit=_PAGE):
        for feedback in page:
            if feedback.correction is not None:
                yield feedback, feedback.correction
        after = page[-1].id


def _calls(store: Store, session: str) -> list[str]:
    """Ids of the session's calls, oldest first."""
    where = Filter(conditions=(Condition(field="session", operator="=", value=session),))
    ids: list[str] = []
    while page := store.find(Exchange, where, after=ids[-1] if ids else None, limit=_PAGE):
        ids += [exchange.id for exchange in page]
    return ids[::-1]
