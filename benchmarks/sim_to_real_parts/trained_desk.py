"""The bank in a world that lies in this home: `train rl sim_to_real_parts.trained_desk:suite_0` for that of seed 0."""

import json
from pathlib import Path
from typing import Any

from journeyman.config import default_home
from journeyman.records import Scenario
from journeyman.worlds.world import load_world
from sim_to_real_parts.bank import DeskSuite, world_of_many

SUITE = "suite_"
_NAME, _CASES = "bank", "cases.json"


def keep(home: Path, scenarios: int, seed: int) -> None:
    """Build a world of so many captured scenarios, and write it, the case of each of its starts, and what it cost."""
    folder, (world, of_start, calls) = _folder(home, seed), world_of_many(scenarios, seed)
    world.save(folder)
    cases = {start: case.model_dump(mode="json") for start, case in of_start.items()}
    (folder / _NAME / _CASES).write_text(json.dumps({"calls": calls, "of_start": cases}), encoding="utf-8")


def kept(home: Path, seed: int) -> DeskSuite:
    """The suite of what `keep` wrote; NotFound where it wrote nothing."""
    world = load_world(_NAME, _folder(home, seed))
    cases = _cases(home, seed)["of_start"]
    return DeskSuite(world, {start: Scenario.model_validate(case) for start, case in cases.items()})


def captured_calls(home: Path, seed: int) -> int:
    """How many calls of the real bank's tools the world was built of, those included that its card was measured on."""
    return int(_cases(home, seed)["calls"])


def _cases(home: Path, seed: int) -> dict[str, Any]:
    text = (_folder(home, seed) / _NAME / _CASES).read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def _folder(home: Path, seed: int) -> Path:
    return home / "worlds" / f"seed-{seed}"


def __getattr__(name: str) -> DeskSuite:
    if name.startswith(SUITE):
        return kept(default_home(), int(name.removeprefix(SUITE)))
    raise AttributeError(name)
