"""An alias moves on evidence or on a recorded reason, and every step can be taken back."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from journeyman.errors import InvalidInput, NotFound, Refused
from journeyman.records import Adapter, CaseResult, EvalReport, ModelReport, Promotion, now
from journeyman.registry.adapters import REWARD_CARD
from journeyman.registry.promote import aliases, history, promote, rollback
from journeyman.registry.resolve import last_promotion
from journeyman.statistics import proportion
from journeyman.store.memory import MemoryStore
from journeyman.store.sql import SqlStore
from journeyman.store.store import Store

GOOD, FAIR, POOR = "+" * 100, "+" * 60 + "-" * 40, "-" * 100


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = MemoryStore() if request.param == "memory" else SqlStore(f"sqlite:///{tmp_path / 'store.db'}")
    yield opened
    opened.close()


def keep_adapter(store: Store, name: str, id: str, minutes_ago: float = 60) -> Adapter:
    made = Adapter(
        id=id,
        at=now() - timedelta(minutes=minutes_ago),
        name=name,
        base="small",
        rank=16,
        path=f"adapters/{name}",
        template="1",
    )
    store.put(made)
    return made


def keep_report(
    store: Store, outcomes: dict[str, str], *, split: str = "held-out", minutes_ago: float = 0
) -> EvalReport:
    report = EvalReport(
        at=now() - timedelta(minutes=minutes_ago),
        suite="bank",
        seed=1,
        split=split,
        models=tuple(_measured(model, letters) for model, letters in outcomes.items()),
        differences=(),
    )
    store.put(report)
    return report


def test_a_first_promotion_is_measured_against_the_base(store: Store) -> None:
    keep_adapter(store, "bank-1", "a1")
    report = keep_report(store, {"small": POOR, "bank-1": FAIR})
    made = promote(store, "support", "bank-1", by="anna")
    assert (made.alias, made.target, made.report_id, made.forced, made.by) == ("support", "a1", report.id, None, "anna")
    assert last_promotion(store, "support") == made
    assert aliases(store) == ["support"]


def test_a_reward_model_answers_nobody(store: Store, tmp_path: Path) -> None:
    made = keep_adapter(store, "taste", "a1").model_copy(update={"id": "a2", "path": str(tmp_path)})
    store.put(made)
    (tmp_path / REWARD_CARD).write_text("{}")
    with pytest.raises(InvalidInput, match="taste@a2 is a reward model"):
        promote(store, "support", "a2", force_reason="why not")
    assert aliases(store) == []


def test_the_next_one_is_measured_against_what_answers_now(store: Store) -> None:
    keep_adapter(store, "bank-1", "a1")
    keep_adapter(store, "bank-2", "a2")
    keep_report(store, {"small": POOR, "bank-1": FAIR, "bank-2": FAIR})
    promote(store, "support", "bank-1")
    with pytest.raises(Refused, match=r"\+0\.0 points against bank-1.*wholly above 0"):
        promote(store, "support", "bank-2")
    assert len(history(store, "support")) == 1
    report = keep_report(store, {"a1": FAIR, "a2": GOOD})
    assert promote(store, "support", "bank-2").report_id == report.id


def test_without_evidence_the_refusal_names_the_command_to_run(store: Store) -> None:
    keep_adapter(store, "bank-1", "a1")
    keep_report(store, {"bank-1": GOOD, "another": POOR})
    with pytest.raises(Refused, match=r"no evaluation has measured both a1 and small.*--models small,a1.*--force"):
        promote(store, "support", "bank-1")
    assert aliases(store) == []


def test_the_newest_evidence_counts_even_when_an_older_one_was_kinder(store: Store) -> None:
    keep_adapter(store, "bank-1", "a1")
    keep_report(store, {"small": POOR, "bank-1": GOOD}, minutes_ago=30)
    keep_report(store, {"small": GOOD, "bank-1": FAIR}, minutes_ago=20)
    with pytest.raises(Refused, match=r"-40\.0 points"):
        promote(store, "support", "bank-1")


def test_a_named_report_is_the_one_that_counts(store: Store) -> None:
    keep_adapter(store, "bank-1", "a1")
    older = keep_report(store, {"small": POOR, "bank-1": GOOD}, minutes_ago=30)
    keep_report(store, {"small": GOOD, "bank-1": FAIR}, minutes_ago=20)
    elsewhere = keep_report(store, {"another": POOR, "bank-1": GOOD}, minutes_ago=10)
    with pytest.raises(Refused, match=f"{elsewhere.id} did not measure both"):
        promote(store, "support", "bank-1", report=elsewhere)
    assert promote(store, "support", "bank-1", report=older).report_id == older.id


def test_training_cases_are_no_evidence(store: Store) -> None:
    keep_adapter(store, "bank-1", "a1")
    keep_report(store, {"small": POOR, "bank-1": GOOD}, split="train")
    with pytest.raises(Refused, match="only held-out cases count"):
        promote(store, "support", "bank-1")


def test_a_name_means_what_it_meant_when_it_was_measured(store: Store) -> None:
    """`bank` was measured, then trained again under the same name: the new weights were never measured."""
    old = keep_adapter(store, "bank", "a1", minutes_ago=30)
    keep_report(store, {"small": POOR, "bank": GOOD}, minutes_ago=20)
    keep_adapter(store, "bank", "a2", minutes_ago=10)
    with pytest.raises(Refused, match="no evaluation has measured both a2 and small"):
        promote(store, "support", "bank")
    assert promote(store, "support", old.id).target == "a1"


def test_an_alias_in_a_report_stands_for_what_it_answered_with(store: Store) -> None:
    keep_adapter(store, "bank-1", "a1")
    keep_adapter(store, "bank-2", "a2")
    store.put(Promotion(at=now() - timedelta(minutes=30), alias="support", target="a1", forced="first"))
    keep_report(store, {"support": POOR, "bank-2": GOOD}, minutes_ago=20)
    assert promote(store, "support", "bank-2").target == "a2"


def test_force_needs_a_reason_and_records_it(store: Store) -> None:
    keep_adapter(store, "bank-1", "a1")
    for empty in ("", "  "):
        with pytest.raises(Refused, match="needs a reason"):
            promote(store, "support", "bank-1", force_reason=empty)
    assert aliases(store) == []
    made = promote(store, "support", "bank-1", force_reason=" outage of the old one ")
    assert (made.forced, made.report_id) == ("outage of the old one", None)


def test_a_providers_model_can_be_an_alias_target_but_needs_a_reason_at_first(store: Store) -> None:
    with pytest.raises(Refused, match="nothing to compare it with"):
        promote(store, "support", "openai/gpt-4.1")
    promote(store, "support", "openai/gpt-4.1", force_reason="the incumbent")
    keep_adapter(store, "bank-1", "a1")
    keep_report(store, {"openai/gpt-4.1": FAIR, "bank-1": GOOD})
    assert promote(store, "support", "bank-1").target == "a1"


def test_promoting_what_answers_already_is_refused(store: Store) -> None:
    keep_adapter(store, "bank-1", "a1")
    promote(store, "support", "bank-1", force_reason="first")
    with pytest.raises(Refused, match="already answers with bank-1"):
        promote(store, "support", "bank-1", force_reason="again")


def test_an_unknown_target_is_told_what_exists(store: Store) -> None:
    keep_adapter(store, "bank-1", "a1")
    with pytest.raises(NotFound, match=r"'bank-9'; there is: bank-1, small"):
        promote(store, "support", "bank-9", force_reason="typo")


@pytest.mark.parametrize("alias", ["", "two words", "provider/model", " support"])
def test_an_alias_is_one_word_without_a_slash(store: Store, alias: str) -> None:
    keep_adapter(store, "bank-1", "a1")
    with pytest.raises(InvalidInput, match="alias"):
        promote(store, alias, "bank-1", force_reason="test")


def test_rollback_goes_back_one_promotion_at_a_time(store: Store) -> None:
    for id in ("a1", "a2", "a3"):
        keep_adapter(store, f"bank-{id}", id)
        promote(store, "support", id, force_reason=f"try {id}")
    newest = last_promotion(store, "support")
    back = rollback(store, "support", reason="customers complained", by="anna")
    assert newest
    assert (back.target, back.undoes, back.forced, back.by) == ("a2", newest.id, "customers complained", "anna")
    assert rollback(store, "support").target == "a1"
    with pytest.raises(Refused, match="nothing to roll support back to"):
        rollback(store, "support")
    assert [made.target for made in history(store, "support")] == ["a1", "a2", "a3", "a2", "a1"]
    assert last_promotion(store, "support") == history(store, "support")[0]


def test_after_a_rollback_the_way_back_leads_past_what_was_taken_back(store: Store) -> None:
    for id in ("a1", "a2", "a3"):
        keep_adapter(store, f"bank-{id}", id)
    promote(store, "support", "a1", force_reason="first")
    promote(store, "support", "a2", force_reason="second")
    rollback(store, "support")
    promote(store, "support", "a3", force_reason="third")
    assert rollback(store, "support").target == "a1"


def test_rollback_keeps_the_evidence_of_what_it_returns_to(store: Store) -> None:
    keep_adapter(store, "bank-1", "a1")
    keep_adapter(store, "bank-2", "a2")
    report = keep_report(store, {"small": POOR, "bank-1": GOOD})
    promote(store, "support", "bank-1")
    promote(store, "support", "bank-2", force_reason="hope")
    back = rollback(store, "support")
    assert (back.report_id, back.forced) == (report.id, "rolled back from a2")


def test_rollback_of_an_unknown_alias_names_the_known_ones(store: Store) -> None:
    keep_adapter(store, "bank-1", "a1")
    promote(store, "support", "bank-1", force_reason="first")
    with pytest.raises(NotFound, match="'suport'; there is: support"):
        rollback(store, "suport")


def test_aliases_do_not_disturb_each_other(store: Store) -> None:
    keep_adapter(store, "bank-1", "a1")
    keep_adapter(store, "bank-2", "a2")
    promote(store, "support", "a1", force_reason="first")
    promote(store, "sales", "a2", force_reason="first")
    promote(store, "sales", "a1", force_reason="second")
    rollback(store, "sales")
    assert [made.target for made in history(store, "support")] == ["a1"]
    assert aliases(store) == ["sales", "support"]


def _measured(model: str, outcomes: str) -> ModelReport:
    cases = tuple(
        CaseResult(
            scenario_id=f"case-{i}",
            kind="balance",
            success=letter == "+",
            reason="",
            turns=1,
            prompt_tokens=1,
            completion_tokens=1,
            cost_usd=None,
            latency=0.1,
            session=f"{model}-{i}",
        )
        for i, letter in enumerate(outcomes)
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
