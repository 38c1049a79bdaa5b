"""The monthly statement: exactly what was booked in that month, and lines that add up."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from journeyman.errors import InvalidInput
from journeyman.gateway.statement import month_of, statement
from journeyman.records import Usage, UsageEntry
from journeyman.store.memory import MemoryStore
from journeyman.store.sql import SqlStore

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)


def entry(**fields):
    known = {"request": "r", "key": "anna", "alias": "support", "upstream": "engine", "model": "tiny",
             "source": "engine", "at": NOVEMBER, "usage": Usage(prompt_tokens=10, completion_tokens=5)}  # fmt: skip
    return UsageEntry.model_validate({**known, **fields})


@pytest.fixture(params=["sql", "memory"])
def store(request, tmp_path):
    opened = SqlStore(f"sqlite:///{tmp_path / 'store.db'}") if request.param == "sql" else MemoryStore()
    yield opened
    opened.close()


def test_a_month_has_its_own_entries_and_no_others(store):
    last = datetime(2026, 11, 30, 23, 59, 59, 999999, tzinfo=UTC)
    december = datetime(2026, 12, 1, tzinfo=UTC)
    moments = (NOVEMBER - timedelta(microseconds=1), NOVEMBER, last, december)
    store.put(*(entry(request=str(at), at=at) for at in moments))
    assert [statement(store, month).total.calls for month in ("2026-10", "2026-11", "2026-12")] == [1, 2, 1]


def test_each_use_has_a_line_and_the_total_is_their_sum(store):
    store.put(
        entry(request="1", picodollars=1_400_000),
        entry(request="2", picodollars=1_400_000, adapter="7f"),
        entry(request="3", picodollars=1_400_000, key="bert"),
        entry(request="3", picodollars=None, key="bert", model="other"),
        entry(request="4", source="untold", usage=Usage(), key="bert", model="other"),
        entry(source="gap", note="2 entries were dropped", request=""),
    )
    made = statement(store, "2026-11")
    assert [(line.key, line.adapter, line.model) for line in made.lines] == [
        ("anna", "7f", "tiny"), ("anna", None, "tiny"), ("bert", None, "other"), ("bert", None, "tiny"),
    ]  # fmt: skip
    costs = [line.cost_usd for line in made.lines]
    assert sorted(cost for cost in costs if cost) == ["0.000001", "0.000001", "0.000002"], "three times 1.4 are 4.2"
    assert costs[2] is None
    assert made.total.cost_usd == "0.000004"
    assert (made.total.calls, made.total.unpriced, made.total.untold) == (5, 1, 1)
    assert made.notes == ("2026-11-01 00:00 UTC: 2 entries were dropped",)


def test_csv_and_json_say_the_same(store):
    store.put(entry(request="1", picodollars=2_000_000), entry(request="2", alias='a "quoted", name', picodollars=None))
    made = statement(store, "2026-11")
    rows = list(csv.DictReader(io.StringIO(made.to_csv())))
    read = json.loads(made.to_json())
    assert [row["key"] for row in rows] == ["anna", "anna", "total"]
    for row, line in zip(rows, [*read["lines"], read["total"]], strict=True):
        assert (row["alias"], row["cost_usd"]) == (line["alias"] or "", line["cost_usd"] or "")
        assert int(row["prompt_tokens"]) == line["usage"]["prompt_tokens"]
        assert int(row["unpriced_calls"]) == line["unpriced"]
    assert read["over"] is (datetime.now(UTC) >= datetime(2026, 12, 1, tzinfo=UTC))


def test_an_empty_month_is_an_empty_statement(store):
    made = statement(store, "2020-02")
    assert (made.lines, made.total.calls, made.total.cost_usd, made.over) == ((), 0, None, True)
    assert len(made.to_csv().splitlines()) == 2


@pytest.mark.parametrize("text", ["2026", "2026-13", "2026-00", "11-2026", "2026-1", "0000-01", "9999-12", ""])
def test_a_month_that_is_none_is_refused(text):
    with pytest.raises(InvalidInput, match="such as 2026-11"):
        month_of(text)


def test_december_ends_with_the_year():
    assert month_of("2026-12")[1] == datetime(2027, 1, 1, tzinfo=UTC)


booked = st.builds(
    entry,
    id=st.uuids().map(str),
    request=st.sampled_from("abcdef"),
    key=st.sampled_from(["anna", "bert", "anonymous"]),
    alias=st.sampled_from([None, "support", "sales"]),
    adapter=st.sampled_from([None, "7f"]),
    picodollars=st.none() | st.integers(0, 10**10),
    usage=st.builds(Usage, prompt_tokens=st.integers(0, 9999), completion_tokens=st.integers(0, 9999)),
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=st.lists(booked, max_size=30))
def test_a_statement_reconciles_with_the_ledger_to_the_token_and_to_the_microdollar(entries):
    store = MemoryStore()
    store.put(*entries)
    made = statement(store, "2026-11")
    assert made.total.usage.total_tokens == sum(each.usage.total_tokens for each in entries)
    assert made.total.usage.prompt_tokens == sum(line.usage.prompt_tokens for line in made.lines)
    shown = [Decimal(line.cost_usd) for line in made.lines if line.cost_usd is not None]
    assert sum(shown) == Decimal(made.total.cost_usd or 0)
    exact = sum(each.picodollars or 0 for each in entries)
    assert abs(sum(shown) * 10**12 - exact) <= 10**6 // 2
