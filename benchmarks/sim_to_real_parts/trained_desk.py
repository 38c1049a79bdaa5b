"""The bank in the world that lies in this home, for `journeyman train rl sim_to_real_parts.trained_desk:suite`."""

import json
from pathlib import Path
from typing import Any

from journeyman.config import default_home
from journeyman.records import Scenario
from journeyman.worlds.world import load_world
from sim_to_real_parts.bank import DeskSuite, world_of_many

NAME, _CASES = "bank", "cases.json"


def keep(home: Path, scenarios: int, seed: int) -> None:
    """Build a world of so many captured scenarios, and write it, the case of each of its starts, and what it cost."""
    folder, (world, of_start, calls) = home / "worlds", world_of_many(scenarios, seed)
    world.save(folder)
    cases = {start: case.model_dump(mode="json") for start, case in of_start.items()}
    (folder / NAME / _CASES).write_text(json.dumps({"calls": calls, "of_start": cases}), encoding="utf-8")


def kept(home: Path) -> DeskSuite:
    """The suite of what `keep` wrote; NotFound where it wrote nothing."""
    folder = home / "worlds"
    world = load_world(NAME, folder)
    cases = _cases(home)["of_start"]
    return DeskSuite(world, {start: Scenario.model_validate(case) for start, case in cases.items()})


def captured_calls(home: Path) -> int:
    """How many calls of the real bank's tools the world was built of, those included that its card was measured on."""
    return int(_cases(home)["calls"])


def _cases(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home / "worlds" / NAME / _CASES).read_text(encoding="utf-8"))
    return found


def __getattr__(name: str) -> DeskSuite:
    if name == "suite":
        return kept(default_home())
    raise AttributeError(name)
