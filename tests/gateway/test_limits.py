"""Limits of a key: minutes that refill, months that start from the ledger, clocks that step."""

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from journeyman.gateway.asgi import error_body
from journeyman.gateway.keys import Caller
from journeyman.gateway.limits import BudgetSpent, Limiter, LimitReached
from journeyman.records import ApiKey, Limits, Usage, UsageEntry
from journeyman.store.memory import MemoryStore
from journeyman.store.sql import open_store

NOON = datetime(2026, 11, 15, 12, tzinfo=UTC)


class Clock:
    """Both clocks of a limiter, set by hand."""

    def __init__(self, at=NOON):
        self.seconds, self.at = 1000.0, at

    def monotonic(self):
        return self.seconds

    def now(self):
        return self.at.timestamp()

    def wait(self, seconds):
        self.seconds += seconds
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def limiter(store, clock):
    return Limiter(store, monotonic=clock.monotonic, now=clock.now)


def caller(key="anna", **limits):
    given = Limits(**limits)
    metered = bool(set(limits) - {"requests_per_minute"})
    return Caller(key, limits=given, known=True, metered=metered)


def budget(store, key="anna", **limits):
    """A caller whose key is in the store, as the limiter reads the ledger only where there is a budget."""
    store.put(ApiKey(name=key, hash=key, fingerprint=key, limits=Limits(**limits)))
    return caller(key, **limits)


def entry(tokens, at=NOON, key="anna", dollars="0.001", **fields):
    usage = Usage(prompt_tokens=tokens - 1, completion_tokens=1)
    known = {"request": "r", "upstream": "acme", "model": "m", "source": "answer"} | fields
    return UsageEntry(key=key, at=at, usage=usage, picodollars=int(Decimal(dollars) * 10**12), **known)


def reached(limiter, caller, kind=LimitReached):
    with pytest.raises(kind) as caught:
        limiter.admit(caller)
    return caught.value


def test_without_limits_nothing_is_counted(limiter):
    for _ in range(10_000):
        limiter.admit(caller())
    assert limiter.report() == {"turned_away": 0, "last_error": None}


def test_requests_of_a_minute(limiter, clock):
    anna = caller(requests_per_minute=30)
    for _ in range(30):
        limiter.admit(anna)
    error = reached(limiter, anna)
    assert (error.status, error.retry_after) == (429, 2)
    for fact in ("anna", "30 requests a minute", "Try again in 2 s"):
        assert fact in str(error)
    assert error_body(error)["error"]["code"] == "rate_limit_exceeded"
    assert error_body(error, "messages")["error"]["type"] == "rate_limit_error"
    limiter.admit(caller("ben", requests_per_minute=30))
    clock.wait(error.retry_after)
    limiter.admit(anna)
    reached(limiter, anna)
    assert limiter.report()["turned_away"] == 2


def test_in_the_long_run_no_more_pass_than_the_limit(limiter, clock):
    anna, passed = caller(requests_per_minute=7), 0
    for _ in range(6000):
        clock.wait(0.1)
        try:
            limiter.admit(anna)
        except LimitReached:
            continue
        passed += 1
    assert 70 <= passed <= 77, "ten minutes, and one minute's worth that the bucket held at first"


def test_after_waiting_as_long_as_told_a_call_passes(limiter, clock):
    for limit in (1, 7, 59, 61, 1000):
        anna = caller(f"key-{limit}", requests_per_minute=limit)
        for _ in range(limit):
            limiter.admit(anna)
        clock.wait(reached(limiter, anna).retry_after)
        limiter.admit(anna)


def test_tokens_of_a_minute_are_counted_when_told_and_waited_off(limiter, clock):
    anna = caller(tokens_per_minute=600)
    limiter.admit(anna)
    limiter.admit(anna)
    limiter.used(anna, 599, 0.0)
    limiter.admit(anna)
    limiter.used(anna, 601, 0.0)
    error = reached(limiter, anna)
    assert 60 <= error.retry_after <= 62, "600 tokens too many, at ten a second"
    assert "600 tokens a minute, and has used 1,200" in str(error)
    clock.wait(error.retry_after)
    limiter.admit(anna)


