"""The simulations of `benchmarks/hacking.py` and `benchmarks/judges.py`: that they plant what they say they plant."""

import importlib
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of the benchmarks' folder, which is no package of ours."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def test_a_policy_learns_what_is_paid_and_the_watch_sees_it(part: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hacking = part("hacking")
    monkeypatch.setattr(hacking, "STEPS", 14)
    worlds = {world.name: world for world in hacking.CLEAN + hacking.PLANTED}
    report, truths, measures = hacking.run(worlds["two sound judges"], 0)
    assert report.alarms == ()
    assert truths[-1] > truths[0]
    report, _, measures = hacking.run(worlds["busy work"], 0)
    assert measures[-1].repeats > measures[0].repeats
    report, _, _ = hacking.run(worlds["a magic word"], 0)
    assert hacking.MAGIC in {alarm.word for alarm in report.alarms}


async def test_planted_judges_are_defeated_and_are_worth_defeating(part: Any) -> None:
    judges = part("judges")
    found = {row["what"]: row for row in await judges.planted(6)}
    assert all(row["holds"] for row in found.values() if row["bar"])
    assert found["a reordered reply: the same, read naively"]["value"] < 6
    assert found["copies within a group: the same, read naively"]["value"] == 6
    first, last = found["a liking for late places, read naively: paid to the group's first over its last"]["interval"]
    assert first <= last < -0.2
