"""An evaluation that was interrupted goes on; one that would cost too much stops."""

import json
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from journeyman.config import PriceRule
from journeyman.engines.engine import Reply
from journeyman.errors import InvalidInput, NotFound, Refused, UpstreamFailed
from journeyman.evals import Journal, Judge, evaluate, load_cases
from journeyman.prices import PriceList
from journeyman.records import Message, Sampling
from journeyman.records.message import assistant, user
from journeyman.rewards.metering import Ceiling, MeteredEngine
from tests.evals.players import Players, judging, says

PRICES = PriceList({name: PriceRule(input=Decimal(1000), output=Decimal(1000)) for name in ("one", "two", "judge")})


Begin = Callable[..., Journal]


class Stopped(BaseException):
    """As sudden as a killed process."""


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Begins or goes on with an evaluation's journal, after the one before has been closed."""
    begun: list[Journal] = []

    def next_one(**options: bool) -> Journal:
        for journal in begun:
            journal.close()
        begun.append(Journal(tmp_path / "j", **options))
        return begun[-1]

    yield next_one
    for journal in begun:
        journal.close()


class Unlucky(Players):
    """Ends everything at the call of that number."""

    def __init__(self, at: int, **scripts: Any) -> None:
        super().__init__(**scripts)
        self.at = at

    async def reply(self, model: str, messages: Sequence[Message], *more: Any, **named: Any) -> Reply:
        if len(self.asked) + 1 == self.at:
            raise Stopped
        return await super().reply(model, messages, *more, **named)


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    rows = [
        {"id": f"{n:02}", "messages": [{"role": "user", "content": str(n)}], "check": {"type": "exact", "answer": "5"}}
        for n in range(12)
    ]
    path = tmp_path / "cases.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def echo(messages: Sequence[Message], _: object) -> Message:
    return assistant(messages[-1].text)


@pytest.mark.parametrize("at", [2, 9, 20])
async def test_what_is_finished_is_not_done_again(cases: Path, tmp_path: Path, begin: Begin, at: int) -> None:
    suite = load_cases(cases)
    whole = await evaluate(suite, ["one", "two"], Players(one=echo, two=says("5")), concurrency=1)
    unlucky = Unlucky(at, one=echo, two=says("5"))
    with pytest.raises(BaseException) as stop:  # noqa: PT011 - a task group wraps what ends it
        await evaluate(suite, ["one", "two"], unlucky, concurrency=1, journal=begin())
    assert isinstance(stop.value, Stopped | BaseExceptionGroup)
    journal, players = begin(), Players(one=echo, two=says("5"))
    report = await evaluate(suite, ["one", "two"], players, concurrency=1, journal=journal)
    assert len(players.asked) == 24 - (at - 1)
    assert report.resumed == at - 1
    assert [model.success for model in report.models] == [model.success for model in whole.models]
    assert report.differences == whole.differences


async def test_another_evaluation_does_not_go_on_with_it(cases: Path, tmp_path: Path, begin: Begin) -> None:
    suite, journal = load_cases(cases), begin()
    await evaluate(suite, ["one"], Players(one=echo), stands_for={"one": "adapter-1"}, journal=journal)
    for options in ({"stands_for": {"one": "adapter-2"}}, {"seed": 9}, {"sampling": Sampling(temperature=1)}):
        other = begin()
        await evaluate(suite, ["one"], Players(one=echo), journal=other, **options)  # type: ignore[arg-type]
        assert other.resumed == 0
    again = begin(fresh=True)
    await evaluate(suite, ["one"], Players(one=echo), stands_for={"one": "adapter-1"}, journal=again)
    assert again.resumed == 0


async def test_the_same_evaluation_twice_at_once_is_refused(cases: Path, tmp_path: Path, begin: Begin) -> None:
    suite, journal = load_cases(cases), begin()
    await evaluate(suite, ["one"], Players(one=echo), journal=journal)
    with pytest.raises(Refused, match="under way"):
        await evaluate(suite, ["one"], Players(one=echo), journal=Journal(tmp_path / "j"))


async def test_half_a_line_is_dropped_and_a_broken_one_is_named(cases: Path, tmp_path: Path, begin: Begin) -> None:
    suite, journal = load_cases(cases), begin()
    await evaluate(suite, ["one"], Players(one=echo), concurrency=1, journal=journal)
    assert journal.path is not None
    written = journal.path.read_bytes()
    journal.path.write_bytes(written[:-20])
    resumed, players = begin(), Players(one=echo)
    await evaluate(suite, ["one"], players, journal=resumed)
    assert (resumed.resumed, len(players.asked)) == (11, 1)
    journal.path.write_bytes(b"{}\n" + written)
    with pytest.raises(InvalidInput, match=r"line 1 is not readable.*--fresh"):
        await evaluate(suite, ["one"], Players(one=echo), journal=begin())


