"""Head to head: both orders are asked, a judge that goes by the order decides nothing, lengths are told."""

import json
import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from journeyman.cli.main import app
from journeyman.errors import InvalidInput
from journeyman.evals import CaseSuite, Journal, Judge, load_cases, save_versus, versus, versus_to_markdown
from journeyman.evals.verdicts import versus_verdict
from journeyman.evals.versus import length_controlled, split_common
from journeyman.records import Message
from journeyman.records.evaluation import VersusReport
from journeyman.records.message import assistant, system, user
from tests.evals.players import Players, Script, judging, says


@pytest.fixture
def suite(tmp_path: Path) -> CaseSuite:
    rows = [
        {"id": f"{n:02}", "kind": "odd" if n % 2 else "even", "messages": [{"role": "user", "content": str(n)}]}
        for n in range(40)
    ]
    (tmp_path / "cases.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return load_cases(tmp_path / "cases.jsonl")


def good_at(*numbers: int) -> Script:
    def answer(messages: Any, _: object) -> Message:
        return assistant("good" if int(messages[-1].text) in numbers else "poor")

    return answer


def by_worth(shown: dict[str, Any]) -> str:
    a, b = shown["answer_A"].count("good"), shown["answer_B"].count("good")
    return "A" if a > b else "B" if b > a else "tie"


async def duel(
    suite: CaseSuite, first: Script, second: Script, decide: Callable[[dict[str, Any]], str], **more: Any
) -> VersusReport:
    players = Players(first=first, second=second, judge=judging(decide))
    return await versus(suite, "first", "second", players, Judge(players, "judge"), **more)


async def test_the_better_one_wins_whichever_is_shown_first(suite: CaseSuite) -> None:
    report = await duel(suite, good_at(*range(36)), good_at(*range(33, 40)), by_worth)
    assert (report.wins, report.ties, report.losses) == (33, 3, 4)
    assert (report.disagreements, report.unjudged) == (0, 0)
    assert report.net
    assert report.net.estimate == 29 / 40
    assert report.net.low > 0
    assert versus_verdict(report) == "better"
    assert report.first_place
    assert report.first_place.estimate == 0.5


async def test_nobody_is_ranked_by_less_than_the_cases_can_show(suite: CaseSuite) -> None:
    report = await duel(suite, good_at(*range(30)), good_at(*range(25, 40)), by_worth)
    assert report.net
    assert report.net.low > 0
    assert versus_verdict(report).startswith("not ranked: it leans better")


async def test_a_judge_that_takes_the_first_decides_nothing(suite: CaseSuite) -> None:
    report = await duel(suite, good_at(*range(40)), good_at(), lambda _: "A")
    assert (report.wins, report.ties, report.losses, report.disagreements) == (0, 40, 0, 40)
    assert report.first_place
    assert report.first_place.estimate == 1.0
    page = versus_to_markdown(report)
    assert "orders that disagreed: 40 of 40 pairs" in page
    assert "not distinguishable" in page


async def test_the_same_answers_tie_without_a_judge(suite: CaseSuite) -> None:
    report = await duel(suite, says("x"), says("x"), by_worth)
    assert (report.ties, report.judge.judgements) == (40, 0)


async def test_what_cannot_be_read_is_left_out_and_asked_again_later(suite: CaseSuite, tmp_path: Path) -> None:
    def moody(messages: Any, tools: Any) -> Message:
        shown = json.loads(messages[1].text)
        return assistant("hm") if "7" in shown["conversation"] else judging(by_worth)(messages, tools)

    players = Players(first=good_at(*range(40)), second=good_at(), judge=moody)
    with closing(Journal(tmp_path / "j")) as journal:
        report = await versus(suite, "first", "second", players, Judge(players, "judge"), journal=journal)
    assert (report.wins, report.unjudged, report.judge.lost) == (36, 4, 4)
    players.scripts["judge"], players.asked = judging(by_worth), []
    with closing(Journal(tmp_path / "j")) as journal:
        report = await versus(suite, "first", "second", players, Judge(players, "judge"), journal=journal)
    assert (report.wins, report.unjudged) == (40, 0)
    assert players.asked == ["judge"] * 8


async def test_an_answer_that_failed_loses(suite: CaseSuite) -> None:
    def fails(messages: Any, _: object) -> Message:
        if messages[-1].text == "3":
            raise InvalidInput("three")
        return assistant("poor")

    report = await duel(suite, good_at(), fails, by_worth)
    assert (report.wins, report.ties) == (1, 39)
    assert "three" in (next(each for each in report.duels if each.won).error or "")


async def test_no_model_judges_itself(suite: CaseSuite) -> None:
    players = Players(first=says("x"), second=says("y"))
    with pytest.raises(InvalidInput, match="its own answers"):
        await versus(suite, "first", "second", players, Judge(players, "second"))
    assert players.asked == []


async def test_every_form_is_written(suite: CaseSuite, tmp_path: Path) -> None:
    players = Players(first=good_at(*range(30)), second=says("<script>poor</script>"), judge=judging(by_worth))
    journal = Journal()
    report = await versus(suite, "first", "second", players, Judge(players, "judge"), journal=journal)
    page, data = save_versus(report, tmp_path / "out", journal.finished)
    assert VersusReport.model_validate_json(data.read_text()) == report
    html = page.with_suffix(".html").read_text()
    assert "<script" not in html
    assert html.count("<details>") == 40
    for fact in (report.suite_hash, report.judge.rubrics[0], "seed 0", "McNemar"):
        assert fact in html
        assert fact in page.read_text()


async def test_it_stops_when_it_is_known_who_is_better(suite: CaseSuite) -> None:
    players = Players(first=good_at(*range(40)), second=good_at(), judge=judging(by_worth))
    report = await versus(suite, "first", "second", players, Judge(players, "judge"), stop_early=True, concurrency=4)
    met = len(report.duels)
    assert met < 30
    assert (report.planned, report.wins) == (40, met)
    assert players.asked.count("judge") == 2 * met
    assert report.net
    assert report.net.low > 0
    assert versus_verdict(report) == "better"
    page = versus_to_markdown(report)
    assert f"after {met} of 40 cases in a random order" in page
    assert "McNemar" not in page, "a p-value that was peeked at is none"
    assert report.slices == ()
    whole = await duel(suite, good_at(*range(20)), good_at(*range(20, 40)), by_worth, stop_early=True)
    assert len(whole.duels) == 40
    assert versus_verdict(whole) == "not distinguishable after all cases"


async def test_people_correct_a_judge_of_pairs(suite: CaseSuite, tmp_path: Path) -> None:
    """The judge takes the longer answer, which is the first model's; people like the second one's better."""
    journal = Journal(tmp_path / "out")

    def longest(shown: dict[str, Any]) -> str:
        return "A" if len(shown["answer_A"]) > len(shown["answer_B"]) else "B"

    players = Players(first=says("a long poor answer"), second=good_at(*range(40)), judge=judging(longest))
    report = await versus(suite, "first", "second", players, Judge(players, "judge"), journal=journal)
    assert (report.wins, report.losses) == (40, 0)
    _, data = save_versus(report, tmp_path, journal.finished)
    journal.keep_as(data.with_suffix(".transcripts.jsonl"))

    sheet = tmp_path / "sheet.jsonl"
    told = CliRunner().invoke(app, ["label", str(data), "--sheet", str(sheet), "--count", "30"]).output
    assert "30 pairs to label" in told
    lines = [json.loads(line) for line in sheet.read_text().splitlines()]
    assert {line["B"][-1]["content"] for line in lines} == {"good", "a long poor answer"}, "in an order that is drawn"
    assert all(line["conversation"][-1]["role"] == "user" for line in lines)
    for number, line in enumerate(lines):
        line["better"] = "tie" if number < 3 else "A" if line["A"][-1]["content"] == "good" else "B"
    sheet.write_text("\n".join(map(json.dumps, lines)))
    told = CliRunner().invoke(app, ["label", str(data), "--labels", str(sheet), "--out", str(tmp_path / "new")]).output
    assert "What people would have found" in told
    (written,) = (tmp_path / "new").glob("*.json")
    people = VersusReport.model_validate_json(written.read_text()).people
    assert people
    assert (people.labels, people.agreed, people.judged) == (30, 0, 10)
    assert people.net.estimate == pytest.approx(-0.9)
    assert people.net.high < 0
    assert "What people would have found" in written.with_suffix(".html").read_text()

    lines[0]["better"] = "first"
    sheet.write_text("\n".join(map(json.dumps, lines)))
    refused = CliRunner().invoke(app, ["label", str(data), "--labels", str(sheet)])
    assert "better is A, B, tie, or null" in str(refused.exception)
    for change, said in (({"report": "x"}, "of report x"), ({"case": "x"}, "was not judged in the report")):
        sheet.write_text(json.dumps(lines[1] | change))
        assert said in str(CliRunner().invoke(app, ["label", str(data), "--labels", str(sheet)]).exception)
    sheet.write_text(json.dumps(lines[1]))
    few = CliRunner().invoke(app, ["label", str(data), "--labels", str(sheet)])
    assert "1 pairs are labelled; it takes 20" in str(few.exception)


def test_conversations_are_split_where_they_part() -> None:
    opening = [system("s"), user("u")]
    one, other = [*opening, assistant("a"), user("b")], [*opening, assistant("c")]
    assert split_common(one, other) == (opening, one[2:], other[2:])
    assert split_common(one, one) == (one[:3], one[3:], one[3:])


def test_a_judge_that_likes_length_is_found_out() -> None:
    """Both are equally good, the first twice as long, and length alone decides, with some noise."""
    generator = random.Random(3)
    duels = []
    for _ in range(300):
        one, other = generator.randint(80, 400), generator.randint(40, 200)
        wins = generator.random() < 1 / (1 + (other / one) ** 3)
        duels.append((float(wins), one, other))
    raw = sum(share for share, *_ in duels) / len(duels)
    controlled = length_controlled(duels)
    assert raw > 0.75
    assert controlled
    assert controlled.low < 0.5 < controlled.high
    assert length_controlled(duels[:10]) is None


def test_who_is_better_at_any_length_stays_better() -> None:
    controlled = length_controlled([(1.0, 50 + n, 100) for n in range(60)] + [(0.0, 90, 100)] * 6)
    assert controlled
    assert controlled.low > 0.5
