"""Calls that their writer found to be captured by another one: the ingester keeps the other's record alone."""

from journeyman.capture.joining import EndedCall
from journeyman.records import Condition, Exchange, Filter
from journeyman.store.store import Store


def was_withdrawn(call: EndedCall, store: Store) -> bool:
    """Whether a call is kept elsewhere; what was shown of it while it lasted is removed."""
    if call.end is None or "elsewhere" not in call.end:
        return False
    if call.shown:
        own = Condition(field="id", operator="=", value=call.start["id"])
        store.forget(Exchange, Filter(conditions=(own,)))
    return True
