from collections.abc import Awaitable, Callable

import pytest

from journeyman.demos.bank.environment import BankSuite
from journeyman.engines.scripted import Script, ScriptedEngine
from journeyman.environments.rollout import roll_out_many
from journeyman.records import Trajectory

Play = Callable[..., Awaitable[list[Trajectory]]]


@pytest.fixture
def play() -> Play:
    """Plays a script over the scenarios of a kind (all kinds without one) among the first `count` of a split."""

    async def play(script: Script, kind: str = "", split: str = "held-out", count: int = 150) -> list[Trajectory]:
        suite = BankSuite()
        scenarios = [scenario for scenario in suite.scenarios(split, count, 11) if kind in ("", scenario.kind)]
        return await roll_out_many(suite, scenarios, ScriptedEngine(script), "player")

    return play
