"""Keys that the gateway gives to its callers, and what each may do."""

from datetime import datetime
from decimal import Decimal
from typing import Literal

from pydantic import Field

from journeyman.records.record import Frozen, Record


class Limits(Frozen):
    """What a key may use; None: as much as it likes. Budgets are for a calendar month (UTC)."""

    requests_per_minute: int | None = Field(None, ge=1)
    tokens_per_minute: int | None = Field(None, ge=1)
    monthly_tokens: int | None = Field(None, ge=0)
    monthly_usd: Decimal | None = Field(None, ge=0)


class ApiKey(Record):
    """A caller's key, known by a hash alone. `fingerprint`, the hash's beginning, names it in records and screens.

    `aliases` are the model names that it may ask for (empty: all). `durable` calls are answered only when their
    record is on the disk itself; `on_hang_up` says whether a call whose client has gone is cancelled (no more is
    paid) or drained to its end (the reply is kept).
    """

    name: str
    hash: str
    fingerprint: str
    project: str = "default"
    aliases: tuple[str, ...] = ()
    limits: Limits = Limits()
    expires: datetime | None = None
    durable: bool = False
    on_hang_up: Literal["cancel", "drain"] = "cancel"


class KeyRevocation(Record):
    """A key that is no longer good."""

    fingerprint: str
    by: str
    reason: str = ""
