"""What a key may use: requests and tokens in a minute, tokens and money in a calendar month (UTC)."""

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from journeyman.errors import Overloaded
from journeyman.gateway.keys import Caller
from journeyman.prices import PICODOLLARS
from journeyman.records import ApiKey, UsageEntry
from journeyman.store.store import Store
from journeyman.store.usage import booked_between

READ_EVERY_SECONDS = 30.0
_LATE = timedelta(minutes=1)
"""What is booked as at a moment may come into the store so much later, and is still found."""
MOST_KEYS = 100_000
_PAGE = 1000
_BREATH_SECONDS = 0.005
"""Between two pages of the ledger, so that reading a long month takes no time from calls."""

log = logging.getLogger(__name__)


class LimitReached(Overloaded):
    """A limit of the caller's key is reached; `retry_after` is in seconds."""

    code = "rate_limit_exceeded"


class BudgetSpent(LimitReached):
    """A monthly budget of the caller's key is spent; `retry_after` is in seconds, until the month's end."""

    code = "insufficient_quota"


@dataclass(slots=True)
class Bucket:
    """A token bucket: full at the start, it fills up at `size` a minute, and holds a minute's worth at most.

    So after a quiet minute twice the limit can pass within one minute, and never more than it in the long run. It may
    fall below empty, because what a call took is known only afterwards; the debt is waited off.
    """

    size: float
    level: float
    at: float

    def wait(self, needed: float, now: float) -> float:
        """Seconds until there is as much in it; 0 when there is."""
        # A monotonic clock never steps back; whoever gives another one must not be locked out by it.
        self.level = min(self.size, self.level + max(0.0, now - self.at) * self.size / 60)
        self.at = now
        return max(0.0, (needed - self.level) * 60 / self.size)


@dataclass(slots=True)
class Spent:
    """Tokens and picodollars."""

    tokens: int = 0
    picodollars: int = 0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.tokens + other.tokens, self.picodollars + other.picodollars)

    def __sub__(self, other: "Spent") -> "Spent":
        return Spent(max(0, self.tokens - other.tokens), max(0, self.picodollars - other.picodollars))

    def or_more(self, other: "Spent") -> "Spent":
        """The larger of both, each for itself."""
        return Spent(max(self.tokens, other.tokens), max(self.picodollars, other.picodollars))


@dataclass(slots=True)
class Month:
    """What a key has used of this month: as the ledger has it, and as the answers told here since.

    An answer counts at once; the ledger has it some seconds later, beside what other gateways served and what was
    computed for clients that hung up. So at each reading the larger of the two is taken, and what comes after added.
    """

    spent: Spent = field(default_factory=Spent)
    """By the best that is known."""
    told: Spent = field(default_factory=Spent)
    """By answers here, since this gateway's start or the month's."""
    before: Spent | None = None
    """In the ledger when this key was first read."""

    def use(self, tokens: int, picodollars: int) -> None:
        """Count an answer."""
        for each in (self.spent, self.told):
            each.tokens += tokens
            each.picodollars += picodollars

    def read(self, ledger: Spent) -> None:
        """Take what the ledger says now."""
        if self.before is None:
            self.before = ledger - self.told
        self.spent = ledger.or_more(self.before + self.told)


