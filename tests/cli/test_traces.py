import json
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from journeyman.cli.traces import app
from journeyman.config import Settings
from journeyman.errors import InvalidInput, NotFound
from journeyman.records import Choice, Exchange, Trajectory, Usage
from journeyman.records.message import assistant, call, system, tool_result, user
from journeyman.store.sql import open_store

FIRST, SECOND = "0192aaaa0000000000000000000000f1", "0192bbbb0000000000000000000000f2"


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("JOURNEYMAN_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "250")

    def invoke(*arguments: str) -> str:
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return invoke


@pytest.fixture
def captured(run):
    asked = call("call_1", "balance", account=7)
    exchanges = [
        Exchange(
            id=FIRST,
            at=datetime(2026, 7, 1, 12, tzinfo=UTC),
            model="support",
            state="complete",
            upstream="engine",
            session="anna",
            messages=(
                system("Be brief."),
                user("My balance,\nplease? [bold]now[/bold]"),
                asked,
                tool_result("call_1", "12.00"),
            ),
            choices=(Choice(message=assistant("You have \x1b[31m12.00 €."), finish_reason="stop"),),
            usage=Usage(prompt_tokens=100, completion_tokens=20),
            cost_usd=0.00012,
            latency=1.5,
            status=200,
            tags={"stage": "production"},
        ),
        Exchange(id=SECOND, at=datetime(2026, 7, 2, tzinfo=UTC), model="gpt", state="failed", error="no answer"),
    ]
    store = open_store(Settings())
    store.put(*exchanges)
    store.close()
    return exchanges


def test_list_shows_the_newest_first(run, captured):
    header, newest, oldest, summary = run("list").splitlines()
    assert " ".join(header.split()) == "time (UTC) id model state session tokens cost latency user reply"
    assert newest.split()[2:6] == [SECOND[-8:], "gpt", "failed", "-"]
    assert "07-01 12:00:00" in oldest
    for shown in ("support", "anna", "120", "$0.000120", "1.50 s", "My balance, please? [bold]now[/bold]"):
        assert shown in oldest
    assert summary == "2 of 2 calls"


def test_a_narrow_terminal_still_shows_ids_and_numbers(run, captured, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    oldest = run("list").splitlines()[2]
    assert all(shown in oldest for shown in (FIRST[-8:], "120", "$0.000120", "1.50 s"))


def test_list_filters_and_limits(run, captured):
    assert '1 of 1 calls where model = "support"' in run("list", "--where", "model = support")
    assert "1 of 2 calls" in run("list", "--limit", "1")
    assert "0 of 0 calls" in run("list", "--where", "model = nobody")


def test_list_as_json_gives_whole_exchanges(run, captured):
    lines = run("list", "--json").splitlines()
    assert [Exchange.model_validate(json.loads(line)) for line in lines] == captured[::-1]


def test_show_tells_the_conversation_and_what_is_known(run, captured):
    shown = run("show", FIRST)
    turns = ["system", "Be brief.", "user", "[bold]now[/bold]", "assistant", 'balance({"account"', "tool", "12.00"]
    positions = [shown.index(turn) for turn in turns]
    assert positions == sorted(positions)
    for fact in ("anna", "stage=production", "100 tokens", "$0.000120", "1.500 s", "complete", "stop"):
        assert fact in shown


def test_what_a_model_wrote_cannot_steer_the_terminal(run, captured):
    assert "\x1b" not in run("show", FIRST) + run("list")


def test_show_as_json(run, captured):
    assert Exchange.model_validate(json.loads(run("show", SECOND, "--json"))) == captured[1]


@pytest.mark.parametrize("part", ["0192bbbb", "f2", SECOND])
def test_an_id_may_be_given_by_its_start_or_end(run, captured, part):
    assert "failed: no answer" in run("show", part)


def test_ids_that_fit_several_or_none_are_refused(run, captured):
    with pytest.raises(InvalidInput, match=f"2 exchanges have an id .* {SECOND}, {FIRST}"):
        run("show", "0192")
    with pytest.raises(NotFound, match="journeyman traces list"):
        run("show", "aaaa")


def test_a_filter_that_cannot_be_read_is_refused(run):
    with pytest.raises(InvalidInput, match="expected `field operator value`"):
        run("list", "--where", "model")


@pytest.fixture
def session(run):
    """Two tries at a first call, of which the second went on, and a sub-agent's call."""
    asked = [system("Be brief."), user("My balance?")]
    which = assistant("Which [red]account[/red]?")

    def made(number, messages, *replies, **fields):
        at = datetime(2026, 7, 1, 12, 0, number, tzinfo=UTC)
        choices = tuple(Choice(message=reply, finish_reason="stop") for reply in replies)
        fields = {"state": "complete", "session": "anna", "trace": "ab" * 16, **fields}
        return Exchange(id=f"{number:032x}", at=at, model="support", messages=messages, choices=choices, **fields)

    exchanges = [
        made(1, asked, state="failed"),
        made(2, asked, which),
        made(3, [*asked, which, user("7")], call("call_1", "balance", account=7)),
        made(4, [system("Look it up."), user("7")], assistant("12.00")),
        made(5, [user("another session")], assistant("Yes"), session="berta", trace=None),
    ]
    store = open_store(Settings())
    store.put(*exchanges)
    store.close()
    return exchanges


@pytest.mark.parametrize("name", ["anna", "ab" * 16])
def test_a_session_is_shown_as_its_conversations(run, session, name):
    lines = run("session", name).splitlines()
    assert [line for line in lines if line.startswith("conversation")] == [
        "conversation 1: 3 calls, 2 branches",
        "conversation 2: 1 call, 1 branch",
    ]
    assert lines[1:4] == [
        "  │ 12:00:01 00000001 failed support My balance? → -",
        "  12:00:02 00000002 support My balance? → Which [red]account[/red]?",
        '  12:00:03 00000003 support 7 → balance({"account":7})',
    ]
    assert lines[-1].startswith("4 of 4 calls where ")


def test_a_session_as_json_gives_a_trajectory_per_branch(run, session):
    trajectories = [Trajectory.model_validate_json(line) for line in run("session", "anna", "--json").splitlines()]
    assert [(each.session, each.turns, each.error) for each in trajectories] == [
        ("anna", 1, "failed"),
        ("anna", 2, None),
        ("anna", 1, None),
    ]


def test_a_session_that_is_not_there_names_some_that_are(run, session):
    with pytest.raises(NotFound, match="berta"):
        run("session", "nobody")