async def test_the_journal_of_a_finished_evaluation_is_its_transcripts(
    cases: Path, tmp_path: Path, begin: Begin
) -> None:
    journal = begin()
    await evaluate(load_cases(cases), ["one"], Players(one=echo), journal=journal)
    journal.keep_as(tmp_path / "kept.jsonl")
    assert list((tmp_path / "j").iterdir()) == []
    kept = [json.loads(line) for line in (tmp_path / "kept.jsonl").read_text().splitlines()[1:]]
    assert [each["finished"]["messages"][1]["content"] for each in kept] == [str(n) for n in range(12)]


async def test_what_the_upstream_failed_at_is_asked_again_later(cases: Path, tmp_path: Path, begin: Begin) -> None:
    def down(messages: Sequence[Message], _: object) -> Message:
        if messages[-1].text == "7":
            raise UpstreamFailed("overheated", retry_after=0.001)
        return assistant("5")

    journal = begin()
    report = await evaluate(load_cases(cases), ["one"], Players(one=down), journal=journal, retries=3)
    assert (report.models[0].errors, report.models[0].retries) == (1, 3)
    later, players = begin(), Players(one=says("5"))
    report = await evaluate(load_cases(cases), ["one"], players, journal=later)
    assert (report.models[0].errors, report.models[0].retries, len(players.asked)) == (0, 0, 1)


async def test_a_call_is_tried_again_only_where_that_can_help() -> None:
    fails = iter([UpstreamFailed("busy", retry_after=0.001), None, NotFound("model", "x", ())])

    def moody(*_: object) -> Message:
        problem = next(fails)
        if problem:
            raise problem
        return assistant("yes")

    engine = MeteredEngine(Players(m=moody))
    reply = await engine.reply("m", [user("?")], session="s")
    assert (reply.message.text, engine.retries("s"), engine.usage("s")) == ("yes", 1, reply.usage)
    with pytest.raises(NotFound):
        await engine.reply("m", [user("?")], session="t")
    assert engine.retries("t") == 0


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_the_ceiling_is_kept_and_what_is_left_is_said(
    cases: Path, tmp_path: Path, begin: Begin, concurrency: int
) -> None:
    suite, names = load_cases(cases), ["one", "two"]
    players = Players(one=echo, two=says("5"))
    free = await evaluate(suite, names, players, prices=PRICES)
    assert free.spent_usd
    ceiling, journal = free.spent_usd / 2, begin()
    report = await evaluate(
        suite, names, players, prices=PRICES, ceiling_usd=ceiling, concurrency=concurrency, journal=journal
    )
    assert report.spent_usd
    assert ceiling / 2 < report.spent_usd <= ceiling
    compared = len(report.models[0].cases)
    assert 0 < compared < 12
    assert {case.scenario_id for case in report.models[0].cases} == {
        case.scenario_id for case in report.models[1].cases
    }
    assert 12 - max(report.left.values()) == compared
    again = begin()
    rest = await evaluate(suite, names, players, prices=PRICES, ceiling_usd=10 * ceiling, journal=again)
    assert (rest.left, len(rest.models[0].cases)) == ({}, 12)
    assert rest.spent_usd == pytest.approx(free.spent_usd)


async def test_the_judge_counts_against_the_ceiling(tmp_path: Path) -> None:
    rows = [
        {"id": str(n), "messages": [{"role": "user", "content": "?"}], "check": {"type": "judge", "rubric": "r"}}
        for n in range(20)
    ]
    (tmp_path / "s.jsonl").write_text("\n".join(map(json.dumps, rows)))
    players = Players(one=says("5"), judge=judging(lambda _: "pass"))
    judge = Judge(players, "judge", PRICES.find("judge"))
    report = await evaluate(
        load_cases(tmp_path / "s.jsonl"), ["one"], players, prices=PRICES, judge=judge, ceiling_usd=2.0
    )
    assert report.judge
    assert report.judge.cost_usd
    assert report.spent_usd == pytest.approx(
        report.judge.cost_usd + sum(c.cost_usd or 0 for c in report.models[0].cases)
    )
    assert 1.0 < report.spent_usd <= 2.0
    assert report.left["one"] == 20 - report.judge.judgements > 0


async def test_a_ceiling_needs_prices(cases: Path, tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "?"}], "check": {"type": "judge", "rubric": "r"}}
    (tmp_path / "judged.jsonl").write_text(json.dumps(row))
    judged, judge = load_cases(tmp_path / "judged.jsonl"), Judge(Players(), "unknown")
    with pytest.raises(InvalidInput, match="the judge unknown has none"):
        await evaluate(judged, ["one"], Players(), prices=PRICES, judge=judge, ceiling_usd=1.0)
    with pytest.raises(InvalidInput, match=r"three has none.*\[prices\]"):
        await evaluate(load_cases(cases), ["one", "three"], Players(), prices=PRICES, ceiling_usd=1.0)
    with pytest.raises(InvalidInput, match="above 0"):
        Ceiling(0)