def test_a_call_that_is_refused_for_its_tokens_takes_no_request(limiter, clock):
    anna = caller(tokens_per_minute=60, requests_per_minute=2)
    limiter.used(anna, 120, 0.0)
    for _ in range(10):
        reached(limiter, anna)
    clock.wait(61)
    limiter.admit(anna)
    limiter.admit(anna)


def test_a_clock_that_steps_back_locks_nobody_out(limiter, clock):
    anna = caller(requests_per_minute=60, tokens_per_minute=60, monthly_tokens=1000)
    for _ in range(60):
        limiter.admit(anna)
    reached(limiter, anna)
    clock.at -= timedelta(days=400)
    clock.seconds -= 5000
    reached(limiter, anna)
    clock.wait(1)
    limiter.admit(anna)
    clock.wait(60)
    for _ in range(60):
        limiter.admit(anna)


def test_a_limit_that_changes_starts_anew(limiter):
    limiter.admit(caller(requests_per_minute=1))
    reached(limiter, caller(requests_per_minute=1))
    limiter.admit(caller(requests_per_minute=2))


def test_a_budget_of_tokens_is_spent_until_the_month_ends(limiter, clock):
    anna = caller(monthly_tokens=1000)
    limiter.used(anna, 999, 0.0)
    limiter.admit(anna)
    limiter.used(anna, 5, 0.0)
    error = reached(limiter, anna, BudgetSpent)
    assert error.retry_after == 15.5 * 24 * 3600
    for fact in ("anna", "1,000 tokens in 2026-11", "has used 1,004", "2026-12-01", "ask whoever"):
        assert fact in str(error)
    assert (error.status, error_body(error)["error"]["code"]) == (429, "insufficient_quota")
    clock.wait(error.retry_after)
    limiter.admit(anna)
    assert limiter.spent(anna) == (0, 0.0)


def test_a_budget_of_money(limiter):
    anna = caller(monthly_usd=Decimal("0.01"))
    for _ in range(9):
        limiter.used(anna, 10, 0.001)
        limiter.admit(anna)
    limiter.used(anna, 10, 0.001)
    assert "$0.01 in 2026-11, and has used $0.010000" in str(reached(limiter, anna, BudgetSpent))


def test_a_budget_of_nothing_lets_nothing_pass(limiter):
    reached(limiter, caller(monthly_tokens=0), BudgetSpent)
    reached(limiter, caller(monthly_usd=Decimal(0)), BudgetSpent)


@pytest.fixture(params=["memory", "sqlite"])
def kept(request, tmp_path, monkeypatch, store):
    if request.param == "memory":
        yield store
        return
    from journeyman.config import Settings

    opened = open_store(Settings(home=tmp_path))
    yield opened
    opened.close()


async def test_a_month_starts_from_the_ledger(kept, clock):
    anna = budget(kept, monthly_tokens=1000, monthly_usd=Decimal(1))
    kept.put(*(entry(100) for _ in range(3)), entry(50, key="ben"))
    kept.put(entry(10_000, at=NOON - timedelta(days=20)), entry(7, source="gap"))
    limiter = Limiter(kept, monotonic=clock.monotonic, now=clock.now)
    await limiter.read_ledger()
    assert limiter.spent(anna) == (307, pytest.approx(0.004))
    limiter.used(anna, 100, 0.001)
    assert limiter.spent(anna) == (407, pytest.approx(0.005))
    kept.put(entry(100, at=NOON + timedelta(seconds=1)))
    await limiter.read_ledger()
    assert limiter.spent(anna)[0] == 407, "the ledger has it by now: it is not counted twice"
    limiter.used(anna, 10, 0.0)
    await limiter.read_ledger()
    assert limiter.spent(anna)[0] == 417, "the ledger has it not yet"


