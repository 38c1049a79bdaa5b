"""The gate passes only on evidence that cannot be explained by luck, leakage or an outage."""

import pytest

from journeyman.errors import InvalidInput, NotFound
from journeyman.records import CaseResult, EvalReport, ModelReport
from journeyman.registry.verdicts import better_than
from journeyman.statistics import proportion


def case(number: int, success: bool, error: str | None = None) -> CaseResult:
    return CaseResult(
        scenario_id=f"case-{number}",
        kind="balance",
        success=success,
        reason="",
        turns=1,
        prompt_tokens=1,
        completion_tokens=1,
        cost_usd=None,
        latency=0.1,
        session=f"session-{number}",
        error=error,
    )


def measured(model: str, outcomes: str) -> ModelReport:
    """One case a letter: `+` success, `-` failure, `e` error."""
    cases = tuple(case(i, letter == "+", "timed out" if letter == "e" else None) for i, letter in enumerate(outcomes))
    return ModelReport(
        model=model,
        success=proportion(outcomes.count("+"), len(outcomes)),
        turns=1,
        prompt_tokens=1,
        completion_tokens=1,
        cost_usd_per_thousand=None,
        latency_p50=0.1,
        latency_p95=0.1,
        errors=outcomes.count("e"),
        cases=cases,
    )


def report(*models: ModelReport, split: str = "held-out") -> EvalReport:
    return EvalReport(suite="bank", seed=1, split=split, models=models, differences=())


def test_clearly_better_passes_and_says_what_was_measured() -> None:
    evidence = report(measured("old", "-" * 40 + "+" * 60), measured("new", "+" * 100))
    verdict = better_than(evidence, "new", "old")
    assert verdict.passed
    assert "+40.0 points against old" in verdict.reason
    assert "40 cases fixed and 0 broken" in verdict.reason
    assert evidence.id in verdict.reason


def test_better_by_luck_does_not_pass() -> None:
    """3 of 100 cases fixed: the difference is positive, its interval is not."""
    evidence = report(measured("old", "---" + "+" * 97), measured("new", "+" * 100))
    verdict = better_than(evidence, "new", "old")
    assert not verdict.passed
    assert "+3.0 points" in verdict.reason
    assert "evaluate on more cases" in verdict.reason


def test_worse_is_told_to_train_again() -> None:
    verdict = better_than(report(measured("old", "+" * 50), measured("new", "-" * 50)), "new", "old")
    assert not verdict.passed
    assert verdict.reason.endswith("train a better one")
    assert "more cases" not in verdict.reason


@pytest.mark.parametrize("order", [("old", "new"), ("new", "old")])
def test_the_order_of_the_models_in_the_report_does_not_matter(order: tuple[str, str]) -> None:
    models = {"old": measured("old", "-" * 50), "new": measured("new", "+" * 50)}
    assert better_than(report(*(models[name] for name in order)), "new", "old").passed


def test_training_cases_prove_nothing() -> None:
    evidence = report(measured("old", "-" * 50), measured("new", "+" * 50), split="train")
    verdict = better_than(evidence, "new", "old")
    assert not verdict.passed
    assert "only held-out cases count" in verdict.reason


def test_an_outage_of_the_incumbent_promotes_nobody() -> None:
    evidence = report(measured("old", "e" * 50), measured("new", "+" * 50))
    verdict = better_than(evidence, "new", "old")
    assert not verdict.passed
    assert "50 that old lost to errors" in verdict.reason


def test_errors_of_the_candidate_count_against_it() -> None:
    assert not better_than(report(measured("old", "+" * 50), measured("new", "e" * 50)), "new", "old").passed


def test_models_that_met_different_cases_cannot_be_compared() -> None:
    with pytest.raises(InvalidInput, match="not measured on the same cases"):
        better_than(report(measured("old", "+" * 50), measured("new", "+" * 40)), "new", "old")


def test_a_model_that_was_not_measured_is_named() -> None:
    with pytest.raises(NotFound, match=r"'other'.*new, old"):
        better_than(report(measured("old", "+"), measured("new", "+")), "other", "old")
