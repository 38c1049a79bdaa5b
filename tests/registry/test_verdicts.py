"""Each gate of the file: what it lets through, what it stops, and that it is closed where nothing is known."""

from datetime import timedelta
from pathlib import Path

import pytest

from journeyman.errors import InvalidInput, Refused
from journeyman.records import (
    Adapter,
    CaseResult,
    EvalReport,
    Interval,
    JudgeCard,
    JudgeUse,
    ModelReport,
    now,
)
from journeyman.registry.gates import Gates, find_gates, read_gates
from journeyman.registry.promote import promote
from journeyman.statistics import proportion
from journeyman.store.memory import MemoryStore

PERFECT = "+" * 40
HALF = "-+" * 20


def measured(model: str, outcomes: str, *, cost: float | None = 1.0, p95: float | None = 0.5) -> ModelReport:
    """One case a letter; even ones are of kind `refund`, odd ones of kind `balance`."""
    cases = tuple(
        CaseResult(
            scenario_id=f"case-{number}",
            kind="balance" if number % 2 else "refund",
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
        cost_usd_per_thousand=cost,
        latency_p50=0.1,
        latency_p95=p95,
        errors=0,
        cases=cases,
    )


def report(*models: ModelReport, suite: str = "bank", days_ago: float = 0) -> EvalReport:
    return EvalReport(at=now() - timedelta(days=days_ago), suite=suite, seed=1, models=models, differences=())


@pytest.fixture
def store() -> MemoryStore:
    """The adapter bank-1 (a1), which is clearly better than its base, at the same price and speed."""
    opened = MemoryStore()
    opened.put(
        Adapter(id="a1", at=now() - timedelta(days=99), name="bank-1", base="small", rank=8, path="p", template="1")
    )
    opened.put(report(measured("small", HALF), measured("a1", PERFECT)))
    return opened


def verdict(store: MemoryStore, gates: Gates, gate: str) -> tuple[bool, str]:
    """What that gate says of bank-1, as a forced promotion records it."""
    made = promote(store, "support", "bank-1", gates=gates, force_reason="to see every verdict")
    (found,) = [each for each in made.verdicts if each.gate == gate]
    return found.passed, found.reason


@pytest.mark.parametrize(("margin", "passes"), [(0.0, True), (0.3, True), (0.45, False), (-0.05, True)])
def test_the_interval_must_lie_above_the_margin(store: MemoryStore, margin: float, passes: bool) -> None:
    """20 of 40 cases fixed, none broken: +50 points, Tango's interval from +34 or so."""
    assert verdict(store, Gates.model_validate({"gain": {"margin": margin}}), "gain")[0] is passes


def test_a_negative_margin_lets_an_equal_but_cheaper_model_through(store: MemoryStore) -> None:
    store.put(report(measured("small", PERFECT), measured("a1", PERFECT)))
    with pytest.raises(Refused, match="wholly above 0"):
        promote(store, "support", "bank-1")
    assert promote(store, "support", "bank-1", gates=Gates.model_validate({"gain": {"margin": -0.2}})).forced is None


def test_too_few_cases_do_not_pass(store: MemoryStore) -> None:
    passed, reason = verdict(store, Gates.model_validate({"gain": {"min_cases": 41}}), "gain")
    assert not passed
    assert "at least 41 cases" in reason


def test_a_lost_protected_case_is_named_though_the_gain_is_clear(store: MemoryStore) -> None:
    """case-1 (balance) is lost, 19 others are won."""
    store.put(report(measured("small", HALF), measured("a1", "+-" + "+" * 38)))
    gates = Gates.model_validate({"protected": {"kinds": ["balance"]}})
    with pytest.raises(Refused, match=r"protected: .*lost 1 of 20 protected cases: case-1"):
        promote(store, "support", "bank-1", gates=gates)
    others = Gates.model_validate({"protected": {"kinds": ["refund"], "cases": ["case-3"]}})
    assert promote(store, "support", "bank-1", gates=others).target == "a1"


@pytest.mark.parametrize("protected", [{"kinds": ["transfer"]}, {"cases": ["case-99"]}])
def test_what_is_protected_must_have_been_measured(store: MemoryStore, protected: dict[str, list[str]]) -> None:
    passed, reason = verdict(store, Gates.model_validate({"protected": protected}), "protected")
    assert not passed
    assert "evaluate with it" in reason


@pytest.mark.parametrize(
    ("asked", "cost", "before", "passes"),
    [
        ({"max_usd_per_thousand": 2}, 2.0, 1.0, True),
        ({"max_usd_per_thousand": 2}, 2.1, 1.0, False),
        ({"max_increase": 0.5}, 1.5, 1.0, True),
        ({"max_increase": 0.5}, 1.6, 1.0, False),
        ({"max_usd_per_thousand": 9, "max_increase": 0.5}, 1.6, 1.0, False),
        ({"max_usd_per_thousand": 2}, None, 1.0, False),
        ({"max_usd_per_thousand": 2}, 1.0, None, True),
        ({"max_increase": 0.5}, 1.0, None, False),
    ],
)
def test_bounds_of_cost_and_latency(
    store: MemoryStore, asked: dict[str, float], cost: float | None, before: float | None, passes: bool
) -> None:
    store.put(report(measured("small", HALF, cost=before, p95=before), measured("a1", PERFECT, cost=cost, p95=cost)))
    as_latency = {key.replace("max_usd_per_thousand", "max_p95_seconds"): bound for key, bound in asked.items()}
    both = Gates.model_validate({"cost": asked, "latency": as_latency})
    made = promote(store, "support", "bank-1", gates=both, force_reason="to see every verdict")
    assert [each.passed for each in made.verdicts if each.gate in ("cost", "latency")] == [passes, passes]


def test_compliance_of_a_suite_in_the_store(store: MemoryStore) -> None:
    gates = Gates.model_validate({"compliance": {"suite": "rules", "max_age_days": 7}})
    with pytest.raises(Refused, match=r"compliance: no report of the compliance suite rules has measured a1"):
        promote(store, "support", "bank-1", gates=gates)
    store.put(report(measured("a1", PERFECT), suite="rules", days_ago=8))
    with pytest.raises(Refused, match=r"8\.0 days old and may be 7"):
        promote(store, "support", "bank-1", gates=gates)
    store.put(report(measured("a1", "+-+"), suite="rules", days_ago=2))
    with pytest.raises(Refused, match=r"2 of 3 cases succeeded; all must\. Not: case-1"):
        promote(store, "support", "bank-1", gates=gates)
    store.put(report(measured("a1", "+++"), suite="rules", days_ago=1))
    assert all(each.passed for each in promote(store, "support", "bank-1", gates=gates).verdicts)


def test_compliance_of_a_report_file_next_to_the_gates(store: MemoryStore, tmp_path: Path) -> None:
    file = tmp_path / "journeyman-gates.toml"
    file.write_text('[compliance]\nreport = "out/rules.json"\n')
    with pytest.raises(Refused, match=r"rules\.json cannot be read"):
        promote(store, "support", "bank-1", gates=read_gates(file))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "rules.json").write_text(report(measured("another", "+++"), suite="rules").model_dump_json())
    with pytest.raises(Refused, match="did not measure a1"):
        promote(store, "support", "bank-1", gates=read_gates(file))
    (tmp_path / "out" / "rules.json").write_text(report(measured("a1", "+++"), suite="rules").model_dump_json())
    assert promote(store, "support", "bank-1", gates=read_gates(file)).target == "a1"


