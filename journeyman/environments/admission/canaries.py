"""Canaries: players who do nothing of use attempt what a policy is trained on. Whatever pays them is a leak."""

from collections.abc import Sequence

from journeyman.engines.scripted import ScriptedEngine
from journeyman.environments.admission.players import CANARIES, random_player_of
from journeyman.environments.environment import Suite
from journeyman.environments.rollout import roll_out_many
from journeyman.records import Scenario, Trajectory

RANDOM = "random"
"""It may win by honest chance: a canary only where there is a real system to hold it against."""


async def play_canaries(
    suite: Suite, scenarios: Sequence[Scenario], seed: int, *, max_calls: int, seconds_per_call: float
) -> dict[str, list[Trajectory]]:
    """Each canary's attempts, and the random player's, one at each scenario, in their order."""
    scripts = {**CANARIES, RANDOM: random_player_of(suite, seed)}
    return {
        name: await roll_out_many(
            suite, scenarios, ScriptedEngine(script), f"canary/{name}", max_calls=max_calls,
            call_timeout=seconds_per_call, tags={"stage": "canary"},
        )
        for name, script in scripts.items()
    }  # fmt: skip
