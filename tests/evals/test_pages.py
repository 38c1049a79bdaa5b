"""The page stands alone and hides nothing, the XML is read by a parser, slices are corrected for their number."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from journeyman.evals.html import MOST_FLIPS, to_html
from journeyman.evals.journal import Finished
from journeyman.evals.junit import to_junit
from journeyman.evals.slices import compare_slices, slice_differences
from journeyman.evals.svg import Spot, Whisker, bars, forest, scatter
from journeyman.evals.verdicts import slice_verdict, verdict
from journeyman.records import CaseResult, EvalReport, Interval, ModelReport
from journeyman.records.evaluation import JudgeUse
from journeyman.records.message import assistant, user
from journeyman.statistics import compare, proportion


def measured(name: str, outcomes: str, tags: tuple[str, ...] = ()) -> ModelReport:
    """A case a letter: `+` succeeds, `-` fails, `!` ends in an error; the second half is of kind `late`."""
    cases = tuple(
        CaseResult(
            scenario_id=f"case-{at}",
            kind="late" if at >= len(outcomes) / 2 else "early",
            success=letter == "+",
            reason=f"{name} said <b>\x00",
            turns=1,
            prompt_tokens=1,
            completion_tokens=1,
            cost_usd=0.01,
            latency=0.5,
            session=f"{name}-{at}",
            error="it <broke>" if letter == "!" else None,
            tags=tags if at % 2 else (),
        )
        for at, letter in enumerate(outcomes)
    )
    return ModelReport(
        model=name,
        success=proportion(outcomes.count("+"), len(outcomes)),
        turns=1,
        prompt_tokens=1,
        completion_tokens=1,
        cost_usd_per_thousand=10,
        latency_p50=0.5,
        latency_p95=0.5,
        errors=outcomes.count("!"),
        cases=cases,
        cost=Interval(estimate=10, low=9, high=11),
        latency=Interval(estimate=0.5, low=0.4, high=0.6),
    )


@pytest.fixture
def report() -> EvalReport:
    old, new = measured("old & <i>", "-" * 20 + "+-!-", ("vip",)), measured("new", "+" * 20 + "-+++", ("vip",))
    return EvalReport(
        suite="bank",
        suite_hash="0123456789ab",
        seed=7,
        models=(old, new),
        differences=(compare(new, old),),
        slices=compare_slices(new, old),
        judge=JudgeUse(model="new", rubrics=("fedcba987654",), judgements=24, answers=25, unreadable=1, lost=0),
        left={"new": 3},
        prices_as_of="2026-01-31",
    )


class Reader(HTMLParser):
    """Notes every tag that was opened and what is still open in the end."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone_and_is_well_formed(report: EvalReport) -> None:
    page = to_html(report, {})
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    assert not {"script", "link", "img", "iframe", "i"} & set(reader.seen)
    assert not re.search(r"https?:|url\(|@import", page)
    assert reader.seen.count("svg") == 3
    for fact in ("0123456789ab", "seed 7", "fedcba987654", "24 of 25 answers could be read", "2026-01-31"):
        assert fact in page
    assert "not measured: 3 cases of new" in page
    assert "judged its own answers" in page


def test_flips_show_both_conversations(report: EvalReport) -> None:
    transcripts = {
        (model.model, "case-0"): Finished(
            model=model.model, result=model.cases[0], messages=(user("ask"), assistant(f"<{model.model}>"))
        )
        for model in report.models
    }
    page = to_html(report, transcripts)
    assert "Fixed by new, against old &amp; &lt;i&gt;: 23" in page
    assert "Broken by new, against old &amp; &lt;i&gt;: 1" in page
    assert "&lt;new&gt;" in page
    assert "the conversation was not kept" in page
    assert page.count("<details>") == 24


def test_more_flips_than_a_page_holds_are_counted() -> None:
    many = MOST_FLIPS + 7
    old, new = measured("old", "-" * many), measured("new", "+" * many)
    page = to_html(EvalReport(suite="s", seed=1, models=(old, new), differences=(compare(new, old),)), {})
    assert "And 7 more" in page


def test_junit_is_xml_whatever_models_write(report: EvalReport) -> None:
    root = ElementTree.fromstring(to_junit(report))
    old, new = root.findall("testsuite")
    assert [old.get(name) for name in ("tests", "failures", "errors")] == ["24", "22", "1"]
    assert (len(old.findall("testcase/failure")), len(old.findall("testcase/error"))) == (22, 1)
    assert len(new.findall("testcase/failure")) == 1
    properties = {each.get("name"): each.get("value") for each in new.iter("property")}
    assert "seed 7" in str(properties["cases"])
    assert str(properties["success"]).startswith("95.8% (")


def test_charts_are_well_formed_and_their_marks_stay_inside() -> None:
    interval = Interval(estimate=0.2, low=-0.9, high=0.4)
    charts = [
        forest([Whisker("a <label> that is much too long for its place", interval, "good", "n 1")], "t"),
        scatter([Spot("m", Interval(estimate=1, low=0, high=2), proportion(1, 2))], "t", "x", "${}"),
        scatter([Spot("m", Interval(estimate=x, low=x, high=x), proportion(1, 2)) for x in (1, 70)], "t", "x", "{}"),
        bars([("all", 3, 0, 1), ("none", 0, 0, 0)], "t"),
    ]  # fmt: skip
    for chart in charts:
        root = ElementTree.fromstring(chart).find("svg")
        assert root is not None
        _, _, width, height = map(float, str(root.get("viewBox")).split())
        for mark in root.iter():
            for name, most in (
                ("x1", width),
                ("x2", width),
                ("x", width),
                ("y", height),
                ("y1", height),
                ("y2", height),
            ):
                assert 0 <= float(mark.get(name, 0)) <= most, (name, mark.attrib)
    lines = [each for each in ElementTree.fromstring(charts[0]).iter("line") if each.get("class") == "good whisker"]
    assert float(lines[0].get("x1", 0)) < float(lines[0].get("x2", 0))


def test_slices_are_those_of_kind_and_tag_and_leave_the_whole_out(report: EvalReport) -> None:
    slices = {each.slice: each for each in report.slices}
    assert list(slices) == ["kind early", "kind late", "tag vip"]
    assert (slices["kind early"].fixed, slices["kind early"].broken, slices["kind early"].cases) == (12, 0, 12)
    assert slice_differences("a", "b", [("only", (), True, False)] * 3) == ()


def test_one_lucky_slice_of_many_is_no_finding() -> None:
    """Alone its p-value would do; among twenty it does not."""
    outcomes = [(f"k{k}", (), k == 0, False) for k in range(20) for _ in range(6)]
    lucky = next(each for each in slice_differences("a", "b", outcomes) if each.slice == "kind k0")
    assert lucky.p < 0.05 < lucky.adjusted_p
    assert slice_verdict(lucky) == "not distinguishable"


def test_a_ranking_needs_cases_that_can_show_it() -> None:
    def said(fixed: int, broken: int, same: int) -> str:
        old = measured("old", "-" * fixed + "+" * broken + "-" * same)
        new = measured("new", "+" * fixed + "-" * broken + "-" * same)
        return verdict(compare(new, old), fixed + broken + same)

    assert said(30, 2, 40) == "better"
    assert said(2, 30, 40) == "worse"
    assert said(12, 3, 80).startswith("not ranked: it leans better, but these cases reliably show only differences")
    assert said(4, 3, 10).startswith("not distinguishable: these cases show differences from")
    assert said(0, 0, 10).startswith("not distinguishable")