def judged(*rubrics: str) -> EvalReport:
    """A report that rests on a judge's verdicts under these rubrics."""
    use = JudgeUse(model="j", rubrics=rubrics, judgements=9, answers=9, unreadable=0, lost=0)
    return report(measured("small", HALF), measured("a1", PERFECT)).model_copy(update={"judge": use})


def card(rubric: str = "r1", *, judge: str = "j", low: float = 0.8, days_ago: float = 0) -> JudgeCard:
    sure = Interval(estimate=0.9, low=low, high=0.95)
    return JudgeCard(
        at=now() - timedelta(days=days_ago), name="politeness", task="support", judge=judge, form="pointwise",
        rubric=rubric, rubric_text="Is it polite?", truth="people", data_hash="d", seed=0, groups=50, pairs=50,
        unjudged=0, accuracy=sure, both_orders=sure, kappa=0.8, ties=0.0, order_consistency=sure, first_place=None,
        repeat_stability=sure, length_slope=None, parse_rate=sure, mismatches=None, prompt_tokens=9,
        completion_tokens=9, cost_usd=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("cards", "rubrics", "passed", "said"),
    [
        ([], ("r1",), False, "what is unmeasured does not pass"),
        ([card()], ("r1",), True, "orders 90.0% of pairs rightly, 95% interval 80.0 to 95.0"),
        ([card()], ("r1", "edited"), False, "under rubric edited"),
        ([card(), card("edited")], ("r1", "edited"), True, "; card "),
        ([card(judge="another")], ("r1",), False, "of the judge j under rubric r1"),
        ([card(low=0.7)], ("r1",), False, "the gate asks for more than 75.0%"),
        ([card(low=0.9, days_ago=9), card(low=0.6)], ("r1",), False, "60.0 to 95.0"),
        ([card(days_ago=8)], ("r1",), False, "8.0 days ago, and it may be 7"),
    ],
)
def test_the_judges_card_decides_its_gate(
    store: MemoryStore, cards: list[JudgeCard], rubrics: tuple[str, ...], passed: bool, said: str
) -> None:
    store.put(judged(*rubrics), *cards)
    asked = {"judge": {"card": "politeness", "min_accuracy": 0.75, "max_age_days": 7}}
    found, reason = verdict(store, Gates.model_validate(asked), "judge")
    assert found is passed
    assert said in reason


