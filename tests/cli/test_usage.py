"""`journeyman usage` as a person meets it."""

import csv
import json
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from journeyman.cli.usage import app
from journeyman.config import Settings
from journeyman.errors import InvalidInput, UpstreamFailed
from journeyman.records import Adapter, Exchange, Usage, UsageEntry
from journeyman.store.sql import open_store

NOVEMBER = datetime(2020, 11, 3, tzinfo=UTC)


@pytest.fixture
def run(home, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")

    def invoke(*arguments: str):
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result

    return invoke


def entry(request: str, **fields):
    usage = Usage(prompt_tokens=1000, cached_prompt_tokens=400, completion_tokens=50)
    known = {"key": "anna", "alias": "support", "upstream": "engine", "model": "tiny", "source": "engine"}
    fields = {"request": request, "at": NOVEMBER, "usage": usage, **known, **fields}
    return UsageEntry.model_validate(fields)


@pytest.fixture
def booked(run):
    store = open_store(Settings())
    store.put(
        Adapter(id="7f", name="bank", base="tiny", rank=2, path="p", template="t"),
        entry("1", picodollars=2_000_000_000, adapter="7f"),
        entry("1", picodollars=1_000_000_000, adapter="7f", usage=Usage(completion_tokens=50)),
        entry("2", key="bert", at=NOVEMBER.replace(day=9), picodollars=None),
        entry("3", source="untold", usage=Usage(), alias="acme/m", upstream="acme", model="m"),
        entry("", source="gap", note="2 entries were dropped"),
    )
    store.close()


def cells(line: str) -> list[str]:
    return line.split()


def test_usage_adds_up_by_alias(run, booked):
    lines = run().stdout.splitlines()
    assert cells(lines[0]) == ["alias", "calls", "prompt", "cached", "completion", "cost"]
    assert cells(lines[1]) == ["acme/m", "1", "0", "0", "0", "no", "price"]
    assert cells(lines[2]) == ["support", "2", "2,000", "800", "150", "$0.003000"]
    assert cells(lines[3]) == ["total", "3", "2,000", "800", "150", "$0.003000"]
    assert lines[4].startswith("Calls without a price, and not in the cost: 1")
    assert lines[5].startswith("Calls that ended before their provider said how many tokens they took: 1")


def test_gaps_are_told_beside_the_table(run, booked):
    assert "2 entries were dropped" in run().stderr


def test_usage_by_several_fields_names_adapters(run, booked):
    said = run("--by", "adapter,key").stdout
    assert "bank (7f)" in said
    days = run("--by", "day").stdout
    assert "2020-11-03" in days
    assert "2020-11-09" in days


def test_usage_of_a_time(run, booked):
    said = run("--by", "key", "--since", "2020-11-04", "--until", "2020-11-10").stdout
    assert "bert" in said
    assert "anna" not in said
    assert "Nothing was served" in run("--since", "2021-01-01").stdout


def test_usage_as_json_keeps_ids_and_exact_numbers(run, booked):
    rows = [json.loads(line) for line in run("--by", "adapter", "--json").stdout.splitlines()]
    assert rows[0] == {
        "adapter": "7f", "calls": 1, "prompt_tokens": 1000, "completion_tokens": 100, "cached_prompt_tokens": 400,
        "unpriced_calls": 0, "untold_calls": 0, "cost_usd": "0.003000",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--by", "colour"), "there is: key, alias"),
        (("--since", "yesterday"), "--since 'yesterday' is not a time"),
        (("--json", "reconcile"), "do not go with"),
        (("statement", "--month", "May"), "such as 2026-11"),
        (("compare", "bank", "--teacher", "gpt"), "nothing to compare"),
    ],
)
def test_what_cannot_be_understood_is_refused(run, booked, arguments, says):
    with pytest.raises(InvalidInput, match=says):
        run(*arguments)


def test_a_statement_is_printed_or_written(run, booked, tmp_path):
    printed = run("statement", "--month", "2020-11")
    assert [row["key"] for row in csv.DictReader(printed.stdout.splitlines())] == ["anna", "anna", "bert", "total"]
    assert "2 entries were dropped" in printed.stderr
    out = tmp_path / "november.json"
    said = run("statement", "--month", "2020-11", "--format", "json", "--out", str(out)).stdout
    assert said == f"3 lines in {out}; total $0.003000\n"
    assert json.loads(out.read_text())["total"]["usage"]["completion_tokens"] == 150
    with pytest.raises(InvalidInput, match="cannot write"):
        run("statement", "--month", "2020-11", "--out", str(tmp_path / "no" / "folder.csv"))


def test_a_statement_of_this_month_says_that_it_will_grow(run):
    assert "not over yet" in run("statement", "--month", f"{datetime.now(UTC):%Y-%m}").stderr


def test_reconcile_without_a_gateway_says_what_to_do(run):
    with pytest.raises(UpstreamFailed, match="journeyman up"):
        run("reconcile", "--url", "http://127.0.0.1:9")


def test_compare_shows_both_and_the_share(run, booked):
    store = open_store(Settings())
    for number in range(24):
        usage = Usage(prompt_tokens=500 + number, completion_tokens=20)
        session = f"s{number // 2}"
        store.put(
            Exchange(model="support", served="smollm2-135m", upstream="engine", adapter="7f", state="complete",
                     usage=usage, session=session),
            Exchange(model="acme/gpt-4.1", served="gpt-4.1", upstream="acme", state="complete", usage=usage,
                     session=session),
        )  # fmt: skip
    store.put(Adapter(id="8e", name="shop", base="smollm2-135m", rank=2, path="p", template="t"))
    store.put(
        Exchange(model="shop", served="smollm2-135m", adapter="8e", state="complete", usage=Usage(prompt_tokens=9))
    )
    store.close()
    unpriced = run("compare", "bank", "--teacher", "acme/gpt-4.1").stdout
    assert "No price for bank" in unpriced
    few = run("compare", "shop", "--teacher", "acme/gpt-4.1").stdout
    assert "no interval" in few
    rows = json.loads(run("compare", "shop", "--teacher", "acme/gpt-4.1", "--json").stdout)
    assert (rows["adapter"]["calls"], rows["teacher"]["calls"], rows["teacher"]["conversations"]) == (1, 24, 12)
    assert rows["teacher"]["interval"]["low"] < rows["teacher"]["usd_per_thousand"]
