"""How an ingester turns calls into records: everything about it that an installation chooses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from journeyman.prices import PriceList
from journeyman.records import Feedback, Record, WireExchange

Stored = Record | WireExchange
Handler = Callable[[dict[str, Any], bytes], Sequence[Stored]]
"""Turns a RECORD frame's (about, body) into records; ValueError or InvalidInput when it cannot be read."""


class Redacts(Protocol):
    """Takes out of an exchange what nobody may see."""

    def wire(self, exchange: WireExchange) -> WireExchange:
        """The exchange without it."""
        ...

    def feedback(self, feedback: Feedback) -> Feedback:
        """What was said of an exchange, without it."""
        ...


@dataclass(frozen=True, kw_only=True)
class Options:
    """How calls become records. Absent parts are left out."""

    prices: PriceList | None = None
    redactor: Redacts | None = None
    handlers: Mapping[str, Handler] | None = None
    is_erased: Callable[[WireExchange], bool] | None = None
    settle_store: Callable[[], object] = lambda: None
    """Puts on the disk itself what the store has committed; done before raw bytes go."""
    due: Sequence[Callable[[], Sequence[Stored]]] = ()
    """Asked every few seconds for records that have waited for another half long enough."""
    idle: Sequence[Callable[[], object]] = ()
    """Done when nothing came for a moment: indexing words, for one."""
    chores: Sequence[Callable[[], object]] = ()
    """Done about every hour: retention, for one."""
    batch: int = 500
    keep_raw_days: float = 7.0
