"""`journeyman keys` and `journeyman feedback` as a person meets them."""

import json
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal

import pytest
import typer
from typer.testing import CliRunner

from journeyman.cli import feedback, keys
from journeyman.config import Settings
from journeyman.errors import InvalidInput, NotFound
from journeyman.gateway.keys import hash_of
from journeyman.records import ApiKey, Feedback, KeyRevocation, Tagging
from journeyman.store.sql import open_store


@pytest.fixture
def run(home, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    app = typer.Typer()
    app.add_typer(keys.app, name="keys")
    app.add_typer(feedback.app, name="feedback")

    def invoke(*arguments: str):
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result

    return invoke


def stored(kind):
    with closing(open_store(Settings())) as store:
        return list(store.find(kind))


def test_a_key_is_printed_once_and_its_hash_alone_is_kept(run, home):
    made = run("keys", "add", "anna")
    key = made.stdout.strip()
    [kept] = stored(ApiKey)
    assert (kept.hash, kept.fingerprint) == (hash_of(key), hash_of(key)[:12])
    assert kept.fingerprint in made.stderr
    assert "first key" in made.stderr
    assert "first key" not in run("keys", "add", "ben").stderr
    assert key not in run("keys", "list").output + run("keys", "list", "--json").output
    assert not [path for path in home.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]


def test_a_key_has_what_was_asked_for(run):
    run(
        *("keys", "add", "anna", "--project", "bank", "--alias", "support", "--alias", "acme/*", "--durable"),
        *("--expires", "2199-01-01", "--requests-per-minute", "60", "--tokens-per-minute", "90000"),
        *("--monthly-tokens", "5000000", "--monthly-usd", "12.50", "--on-hang-up", "drain"),
    )
    [key] = stored(ApiKey)
    assert (key.name, key.project, key.aliases) == ("anna", "bank", ("support", "acme/*"))
    assert (key.durable, key.on_hang_up, key.expires) == (True, "drain", datetime(2199, 1, 1, tzinfo=UTC))
    limits = key.limits
    assert (limits.requests_per_minute, limits.tokens_per_minute) == (60, 90000)
    assert (limits.monthly_tokens, limits.monthly_usd) == (5_000_000, Decimal("12.50"))
    listed = run("keys", "list").stdout
    for fact in (key.fingerprint, "bank", "support, acme/*", "60 requests/min", "$12.50/month", "2199-01-01", "good"):
        assert fact in listed
    shown = json.loads(run("keys", "list", "--json").stdout)
    assert (shown["fingerprint"], shown["state"]) == (key.fingerprint, "good")
    assert "hash" not in shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--expires", "tomorrow"), "'tomorrow' is not a time"),
        (("--expires", "2020-01-01"), "over already"),
        (("--monthly-usd", "much"), "'much' is not an amount"),
        (("--monthly-usd", "-1"), "not an amount"),
        (("--monthly-usd", "inf"), "not an amount"),
        (("--project", " "), "project"),
    ],
)
def test_what_makes_no_sense_makes_no_key(run, arguments, says):
    with pytest.raises(InvalidInput) as caught:
        run("keys", "add", "anna", *arguments)
    assert says in str(caught.value)
    assert not stored(ApiKey)


def test_a_key_is_revoked_for_good(run):
    run("keys", "add", "anna")
    run("keys", "add", "ben")
    ben, anna = stored(ApiKey)
    done = run("keys", "revoke", anna.fingerprint, "--reason", "left")
    assert f"{anna.fingerprint} (anna) is revoked" in done.stdout
    assert "No good key" not in done.stderr
    [revocation] = stored(KeyRevocation)
    assert (revocation.fingerprint, revocation.reason, revocation.by) == (anna.fingerprint, "left", "cli")
    assert "already" in run("keys", "revoke", anna.fingerprint).stdout
    assert len(stored(KeyRevocation)) == 1
    states = {
        each["name"]: each["state"] for each in map(json.loads, run("keys", "list", "--json").stdout.splitlines())
    }
    assert states == {"anna": "revoked", "ben": "good"}
    assert "No good key is left" in run("keys", "revoke", ben.fingerprint).stderr


def test_revoking_names_the_keys_that_there_are(run):
    run("keys", "add", "anna")
    with pytest.raises(NotFound) as caught:
        run("keys", "revoke", "anna")
    assert stored(ApiKey)[0].fingerprint in str(caught.value)


def test_without_keys_the_list_says_what_that_means(run):
    assert "answers everyone there" in run("keys", "list").stdout


def test_feedback_is_added_from_the_command_line(run):
    run("feedback", "add", "success", "--value", "0.5", "--session", "s1", "--turn", "2", "--reason", "slow")
    [kept] = stored(Feedback)
    said = (kept.name, kept.value, kept.session, kept.turn, kept.reason, kept.by)
    assert said == ("success", 0.5, "s1", 2, "slow", "cli")
    run("feedback", "add", "--external-id", "mine", "--correction", "Say this.", "--tag", "stage=test", "--by", "anna")
    assert stored(Feedback)[0].correction.text == "Say this."
    [tagging] = stored(Tagging)
    assert (tagging.tags, tagging.external_id, tagging.by) == ({"stage": "test"}, "mine", "anna")


@pytest.mark.parametrize("arguments", [("success", "--session", "s"), ("success", "--value", "1"), ("--tag", "x")])
def test_feedback_that_says_nothing_is_refused(run, arguments):
    with pytest.raises(InvalidInput):
        run("feedback", "add", *arguments)
    assert not stored(Feedback)
