"""Results of benchmarks are kept in one shape, with the machine named."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def record() -> ModuleType:
    """`benchmarks/record.py`; the folder is no package, its files are commands."""
    path = Path(__file__).parent.parent / "benchmarks" / "record.py"
    spec = importlib.util.spec_from_file_location("benchmark_record", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_results_are_printed_and_written(
    record: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    rows = [
        record.row("success, distilled", 71.0, "%", interval=(61.5, 79.0), bar="at least 60%", holds=True),
        record.row("success, base", 2.0, "%"),
    ]
    path = record.write_results("demo", rows, seed=3, extra={"cases": 100}, folder=tmp_path / "results")
    kept = json.loads(path.read_text())
    assert path.name == "demo.json"
    assert list(kept) == ["name", "when", "machine", "versions", "seed", "rows", "cases"]
    assert (kept["seed"], kept["cases"]) == (3, 100)
    assert kept["rows"][0] == {
        "what": "success, distilled", "value": 71.0, "unit": "%", "interval": [61.5, 79.0],
        "bar": "at least 60%", "holds": True,
    }  # fmt: skip
    printed = capsys.readouterr().out
    for shown in ("success, distilled", "71 %", "61.5 to 79", "at least 60%", "yes"):
        assert shown in printed


def test_a_bar_and_its_verdict_come_together(record: ModuleType) -> None:
    with pytest.raises(ValueError, match="together"):
        record.row("success", 71.0, "%", bar="at least 60%")


def test_extra_facts_cannot_replace_the_measured_ones(record: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="seed"):
        record.write_results("demo", [], seed=3, extra={"seed": 4}, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_quick_look_leaves_the_kept_results_alone(record: ModuleType, tmp_path: Path) -> None:
    kept = record.write_results("demo", [record.row("success", 71.0, "%")], seed=3, folder=tmp_path)
    before = kept.read_bytes()
    quick = record.write_results("demo", [], seed=3, folder=tmp_path, quick=True)
    assert quick.name == "demo.quick.json"
    assert kept.read_bytes() == before
