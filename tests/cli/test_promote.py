"""The commands around an alias: what they print, and what they refuse."""

from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from journeyman.cli.promote import aliases_command, promote_command, rollback_command
from journeyman.config import Settings
from journeyman.errors import NotFound, Refused
from journeyman.records import Adapter
from journeyman.registry.promote import history
from journeyman.store.sql import open_store

app = typer.Typer()
app.command("promote")(promote_command)
app.command("rollback")(rollback_command)
app.command("aliases")(aliases_command)

Command = Callable[..., Result]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command in a home folder where the adapters bank-1 and bank-2 exist."""
    monkeypatch.setenv("JOURNEYMAN_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    store = open_store(Settings())
    for name, id in (("bank-1", "a1"), ("bank-2", "a2")):
        store.put(Adapter(id=id, name=name, base="small", rank=16, path=name, template="1"))
    store.close()
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def test_promote_roll_back_and_list(command: Command) -> None:
    first = command("promote", "support", "bank-1", "--force", "the incumbent")
    assert first.exit_code == 0
    assert "support now answers with bank-1 (a1). Forced: the incumbent" in first.output
    assert "journeyman rollback support" in first.output
    command("promote", "support", "bank-2", "--force", "hope")
    assert "bank-2 (a2)" in command("aliases").output
    back = command("rollback", "support", "--reason", "it was worse")
    assert "support answers with bank-1 (a1) again. Rollback: it was worse" in back.output
    listed = command("aliases")
    assert "bank-1 (a1)" in listed.output
    assert "bank-2 (a2)" not in listed.output


def test_the_history_of_one_alias_shows_every_step(command: Command) -> None:
    command("promote", "support", "bank-1", "--force", "first")
    command("promote", "support", "bank-2", "--force", "second")
    command("rollback", "support")
    shown = command("aliases", "support").output
    for why in ("Forced: first", "Forced: second", "Rollback: rolled back from a2"):
        assert why in shown


def test_no_alias_yet_says_how_to_make_one(command: Command) -> None:
    assert "journeyman promote ALIAS ADAPTER" in command("aliases").output


def test_without_evidence_nothing_changes(command: Command, tmp_path: Path) -> None:
    refused = command("promote", "support", "bank-1")
    assert isinstance(refused.exception, Refused)
    assert refused.exception.exit_code == 3
    assert history(open_store(Settings()), "support") == []


def test_an_empty_reason_does_not_force(command: Command) -> None:
    refused = command("promote", "support", "bank-1", "--force", "")
    assert isinstance(refused.exception, Refused)


@pytest.mark.parametrize(
    "arguments",
    [
        ("promote", "support", "bank-9"),
        ("promote", "support", "bank-1", "--report", "no-such-report"),
        ("rollback", "support"),
        ("aliases", "support"),
    ],
)
def test_what_does_not_exist_ends_with_exit_code_2(command: Command, arguments: tuple[str, ...]) -> None:
    missing = command(*arguments)
    assert isinstance(missing.exception, NotFound)
    assert missing.exception.exit_code == 2
