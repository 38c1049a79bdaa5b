"""Several attempts at each case, evaluations that stop when they know, and judges that people correct."""

import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from journeyman.cli.main import app
from journeyman.errors import InvalidInput
from journeyman.evals import CaseSuite, Journal, Judge, evaluate, load_cases, save, to_markdown
from journeyman.evals.html import to_html
from journeyman.evals.journal import read_transcripts
from journeyman.evals.labels import correct, draw_sheet, read_labels, to_lines
from journeyman.records import EvalReport, Message, Sampling
from journeyman.records.message import assistant
from journeyman.registry.verdicts import better_than
from journeyman.statistics import proportion
from journeyman.store.memory import MemoryStore
from tests.evals.players import Players, Script, judging

WARM = Sampling(temperature=0.7)


class Stopped(BaseException):
    """As if the process had ended."""


def suite_of(folder: Path, count: int, check: object = None) -> CaseSuite:
    lines = [
        {
            "id": f"case-{n}",
            "kind": "even" if n % 2 == 0 else "odd",
            "messages": [{"role": "user", "content": str(n)}],
            "check": check or {"type": "exact", "answer": "yes"},
        }
        for n in range(count)
    ]
    file = folder / "cases.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    return load_cases(file)


def succeeds(rate: float, seed: int = 0) -> Script:
    draw = random.Random(seed)
    return lambda *_: assistant("yes" if draw.random() < rate else "no")


def nth_try(good: int, of: int) -> Script:
    """Of every `of` answers to the same question, the first `good` are right."""
    asked: dict[str, int] = {}

    def answer(messages: object, _: object) -> Message:
        question = messages[0].text  # type: ignore[index]
        asked[question] = asked.get(question, 0) + 1
        return assistant("yes" if (asked[question] - 1) % of < good else "no")

    return answer


async def test_each_case_is_tried_several_times(tmp_path):
    players = Players(base=nth_try(1, 4), new=nth_try(3, 4))
    report = await evaluate(suite_of(tmp_path, 20), ["base", "new"], players, attempts=4, sampling=WARM, concurrency=1)
    base, new = report.models
    assert players.asked.count("new") == 80
    assert (base.success.estimate, new.success.estimate) == (0.25, 0.75)
    assert [each.at_least_one.estimate for each in new.within] == pytest.approx([0.75, 1.0, 1.0, 1.0])
    assert [each.all_of_them.estimate for each in new.within] == pytest.approx([0.75, 0.5, 0.25, 0.0])
    assert all(each.all_of_them.high > 0 and each.at_least_one.low < 1 for each in new.within)
    assert {(case.successes, case.attempts, case.success) for case in new.cases} == {(3, 4, False)}
    (difference,) = report.differences
    assert difference.difference.estimate == pytest.approx(0.5)
    assert (difference.fixed, difference.broken) == (20, 0)
    page = to_markdown(report)
    assert "## Within several attempts" in page
    assert "attempts: 4 at each case" in page
    assert "1 of 4 → 3 of 4" in to_html(report, {})


async def test_attempts_that_must_be_the_same_are_refused(tmp_path):
    players = Players(one=succeeds(1))
    with pytest.raises(InvalidInput, match="temperature 0"):
        await evaluate(suite_of(tmp_path, 3), ["one"], players, attempts=2)
    assert not players.asked


async def test_attempts_are_gone_on_with(tmp_path):
    suite, calls = suite_of(tmp_path, 6), 0
    whole = nth_try(1, 2)

    def dies_once(messages: object, tools: object) -> Message:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise Stopped
        return whole(messages, tools)  # type: ignore[arg-type]

    players = Players(one=dies_once)
    journal = Journal(tmp_path / "out")
    with pytest.raises(BaseException):  # noqa: B017, PT011 - a task group wraps what ends it
        await evaluate(suite, ["one"], players, attempts=2, sampling=WARM, concurrency=1, journal=journal)
    journal.close()
    again = Journal(tmp_path / "out")
    report = await evaluate(suite, ["one"], players, attempts=2, sampling=WARM, concurrency=1, journal=again)
    again.close()
    assert report.resumed == 7
    assert len(players.asked) <= 14, "what was finished is not asked again"
    assert {case.attempts for case in report.models[0].cases} == {2}


async def test_it_stops_when_it_knows(tmp_path):
    suite = suite_of(tmp_path, 400)
    players = Players(base=succeeds(0.3, 1), new=succeeds(0.8, 2))
    report = await evaluate(suite, ["base", "new"], players, count=400, stop_early=True, concurrency=10)
    cases = len(report.models[0].cases)
    assert 10 <= cases < 150
    assert report.planned == 400
    assert len(players.asked) == 2 * cases
    (difference,) = report.differences
    assert difference.anytime
    assert difference.difference.low > 0
    assert report.slices == ()
    page = to_markdown(report)
    assert f"after {cases} of 400 cases in a random order" in page
    assert "| better |" in page
    whole = await evaluate(suite, ["base", "new"], players, count=400)
    assert whole.suite_hash == report.suite_hash, "the same cases, in whatever order"


