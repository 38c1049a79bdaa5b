import asyncio
import json

import pytest
import typer
from typer.testing import CliRunner

from journeyman.capture.redact import redactor_of
from journeyman.cli.forget import forget_command
from journeyman.config import Settings
from journeyman.datasets.build import build_dataset
from journeyman.datasets.versions import find_dataset, load_rows
from journeyman.errors import InvalidInput
from journeyman.evals import Journal, Judge, evaluate, load_cases, save, save_versus, versus
from journeyman.evals.journal import hold
from journeyman.records import Choice, Dataset, EvalReport, Exchange, Feedback, Filter, Message
from journeyman.records.message import assistant, user
from journeyman.store.sql import open_store
from tests.evals.players import Players, judging, says

app = typer.Typer()
app.command()(forget_command)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("JOURNEYMAN_HOME", str(tmp_path / "home"))

    def invoke(*arguments: str, code: int = 0, say: str = "") -> str:
        result = CliRunner().invoke(app, arguments, input=say, catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result.stdout

    return invoke


@pytest.fixture
def store(run):
    opened = open_store(Settings())
    for number in range(10):
        opened.put(
            Exchange(
                model="m",
                state="complete",
                session=f"s{number}",
                person="ana" if number < 3 else "bo",
                messages=(user(f"question {number}"),),
                choices=(Choice(message=assistant(f"answer {number}"), finish_reason="stop"),),
            )
        )
    opened.put(Feedback(session="s0", name="good", value=1, by="t"))
    yield opened
    opened.close()


def test_it_shows_asks_and_erases(run, store):
    told = run("--person", "ana", say="n\n", code=1)
    assert "to be erased: 3 calls, 3 whole sessions, 1 pieces of feedback" in told
    assert store.count(Exchange) == {"": 10}
    told = run("--person", "ana", say="y\n")
    assert "\nerased: 3 calls" in told
    assert (store.count(Exchange), store.count(Feedback)) == ({"": 7}, {"": 0})


def test_by_session_and_by_filter(run, store):
    assert "erased: 1 calls, 1 whole sessions" in run("--session", "s9", "--yes")
    assert "erased: 5 calls" in run("--where", 'person = bo and session != "s8"', "--yes")
    assert "nothing matches" in run("--where", "model = other")
    assert store.count(Exchange) == {"": 4}


@pytest.mark.parametrize(
    "arguments",
    [(), ("--person", "a", "--session", "b"), ("--retention", "--person", "a"), ("--retention", "--datasets")],
)
def test_exactly_one_thing_to_forget_must_be_named(run, store, arguments):
    with pytest.raises(InvalidInput, match="nothing was removed"):
        run(*arguments)


def test_a_filter_that_holds_for_everything_is_refused(run, store):
    with pytest.raises(InvalidInput, match="nothing was removed"):
        run("--where", "()", "--yes")
    assert store.count(Exchange) == {"": 10}


def test_datasets_that_hold_it_are_told_and_rewritten(run, store):
    folder = Settings().home / "datasets"
    old = build_dataset(store, folder, "bank", Filter(), 0.2)
    assert build_dataset(store, folder, "bank", Filter(), 0.2).path == old.path
    bo = build_dataset(store, folder, "bo", Filter.parse("person = bo"), 0.2)
    assert f"dataset bank@{old.version} still holds 1 rows of it" in run("--session", "s0", "--yes")
    told = run("--person", "ana", "--yes", "--datasets")
    # The row of the session erased before is known by its id, which is all that is left of it.
    assert f"dataset bank@{old.version}: 3 rows removed" in told
    assert f"bo@{bo.version}" not in told
    new = find_dataset(store, "bank")
    assert new.version != old.version
    rows = load_rows(new)
    assert len(rows) == 7
    assert not {"question 0", "question 1", "question 2"} & {row.messages[0].text for row in rows}
    with pytest.raises(InvalidInput, match="cannot read"):
        load_rows(old)
    assert store.get(Dataset, old.id) == old


def test_rows_of_a_longer_conversation_are_known_by_their_words(run, store):
    """The dataset holds the last call of a conversation; erasing an earlier one finds the row by what it says."""
    first = Exchange(model="m", state="complete", session="long", person="ana", messages=(user("one"),),
                     choices=(Choice(message=assistant("1")),))  # fmt: skip
    second = Exchange(model="m", state="complete", session="long", person="ana",
                      messages=(user("one"), assistant("1"), user("two")),
                      choices=(Choice(message=Message(role="assistant", content="2")),))  # fmt: skip
    store.put(first, second)
    old = build_dataset(
        store, Settings().home / "datasets", "talk", Filter.parse("session = long or session = s9"), 0.5
    )
    store.forget(Exchange, Filter.parse(f"id = {second.id}"))
    assert f"talk@{old.version}: 1 rows removed" in run("--person", "ana", "--yes", "--datasets")


def test_datasets_built_afterwards_never_hold_it(run, store):
    run("--person", "ana", "--yes")
    built = build_dataset(store, Settings().home / "datasets", "bank", Filter(), 0.2)
    assert len(load_rows(built)) == 7


def test_retention_by_the_settings(run, store, monkeypatch):
    with pytest.raises(InvalidInput, match="no retention rule"):
        run("--retention")
    rules = '[{"where": "person = ana", "keep_days": 1e-9}, {"keep_days": 90}]'
    monkeypatch.setenv("JOURNEYMAN_RETENTION", rules)
    told = run("--retention", "--yes")
    assert "3 calls are older than 1e-09 days: person = ana\n0 calls are older than 90 days\n" in told
    assert "3 calls removed" in told
    assert store.count(Exchange) == {"": 7}


def test_a_person_whose_name_is_redacted_is_found_by_the_name_itself(run, store, monkeypatch):
    rules = '{"rules": ["email"], "identifiers": true, "key": "sixteen letters or more"}'
    monkeypatch.setenv("JOURNEYMAN_REDACTION", rules)
    redacted = redactor_of(Settings().redaction, Settings().home).text("cy@example.org")
    assert redacted != "cy@example.org"
    store.put(Exchange(model="m", state="complete", person=redacted))
    assert "erased: 1 calls" in run("--person", "cy@example.org", "--yes")


def test_raw_bytes_that_it_cannot_reach_are_told(run, store):
    spool = Settings().home / "spool"
    (spool / "aside").mkdir(parents=True)
    (spool / "aside" / "x.frames").write_bytes(b"?")
    (spool / "aside" / "x.frames.why").write_text("{}")
    (spool / "gateway-1-1-000001.spool").write_bytes(b"")
    told = run("--person", "ana", "--yes")
    assert "1 segments are not archived yet" in told
    assert "1 files in" in told


@pytest.fixture
def evaluated(run, store, tmp_path):
    """An evaluation of two cases, one of which is what Ana had asked; the models' calls are in the store."""
    folder = Settings().home / "evals"
    cases = tmp_path / "cases.jsonl"
    check = {"type": "exact", "answer": "yes"}
    asked = [[{"role": "user", "content": said}] for said in ("question 0", "question 9")]
    rows = [{"id": f"c{number}", "messages": each, "check": check} for number, each in enumerate(asked)]
    cases.write_text("\n".join(map(json.dumps, rows)))
    engine = Players(one=says("secret of one"), two=says("yes"), judge=judging(lambda shown: "1"))
    journal = Journal(folder)
    report = asyncio.run(evaluate(load_cases(cases), ["one", "two"], engine, journal=journal))
    page, _ = save(report, store, folder, journal.finished)
    journal.keep_as(page.with_suffix(".transcripts.jsonl"))
    journal = Journal(folder)
    judge = Judge(engine, "judge")
    compared = asyncio.run(versus(load_cases(cases), "one", "two", engine, judge, rubric="kind", journal=journal))
    other, _ = save_versus(compared, folder, journal.finished)
    journal.keep_as(other.with_suffix(".transcripts.jsonl"))
    for case in report.models[0].cases:
        store.put(Exchange(model="one", state="complete", session=case.session, tags={"stage": "eval"}))
    return report, folder


def test_evaluations_keep_their_numbers_and_lose_the_words(run, store, evaluated):
    report, folder = evaluated
    files = {path: path.read_text() for path in folder.iterdir()}
    assert any("question 0" in text for text in files.values())
    told = run("--person", "ana", "--yes")
    assert "evaluations: 4 conversations removed, and 1 calls that made them; 2 reports written again" in told
    for path, before in files.items():
        now = path.read_text()
        assert "question 0" not in now, path.name
        assert ("question 9" in now) == ("question 9" in before), path.name
    kept = store.get(EvalReport, report.id)
    assert [model.success for model in kept.models] == [model.success for model in report.models]
    assert kept.models[0].cases[0].reason == "erased"
    assert kept.models[0].cases[1] == report.models[0].cases[1]
    sessions = [case.session for case in report.models[0].cases]
    assert [store.count(Exchange, Filter.parse(f"session = {each}"))[""] for each in sessions] == [0, 1]
    again = {path: path.read_text() for path in folder.iterdir()}
    assert "evaluations:" not in run("--person", "ana", "--yes")
    assert again == {path: path.read_text() for path in folder.iterdir()}


def test_an_evaluation_under_way_is_named(run, store, evaluated):
    _, folder = evaluated
    unfinished = folder / "cases-eval-0123456789ab.unfinished.jsonl"
    unfinished.write_text(next(folder.glob("*.transcripts.jsonl")).read_text())
    with unfinished.open("rb") as held:
        hold(held)
        told = run("--person", "ana", "--yes")
    assert f"evaluations: {unfinished} (Refused: the same evaluation is under way" in told
    assert "delete it if it holds the words" in told


def test_an_unfinished_evaluation_goes_on_without_what_was_erased(run, store, evaluated):
    _, folder = evaluated
    transcripts = next(folder.glob("*.transcripts.jsonl"))
    unfinished = folder / "cases-eval-0123456789ab.unfinished.jsonl"
    unfinished.write_text(transcripts.read_text())
    run("--person", "ana", "--yes")
    assert "question 0" not in unfinished.read_text()
    assert "question 9" in unfinished.read_text()
