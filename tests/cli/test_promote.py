"""The commands around an alias: what they print, and what they refuse."""

from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from journeyman.cli.adapters import app as adapters_app
from journeyman.cli.promote import aliases_command, promote_command, rollback_command
from journeyman.config import Settings
from journeyman.errors import InvalidInput, NotFound, Refused
from journeyman.records import Adapter, CaseResult, EvalReport, ModelReport
from journeyman.registry.promote import history
from journeyman.statistics import proportion
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
    monkeypatch.chdir(tmp_path)
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


def test_a_split_is_shown_with_its_shares(command: Command) -> None:
    made = command("promote", "support", "--split", "bank-1=90, bank-2=10", "--force", "trial")
    assert "support now answers with bank-1 (a1) 90%, bank-2 (a2) 10%. Forced: trial" in made.output
    assert "bank-1 (a1) 90%, bank-2 (a2) 10%" in command("aliases").output
    promotion = history(open_store(Settings()), "support")[0]
    assert [(share.target, share.weight) for share in promotion.shares] == [("a1", 90), ("a2", 10)]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("bank-1", "--split", "bank-1=1,bank-2=1"),
        ("--split", "bank-1=90"),
        ("--split", "bank-1=90,bank-2"),
        ("--split", "bank-1=90,bank-2=0"),
        ("--split", "bank-1=90,bank-2=-1"),
        ("--split", "bank-1=90,bank-2=nan"),
        ("--split", "bank-1=90,=10"),
        ("--split", "bank-1=90,bank-1=10"),
        ("--split", "bank-1=90,a1=10"),
    ],
)
def test_what_is_no_split_is_refused_and_changes_nothing(command: Command, arguments: tuple[str, ...]) -> None:
    refused = command("promote", "support", *arguments, "--force", "x")
    assert isinstance(refused.exception, InvalidInput)
    assert history(open_store(Settings()), "support") == []


def test_the_gates_of_the_folder_are_read_and_each_verdict_is_shown(command: Command, tmp_path: Path) -> None:
    store = open_store(Settings())
    store.put(report("small", "-" * 30, "a1", "+" * 30))
    store.close()
    (tmp_path / "journeyman-gates.toml").write_text('[gain]\nmargin = 0.5\n[judge]\ncard = "politeness"\n')
    refused = command("promote", "support", "bank-1")
    assert isinstance(refused.exception, Refused)
    assert "holds no verdicts of a judge, so the card 'politeness'" in str(refused.exception)
    forced = command("promote", "support", "bank-1", "--force", "no judges yet")
    assert "passed gain: report" in forced.output
    assert "FAILED judge: " in forced.output
    assert f"Gates: {tmp_path / 'journeyman-gates.toml'}" in forced.output
    assert "Forced: no judges yet (against the gates: judge)" in command("aliases").output


def test_a_gates_file_that_is_misspelt_stops_even_a_forced_promotion(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[gian]\nmargin = 0.5\n")
    refused = command("promote", "support", "bank-1", "--gates", str(tmp_path / "mine.toml"), "--force", "x")
    assert isinstance(refused.exception, InvalidInput)
    missing = command("promote", "support", "bank-1", "--gates", str(tmp_path / "none.toml"), "--force", "x")
    assert isinstance(missing.exception, InvalidInput)
    assert history(open_store(Settings()), "support") == []


def test_the_family_tree_is_drawn(command: Command) -> None:
    store = open_store(Settings())
    store.put(Adapter(id="a3", name="bank-3", base="small", rank=16, path="p", template="1", parent="a2"))
    store.close()
    command("promote", "support", "bank-3", "--force", "first")
    lines = CliRunner().invoke(adapters_app, ["tree"]).output.splitlines()
    assert lines[0] == "small"
    assert any(line.startswith(("└── bank-2 (a2)", "├── bank-2 (a2)")) for line in lines)
    (child,) = [line for line in lines if "bank-3 (a3)" in line]
    assert child.index("bank-3") > 4
    assert child.endswith("← support")


def report(one: str, outcomes: str, other: str, others: str) -> EvalReport:
    return EvalReport(suite="bank", seed=1, models=(measured(one, outcomes), measured(other, others)), differences=())


def measured(model: str, outcomes: str) -> ModelReport:
    cases = tuple(
        CaseResult(
            scenario_id=f"case-{number}",
            kind="balance",
            success=letter == "+",
            reason="",
            turns=1,
            prompt_tokens=1,
            completion_tokens=1,
            cost_usd=None,
            latency=0.1,
            session=f"{model}-{number}",
        )
        for number, letter in enumerate(outcomes)
    )
    return ModelReport(
        model=model,
        success=proportion(outcomes.count("+"), len(outcomes)),
        turns=1,
        prompt_tokens=1,
        completion_tokens=1,
        cost_usd_per_thousand=None,
        latency_p50=0.1,
        latency_p95=0.1,
        errors=0,
        cases=cases,
    )