def test_a_report_without_a_judge_has_nothing_to_be_measured_by(store: MemoryStore) -> None:
    with pytest.raises(Refused, match=r"judge: .*holds no verdicts of a judge"):
        promote(store, "support", "bank-1", gates=Gates.model_validate({"judge": {"card": "politeness"}}))


def test_every_closed_gate_is_told_at_once(store: MemoryStore) -> None:
    gates = Gates.model_validate({"cost": {"max_usd_per_thousand": 0.1}, "latency": {"max_p95_seconds": 0.1}})
    with pytest.raises(Refused, match=r"2 gates are closed: cost: .*; latency: "):
        promote(store, "support", "bank-1", gates=gates)


def test_an_overruled_gate_stays_on_the_record(store: MemoryStore) -> None:
    made = promote(
        store, "support", "a1", gates=Gates.model_validate({"judge": {"card": "x"}}), force_reason="no judge yet"
    )
    assert {each.gate: each.passed for each in made.verdicts} == {"gain": True, "judge": False}
    assert made.report_id is not None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[gain]\nmargn = 0.1", "gain.margn"),
        ("[gian]\nmargin = 0.1", "gian"),
        ("[gain]\nmargin = 2", "gain.margin"),
        ("[cost]", "cost"),
        ("[cost]\nmax_usd_per_thousand = nan", "cost.max_usd_per_thousand"),
        ("[protected]\nkinds = []", "protected"),
        ("[compliance]\nmax_age_days = 3", "compliance"),
        ('[compliance]\nsuite = "a"\nreport = "b"', "compliance"),
        ("[gain", "cannot be read"),
    ],
)
def test_a_file_that_is_not_understood_is_refused(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "gates.toml"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=rf"gates\.toml.*{named}"):
        read_gates(file)


def test_the_file_is_found_in_the_repository_and_not_beyond_it(tmp_path: Path) -> None:
    outside, inside = tmp_path / "journeyman-gates.toml", tmp_path / "repository" / "journeyman-gates.toml"
    deep = tmp_path / "repository" / "a" / "b"
    deep.mkdir(parents=True)
    outside.write_text("")
    assert find_gates(deep) is None
    (tmp_path / "repository" / ".git").mkdir()
    assert find_gates(deep) is None
    inside.write_text("")
    assert find_gates(deep) == inside
    assert find_gates(tmp_path) == outside
    assert read_gates(inside) == Gates()