class Limiter:
    """Lets a call pass, or says when to come again. Everything runs in the event loop, and nothing there waits.

    `monotonic` and `now` are clocks in seconds, the second one since 1970: minutes run by the one, months by the other.

    Tokens count when the answer tells them: nobody knows them before, and an estimate would turn away calls that
    would have passed. So the calls that run at the moment a limit is reached may exceed it; they are not cut off, and
    what they took is waited off afterwards.
    """

    def __init__(
        self,
        store: Store,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._monotonic, self._now = monotonic, now
        self._requests: dict[str, Bucket] = {}
        self._tokens: dict[str, Bucket] = {}
        self._months: dict[str, Month] = {}
        self._begin_month(now())
        self._book = _LedgerSums(store)
        self._reading: asyncio.Task[None] | None = None
        self._turned_away = 0
        self._last_error: str | None = None

    async def start(self) -> None:
        """Begin to read the ledger; a store that does not answer keeps nobody out."""
        self._reading = asyncio.create_task(self._keep_reading())

    async def close(self) -> None:
        """Stop reading."""
        self._book.stop()
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading

    def admit(self, caller: Caller) -> None:
        """Count a call that is about to be made; LimitReached when it may not be."""
        limits = caller.limits
        if limits.requests_per_minute is None and not caller.metered:
            return
        now = self._monotonic()
        if limits.monthly_tokens is not None or limits.monthly_usd is not None:
            self._check_budget(caller)
        if limits.tokens_per_minute is not None:
            bucket = _bucket(self._tokens, caller, limits.tokens_per_minute, now)
            if wait := bucket.wait(min(1.0, bucket.size), now):
                self._turn_away(
                    f"the key {caller.fingerprint} may use {limits.tokens_per_minute:,} tokens a minute, and has used "
                    f"{bucket.size - bucket.level:,.0f} that are not made up for yet",
                    wait,
                )
        if limits.requests_per_minute is not None:
            bucket = _bucket(self._requests, caller, limits.requests_per_minute, now)
            if wait := bucket.wait(1.0, now):
                self._turn_away(
                    f"the key {caller.fingerprint} may make {limits.requests_per_minute:,} requests a minute, and has "
                    "made them",
                    wait,
                )
            bucket.level -= 1.0

    def used(self, caller: Caller, tokens: int, usd: float) -> None:
        """Count what an answer says that it took."""
        limits = caller.limits
        if limits.tokens_per_minute is not None:
            now = self._monotonic()
            bucket = _bucket(self._tokens, caller, limits.tokens_per_minute, now)
            bucket.wait(0.0, now)
            bucket.level -= tokens
        if limits.monthly_tokens is not None or limits.monthly_usd is not None:
            self._month_for(caller.fingerprint).use(tokens, round(usd * PICODOLLARS))

    def spent(self, caller: Caller) -> tuple[int, float]:
        """Tokens and US dollars that the caller's key has used this month, as far as its budgets know."""
        spent = self._month_for(caller.fingerprint).spent
        return spent.tokens, spent.picodollars / PICODOLLARS

    def report(self) -> dict[str, Any]:
        """How many calls were turned away, and why the ledger could not be read, for `/healthz`."""
        return {"turned_away": self._turned_away, "last_error": self._last_error}

    async def read_ledger(self) -> None:
        """Take from the ledger what the keys with a budget have used this month; whatever the store raises."""
        self._month_for("")
        month = self._month
        sums = await asyncio.to_thread(self._book.sums, month)
        if month == self._month:
            for key, ledger in sums.items():
                self._month_for(key).read(ledger)

    async def _keep_reading(self) -> None:
        while True:
            try:
                await self.read_ledger()
                self._last_error = None
            except Exception as error:  # whatever the store raises: calls go on, by what was told here
                said = f"{type(error).__name__}: the ledger could not be read; budgets count what is told here"
                if said != self._last_error:
                    log.warning("%s", said)
                self._last_error = said
            await asyncio.sleep(READ_EVERY_SECONDS)

    def _check_budget(self, caller: Caller) -> None:
        limits, spent = caller.limits, self._month_for(caller.fingerprint).spent
        if limits.monthly_tokens is not None and spent.tokens >= limits.monthly_tokens:
            budget, used = f"{limits.monthly_tokens:,} tokens", f"{spent.tokens:,}"
        elif limits.monthly_usd is not None and spent.picodollars >= limits.monthly_usd * PICODOLLARS:
            budget, used = f"${limits.monthly_usd:f}", f"${spent.picodollars / PICODOLLARS:.6f}"
        else:
            return
        self._turned_away += 1
        end = _end_of(self._month)
        raise BudgetSpent(
            f"the key {caller.fingerprint} may use {budget} in {self._month:%Y-%m}, and has used {used}; nothing was "
            f"sent on. Wait until {end:%Y-%m-%d} (UTC), or ask whoever runs the gateway for a key with more",
            math.ceil(max(1.0, self._ends - self._now())),
        )

    def _turn_away(self, why: str, wait: float) -> None:
        self._turned_away += 1
        # The header holds whole seconds: rounded up, so that whoever waits them is let in.
        seconds = max(1, math.ceil(wait))
        raise LimitReached(f"{why}; nothing was sent on. Try again in {seconds} s, or send less at once", seconds)

    def _begin_month(self, now: float) -> None:
        self._month = datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        self._begins, self._ends = self._month.timestamp(), _end_of(self._month).timestamp()
        self._months.clear()

    def _month_for(self, key: str) -> Month:
        now = self._now()
        if not self._begins <= now < self._ends:
            self._begin_month(now)
        found = self._months.get(key)
        if found is None:
            while len(self._months) >= MOST_KEYS:
                del self._months[next(iter(self._months))]
            found = self._months[key] = Month()
        return found


class _LedgerSums:
    """What each key has used in a month; after the first time only what is new is read from the ledger."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stopped = threading.Event()
        self._begin(datetime.min.replace(tzinfo=UTC))

    def sums(self, month: datetime) -> dict[str, Spent]:
        """By key; it blocks, and the first time for as long as the month is full. Nothing while no key has a budget."""
        if not self._any_budget():
            return {}
        if month != self._month:
            self._begin(month)
        booked = self._store.count(UsageEntry, booked_between(month, _end_of(month))).get("", 0)
        self._read_new()
        if self._entries < booked:
            # Something came in later than it may: it is found by reading all of the month again.
            self._begin(month)
            self._read_new()
        return dict(self._sums)

    def stop(self) -> None:
        """Let a reading that is under way come to nothing."""
        self._stopped.set()

    def _begin(self, month: datetime) -> None:
        self._month, self._newest, self._entries = month, month, 0
        self._sums: dict[str, Spent] = {}
        self._late: dict[str, datetime] = {}

    def _read_new(self) -> None:
        since = max(self._month, self._newest - _LATE)
        sums, newest, entries, late = dict(self._sums), self._newest, self._entries, dict(self._late)
        for entry in self._entries_since(since):
            newest = max(newest, entry.at)
            if entry.id not in self._late:
                entries += 1
                spent = Spent(entry.usage.total_tokens, entry.picodollars or 0)
                sums[entry.key] = sums.get(entry.key, Spent()) + spent
            if entry.at >= newest - _LATE:
                late[entry.id] = entry.at
        self._sums, self._newest, self._entries = sums, newest, entries
        self._late = {id: at for id, at in late.items() if at >= newest - _LATE}

    def _entries_since(self, since: datetime) -> Iterator[UsageEntry]:
        after = None
        where = booked_between(since, _end_of(self._month))
        while page := self._store.find(UsageEntry, where, after=after, limit=_PAGE):
            yield from page
            after = page[-1].id
            if self._stopped.wait(_BREATH_SECONDS):
                raise InterruptedError("the gateway stops")

    def _any_budget(self) -> bool:
        after = None
        while page := self._store.find(ApiKey, after=after, limit=_PAGE):
            if any(key.limits.monthly_tokens is not None or key.limits.monthly_usd is not None for key in page):
                return True
            after = page[-1].id
        return False


def _bucket(buckets: dict[str, Bucket], caller: Caller, size: int, now: float) -> Bucket:
    bucket = buckets.get(caller.fingerprint)
    if bucket is None or bucket.size != size:
        while len(buckets) >= MOST_KEYS:
            del buckets[next(iter(buckets))]
        bucket = buckets[caller.fingerprint] = Bucket(size, size, now)
    return bucket


def _end_of(month: datetime) -> datetime:
    return (month + timedelta(days=32)).replace(day=1)