async def test_models_that_are_alike_are_measured_to_the_end(tmp_path):
    players = Players(base=succeeds(0.5, 1), new=succeeds(0.5, 2))
    report = await evaluate(suite_of(tmp_path, 60), ["base", "new"], players, count=60, stop_early=True, concurrency=5)
    assert len(report.models[0].cases) == 60
    assert "not distinguishable after all cases" in to_markdown(report)
    with pytest.raises(InvalidInput, match="compares two models"):
        await evaluate(suite_of(tmp_path, 5), ["base"], players, stop_early=True)


async def test_a_gate_does_not_take_a_peeked_interval_for_a_plain_one(tmp_path):
    """The same cases: a plain interval lies above 0, that of the sequence does not."""
    players = Players(base=nth_try(0, 1), new=lambda messages, _: assistant("yes" if int(messages[0].text) < 6 else ""))
    report = await evaluate(suite_of(tmp_path, 24), ["base", "new"], players)
    assert better_than(report, "new", "base").passed
    peeked = report.model_copy(update={"planned": 24})
    assert not better_than(peeked, "new", "base").passed


def lenient(shown: dict[str, str]) -> str:
    """Passes whatever is right, and two of five wrong answers."""
    return "pass" if shown["answer"] == "yes" or int(shown["conversation"]) % 5 < 2 else "fail"


async def judged(folder: Path) -> tuple[EvalReport, Journal]:
    suite = suite_of(folder, 200, {"type": "judge", "rubric": "is it right?"})
    players = Players(one=succeeds(0.5, 3), judge=judging(lenient))
    journal = Journal(folder / "out")
    report = await evaluate(suite, ["one"], players, count=200, judge=Judge(players, "judge"), journal=journal)
    return report, journal


async def test_people_correct_a_judge_that_is_too_kind(tmp_path):
    report, journal = await judged(tmp_path)
    truth = sum(found.messages[-1].text == "yes" for found in journal.finished.values()) / 200
    (plain,) = report.models
    assert plain.success.low > truth, "the judge alone is wrong and sure of it"
    sheet = draw_sheet(report, journal.finished, 60)
    assert len(sheet) == 60
    assert "verdict" not in json.dumps(sheet)
    for line in sheet:
        line["passed"] = line["conversation"][-1]["content"] == "yes"
    file = tmp_path / "labels.jsonl"
    file.write_text(to_lines(sheet))
    corrected = correct(report, *read_labels(file, report))
    people = corrected.models[0].people
    assert people is not None
    assert (people.labels, people.judged) == (60, 140)
    assert people.success.low < truth < people.success.high
    alone = proportion(sum(line["passed"] for line in sheet), 60)
    assert people.success.high - people.success.low < alone.high - alone.low
    assert corrected.id != report.id
    assert "## What people would have found" in to_markdown(corrected)
    assert corrected.labels_hash in to_html(corrected, {})
    journal.close()


async def test_labels_that_cannot_be_right_are_refused(tmp_path):
    report, journal = await judged(tmp_path)
    sheet = draw_sheet(report, journal.finished, 30)
    file = tmp_path / "labels.jsonl"
    for change, match in (
        ({"passed": "yes"}, "line 1: passed is true, false, or null"),
        ({"report": "other"}, "of report other"),
        ({"case": "unknown"}, "not in the report"),
    ):
        file.write_text(to_lines([sheet[0] | change, *sheet[1:]]))
        with pytest.raises(InvalidInput, match=match):
            read_labels(file, report)
    file.write_text(to_lines([sheet[0], sheet[0] | {"passed": True}, sheet[0] | {"passed": False}]))
    with pytest.raises(InvalidInput, match="labelled twice"):
        read_labels(file, report)
    file.write_text(to_lines(sheet))
    with pytest.raises(InvalidInput, match="no model has 20 labels"):
        correct(report, *read_labels(file, report))
    with pytest.raises(InvalidInput, match="at least 20"):
        draw_sheet(report, journal.finished, 5)
    with pytest.raises(InvalidInput, match="had no judge"):
        draw_sheet(report.model_copy(update={"judge": None}), {}, 30)
    journal.close()


async def test_the_command_draws_a_sheet_and_reads_it(tmp_path, monkeypatch):
    monkeypatch.setenv("JOURNEYMAN_HOME", str(tmp_path / "home"))
    report, journal = await judged(tmp_path)
    page, data = save(report, MemoryStore(), tmp_path / "out", journal.finished)
    journal.keep_as(page.with_suffix(".transcripts.jsonl"))
    assert len(read_transcripts(page.with_suffix(".transcripts.jsonl"))) == 200
    sheet, run = tmp_path / "sheet.jsonl", CliRunner()
    drawn = run.invoke(app, ["label", str(data), "--sheet", str(sheet), "--count", "40"])
    assert "40 answers to label" in drawn.output, drawn.output
    assert run.invoke(app, ["label", str(data), "--sheet", str(sheet)]).exception is not None, "people's work is kept"
    lines = [json.loads(line) for line in sheet.read_text().splitlines()]
    sheet.write_text(to_lines([line | {"passed": line["conversation"][-1]["content"] == "yes"} for line in lines]))
    read = run.invoke(app, ["label", str(data), "--labels", str(sheet)])
    assert "What people would have found" in read.output, read.output