async def test_what_another_gateway_served_counts_too(store, limiter):
    anna = budget(store, monthly_tokens=1000)
    await limiter.read_ledger()
    limiter.used(anna, 10, 0.0)
    store.put(entry(10), entry(500, at=NOON + timedelta(seconds=5)))
    await limiter.read_ledger()
    assert limiter.spent(anna)[0] == 510
    store.put(entry(700, at=NOON + timedelta(seconds=9)))
    await limiter.read_ledger()
    reached(limiter, anna, BudgetSpent)


async def test_entries_that_come_late_are_found(store, limiter):
    anna = budget(store, monthly_tokens=10**9)
    store.put(entry(100))
    await limiter.read_ledger()
    store.put(entry(20, at=NOON - timedelta(minutes=3)))
    await limiter.read_ledger()
    assert limiter.spent(anna)[0] == 120
    store.put(entry(3, at=NOON - timedelta(days=3)))
    await limiter.read_ledger()
    assert limiter.spent(anna)[0] == 123


class AskedStore(MemoryStore):
    """A real store that remembers how many entries of the ledger it gave out, and can be away."""

    def __init__(self):
        super().__init__()
        self.given, self.away = 0, False

    def find(self, kind, *arguments, **named):
        if self.away:
            raise ConnectionError("away")
        found = super().find(kind, *arguments, **named)
        self.given += len(found) if kind is UsageEntry else 0
        return found


async def test_the_ledger_is_read_once_and_then_only_what_is_new(clock):
    store = AskedStore()
    limiter = Limiter(store, monotonic=clock.monotonic, now=clock.now)
    store.put(*(entry(1, at=NOON - timedelta(minutes=number)) for number in range(2500)))
    await limiter.read_ledger()
    assert store.given == 0, "no key has a budget"
    anna = budget(store, monthly_tokens=10**9)
    await limiter.read_ledger()
    assert (store.given, limiter.spent(anna)[0]) == (2500, 2500)
    store.put(entry(5, at=NOON + timedelta(minutes=1)))
    await limiter.read_ledger()
    assert limiter.spent(anna)[0] == 2505
    assert store.given < 2520


async def test_a_store_that_is_away_keeps_nobody_out():
    store = AskedStore()
    anna = budget(store, monthly_tokens=1000)
    store.away = True
    limiter = Limiter(store)
    await limiter.start()
    for _ in range(3000):
        if limiter.report()["last_error"] is not None:
            break
        await asyncio.sleep(0.01)
    limiter.admit(anna)
    assert "ConnectionError" in limiter.report()["last_error"]
    limiter.used(anna, 1000, 0.0)
    reached(limiter, anna, BudgetSpent)
    await limiter.close()


async def test_closing_does_not_wait_for_a_long_month(clock):
    store = AskedStore()
    budget(store, monthly_tokens=1000)
    store.put(*(entry(1, at=NOON - timedelta(seconds=number)) for number in range(30_000)))
    limiter = Limiter(store, monotonic=clock.monotonic, now=clock.now)
    await limiter.start()
    await asyncio.sleep(0.05)
    began, threads = time.monotonic(), threading.active_count()
    await limiter.close()
    await asyncio.get_running_loop().shutdown_default_executor()
    assert time.monotonic() - began < 10
    assert threading.active_count() <= threads
    assert store.given < 30_000


def test_admitting_costs_microseconds(limiter):
    anna = caller(requests_per_minute=10**9, tokens_per_minute=10**9, monthly_tokens=10**12, monthly_usd=Decimal(10**6))
    best = 1.0
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(500):
            limiter.admit(anna)
            limiter.used(anna, 10, 0.0001)
        best = min(best, (time.perf_counter() - began) / 500)
    assert best < 3e-5, f"{best * 1e6:.1f} µs"
