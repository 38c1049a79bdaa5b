"""The judgements of `benchmarks/serving.py`: what it calls slow, lost or miscounted."""

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of the benchmarks' folder, which is no package of ours."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def test_decoding_begins_when_every_row_has_its_first_token(part: Any) -> None:
    decoding_speed = part("serving_parts.speeds").decoding_speed
    assert decoding_speed([[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]]) == 3 / 2
    assert decoding_speed([[1.0]]) is None


def test_a_figure_that_could_not_be_measured_has_a_bar_and_no_verdict(part: Any) -> None:
    figure = part("serving_parts.rows").figure
    assert figure("speed", "not run: no vLLM", at_least=1)["holds"] is None
    assert figure("speed", 2.0, at_least=1)["holds"] is True
    assert figure("loss", 41.0, "%", at_most=40)["holds"] is False
    assert figure("leak", 0, at_most=0)["holds"] is True


ENTRY = {"number": 1, "request": "r1", "adapter": "red", "prompt": 5, "cached": 0, "completion": 3, "ended": "length"}
TOTALS = {
    "totals": {
        "base": {"requests": 0, "prompt": 0, "cached": 0, "completion": 0},
        "adapters": {"red": {"requests": 1, "prompt": 5, "cached": 0, "completion": 3}},
    },
    "gauges": {"generated": 3},
}
USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 0}}


def test_books_that_agree_are_called_so(part: Any) -> None:
    assert _judged(part, ENTRY, USAGE) == [0, 0, 0]


def test_one_token_more_than_the_client_saw_is_found(part: Any) -> None:
    assert _judged(part, ENTRY, USAGE | {"completion_tokens": 2}) == [1, 0, 0]


def test_one_token_more_than_the_sums_hold_is_found(part: Any) -> None:
    assert _judged(part, ENTRY | {"completion": 4}, USAGE | {"completion_tokens": 4}) == [0, 0, 1]


def test_an_entry_of_a_request_that_nobody_made_is_found(part: Any) -> None:
    assert _judged(part, ENTRY | {"request": "stranger"}, USAGE) == [1, 1, 0]


def test_parts_are_measured_at_different_times_and_kept_together(
    part: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving: ModuleType = part("serving")
    monkeypatch.setattr(serving, "RESULTS", tmp_path)
    plan = serving.Plan(Path("model"), tmp_path)
    figure = part("serving_parts.rows").figure
    for name, value in (("forks", 0.5), ("vllm", 2.0), ("forks", 0.2), ("vllm", "not run: no vLLM")):
        serving.keep({name: [{**figure("ratio", value), "part": name}]}, plan)
    rows = json.loads((tmp_path / "serving.json").read_text())["rows"]
    assert [(row["part"], row["value"]) for row in rows] == [("vllm", 2.0), ("forks", 0.2)]


def _judged(part: Any, entry: dict[str, Any], usage: dict[str, Any]) -> list[Any]:
    seen = part("serving_parts.soak_clients").Seen("r1", "red", "whole", usage)
    return [row["value"] for row in part("serving_parts.soak_http").reconcile([seen], [entry], TOTALS)]
