"""Tells the truth about exchanges that a process left unfinished when it died."""

from journeyman.records import UNFINISHED, Condition, Exchange, Filter
from journeyman.store.store import Store

LEFT_UNFINISHED = Filter(
    join="or", conditions=tuple(Condition(field="state", operator="=", value=state) for state in UNFINISHED)
)


def mark_killed(store: Store) -> int:
    """Give unfinished exchanges their final state, `killed`; how many there were.

    For a gateway to call when it starts: at that moment nothing of its own is under way.
    """
    marked = 0
    while left := store.find(Exchange, LEFT_UNFINISHED):
        store.put(*(exchange.model_copy(update={"state": "killed"}) for exchange in left))
        marked += len(left)
    return marked
