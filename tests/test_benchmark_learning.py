"""The parts of `benchmarks/learning.py`: what is kept is what was asked for, and a gain is that of its reports."""

import importlib
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from journeyman.config import Settings
from journeyman.errors import InvalidInput
from journeyman.records import CaseResult, EvalReport, Interval, ModelReport, Point, Run
from journeyman.statistics import compare
from journeyman.store.sql import open_store

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of the benchmarks' folder, which is no package of ours."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def test_a_stage_is_done_once_and_never_taken_for_another(part: Any, tmp_path: Path) -> None:
    stages, done = part("learning_parts.stages"), list[str]()
    stages.Stages(tmp_path).once("sft", "train sft", lambda: done.append("sft"))
    again = stages.Stages(tmp_path)
    again.once("sft", "train sft", lambda: done.append("again"))
    assert done == ["sft"]
    assert again.cost("sft") >= 0
    with pytest.raises(InvalidInput, match=r"sft was `train sft`, and is `train sft --epochs 2` now"):
        again.once("sft", "train sft --epochs 2", lambda: done.append("other"))

    def fails() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        again.once("grpo", "train rl", fails)
    stages.Stages(tmp_path).once("grpo", "train rl", lambda: done.append("grpo"))
    assert done == ["sft", "grpo"]


def model_of(name: str, successes: list[int]) -> ModelReport:
    cases = tuple(
        CaseResult(
            scenario_id=f"s{number}", kind="balance", success=count == 2, reason="", turns=3, prompt_tokens=0,
            completion_tokens=0, cost_usd=None, latency=0.0, session="", attempts=2, successes=count,
        )
        for number, count in enumerate(successes)
    )  # fmt: skip
    return ModelReport(
        model=name, success=Interval(estimate=0, low=0, high=1), turns=3, prompt_tokens=0, completion_tokens=0,
        cost_usd_per_thousand=None, latency_p50=None, latency_p95=None, errors=0, cases=cases,
    )  # fmt: skip


def report_of(before: list[int], after: list[int]) -> EvalReport:
    models = model_of("sft", before), model_of("grpo", after)
    return EvalReport(suite="bank", seed=0, models=models, differences=(compare(models[1], models[0]),), attempts=2)


def test_the_gain_of_one_seed_is_that_of_its_report_and_of_several_the_mean_by_scenario(part: Any) -> None:
    bank = part("learning_parts.bank_agent")
    first, second = report_of([0, 1, 0, 2, 1, 0], [1, 2, 2, 2, 1, 1]), report_of([0, 0, 0, 2, 0, 1], [2, 1, 2, 1, 1, 2])
    alone = bank._gain("Bank agent", [first], judged=True)
    stated = first.differences[0].difference
    assert alone["value"] == stated.estimate
    assert alone["interval"] == (stated.low, stated.high)
    assert alone["holds"] == (stated.low > 0)
    both = bank._gain("Bank agent", [first, second], judged=False)
    other = second.differences[0].difference
    assert both["value"] == pytest.approx((stated.estimate + other.estimate) / 2)
    assert both["bar"] is None


def test_a_seed_tells_both_agents_what_they_cost_and_how_far_engine_and_trainer_were_apart(
    part: Any, tmp_path: Path
) -> None:
    bank = part("learning_parts.bank_agent")
    here = bank.BankHome(tmp_path, bank.WHOLE, 1)
    for stage in ("sft", "grpo 0"):
        here.stages.once(stage, stage, lambda: None)
    with closing(open_store(Settings(home=tmp_path))) as store:
        run = Run(kind="rl", config={}, dataset_version="", machine={}, path=str(tmp_path))
        store.put(run, Point(run_id=run.id, step=1, values={"sampler gap": 2e-6}))
    sampled = report_of([0, 1, 0, 2, 1, 0], [1, 2, 2, 2, 1, 1])
    rows = here.rows([sampled], [])
    found = {row["what"]: row for row in rows}
    assert len(found) == len(rows) == 9
    assert all(what.startswith(("Bank agent:", "Bank agent,")) for what in found)
    assert found["Bank agent, seed 0: success of SFT alone, 6 held-out scenarios × 2"]["interval"] == (0, 1)
    assert found["Bank agent: largest difference of engine and trainer"]["value"] == 2e-6
    (judged,) = [row for row in rows if row["bar"]]
    assert judged["value"] == sampled.differences[0].difference.estimate
    assert len(here.rows([sampled], [sampled])) == 13


def test_the_first_of_several_seeds_has_gains_without_an_interval(part: Any) -> None:
    shares = part("learning_parts.ruler").shares
    alone = shares("RULER", [0.5], [0.4])
    assert [row["value"] for row in alone] == [0.5, 0.4, pytest.approx(0.8)]
    assert all(row["interval"] is None for row in alone)
    two = shares("RULER", [0.5, 0.5], [0.4, 0.6])
    assert two[2]["value"] == pytest.approx(1.0)
    assert two[2]["interval"][0] < 1 < two[2]["interval"][1]
    gain = part("learning_parts.one_attempt")._gain
    assert (gain([0.2])["value"], gain([0.2])["interval"], gain([0.2])["holds"]) == (0.2, None, True)
    assert gain([0.2, 0.3])["interval"] == pytest.approx((0.2, 0.3))
