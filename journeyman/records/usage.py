"""What was served, counted and priced: the entries of the ledger."""

from typing import Literal

from journeyman.records.exchange import Usage
from journeyman.records.record import Record

Source = Literal["engine", "answer", "untold", "gap"]


class UsageEntry(Record):
    """One line of the ledger, booked at `at`; what is booked is never changed, so a month that is over is final.

    `request` is the exchange's id, `key` the fingerprint of the caller's token, `alias` the name that was asked for.
    `source` says who counted: the `engine`, choice by choice, as number `number` since its start `epoch`; the `answer`,
    where its sender counts for us; nobody (`untold`: served, but the answer did not say how much). A `gap` says in
    its `note` what the ledger could not see.
    `picodollars` is the price in 10⁻¹² US dollars, a whole number so that sums are exact; None without a price rule.
    """

    request: str
    key: str
    alias: str | None = None
    upstream: str
    model: str
    adapter: str | None = None
    usage: Usage = Usage()
    picodollars: int | None = None
    ended: str = ""
    source: Source
    epoch: str | None = None
    number: int | None = None
    note: str = ""
