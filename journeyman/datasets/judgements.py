"""What people and programs said of captured calls, as preferences are learned from it: pairs, labels and scores."""

from typing import NamedTuple

from journeyman.records import Condition, Exchange, Feedback, Filter, Row
from journeyman.store.store import Store


class Judging(NamedTuple):
    """Which feedback rows carry along.

    With `pairs`, only corrected replies are taken, each beside the reply that was corrected. `label` and `score` name
    feedback with a value; a label is good from `good_from` on.
    """

    pairs: bool = False
    label: str | None = None
    good_from: float = 0.5
    score: str | None = None


def judged_row(store: Store, row: Row, judging: Judging) -> Row | str:
    """The row with its label and score; or why it has none: the feedback is about its last call, or its session."""
    found = {}
    for field, name in (("label", judging.label), ("score", judging.score)):
        if name is None:
            continue
        exchange = store.get(Exchange, row.source)
        feedback = newest_value(store, exchange, name) if exchange else None
        if feedback is None or feedback.value is None:
            return f"it has no feedback named {name} with a value"
        found[field] = feedback.value >= judging.good_from if field == "label" else feedback.value
    # Fields that were never set must stay so: an unset split is one that may still be decided.
    return row.model_copy(update=found) if found else row


def newest_value(store: Store, exchange: Exchange, name: str) -> Feedback | None:
    """The newest feedback of that name with a value that was given to the exchange, else to its session."""
    about = [("exchange_id", exchange.id), ("external_id", exchange.external_id), ("session", exchange.session)]
    for field, value in about:
        if value is None:
            continue
        where = Filter(conditions=(
            Condition(field=field, operator="=", value=value), Condition(field="name", operator="=", value=name),
        ))  # fmt: skip
        for each in store.find(Feedback, where):
            if each.value is not None and each.turn is None:
                return each
    return None
