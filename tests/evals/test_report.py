"""A report says everything that is needed to believe it, on a page and in a file."""

import errno
from pathlib import Path

import pytest

from journeyman.errors import DiskFull
from journeyman.evals import save, to_markdown
from journeyman.evals.slices import by_slice
from journeyman.records import CaseResult, EvalReport, ModelReport, Sampling
from journeyman.statistics import compare, proportion
from journeyman.store.memory import MemoryStore


def model(name: str, outcomes: str, cost: float | None = None) -> ModelReport:
    """One case a letter: capitals are of kind `transfer`, `+`/`Y` succeed, `-`/`N` fail."""
    cases = tuple(
        CaseResult(
            scenario_id=f"case-{i}",
            kind="transfer" if letter in "YN" else "balance",
            success=letter in "+Y",
            reason="",
            turns=3,
            prompt_tokens=1500,
            completion_tokens=40,
            cost_usd=cost,
            latency=0.5,
            session=f"{name}-{i}",
        )
        for i, letter in enumerate(outcomes)
    )
    return ModelReport(
        model=name,
        success=proportion(sum(case.success for case in cases), len(cases)),
        turns=3,
        prompt_tokens=1500,
        completion_tokens=40,
        cost_usd_per_thousand=None if cost is None else 1000 * cost,
        latency_p50=0.25,
        latency_p95=1.5,
        errors=2,
        cases=cases,
    )


@pytest.fixture
def report() -> EvalReport:
    old, new = model("old|er", "----" * 10 + "NNYY"), model("new", "++++" * 10 + "YYYY", cost=0.0012)
    return EvalReport(
        suite="bank",
        seed=7,
        sampling=Sampling(temperature=0.0),
        models=(old, new),
        differences=(compare(new, old),),
        machine={"cpu": "Some CPU", "cores": 2, "versions": {"torch": "2.13.0"}},
        prices_as_of="2026-01-31",
    )


def test_the_page_tells_rates_with_intervals_money_and_latency(report: EvalReport) -> None:
    page = to_markdown(report)
    assert "| new | 100.0% (92.0 to 100.0) | 2 | 3.0 | 1,500 | 40 | $1.20 | 0.25 s | 1.50 s |" in page
    assert "| old\\|er | 4.5% (" in page
    assert "| unknown |" in page


def test_the_page_compares_case_by_case_and_by_kind(report: EvalReport) -> None:
    page = to_markdown(report)
    assert "| new | old\\|er | +95.5 points (" in page
    assert "| 42 | 0 | better |" in page
    assert "| slice | cases | old\\|er | new |" in page
    assert "| kind transfer | 4 | 50.0% (15.0 to 85.0) | 100.0% (51.0 to 100.0) |" in page


def test_the_page_names_what_it_takes_to_measure_again(report: EvalReport) -> None:
    page = to_markdown(report)
    for fact in ("44 held-out cases", "seed 7", "temperature 0.0", "as of 2026-01-31", "Some CPU", "torch 2.13.0"):
        assert fact in page
    assert report.id in page


def test_every_row_of_a_table_has_as_many_cells_as_its_header(report: EvalReport) -> None:
    for block in to_markdown(report).split("\n\n"):
        if block.startswith("|"):
            assert len({line.replace("\\|", "").count("|") for line in block.splitlines()}) == 1, block


def test_slices_sum_to_the_whole(report: EvalReport) -> None:
    slices = by_slice(report.models[0].cases)
    won = {name: (sum(case.success for case in cases), len(cases)) for name, cases in slices.items()}
    assert won == {"kind balance": (0, 40), "kind transfer": (2, 4)}


def test_saved_is_kept_as_evidence_and_as_files(report: EvalReport, tmp_path: Path) -> None:
    store = MemoryStore()
    page, data = save(report, store, tmp_path / "new" / "folder")
    assert store.get(EvalReport, report.id) == report
    assert page.read_text() == to_markdown(report)
    assert EvalReport.model_validate_json(data.read_text()) == report
    assert sorted(path.name for path in page.parent.iterdir()) == sorted(
        page.with_suffix(ending).name for ending in (".md", ".json", ".xml", ".html")
    )


def test_a_full_disk_leaves_no_half_file_and_keeps_the_evidence(
    report: EvalReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, text: str, **_: object) -> int:
        self.write_bytes(text.encode()[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    store = MemoryStore()
    with pytest.raises(DiskFull, match=report.id):
        save(report, store, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert store.get(EvalReport, report.id) == report
