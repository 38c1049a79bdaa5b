"""Customers of the example bank, served as in production: every call is captured, what came of it told as feedback."""

from collections.abc import Callable, Sequence

import aiohttp
from openai import AsyncOpenAI

from journeyman.demos.agent import StockClientEngine
from journeyman.demos.bank.environment import BankSuite
from journeyman.demos.stack import StepFailed
from journeyman.environments.rollout import roll_out_many
from journeyman.records import Trajectory

SERVED_AT_ONCE = 8
SERVED_WELL = "tags.stage = production and feedback.success = 1"
"""The filter of the conversations that are worth learning from."""


async def serve_customers(
    base_url: str, model: str, count: int, seed: int, on_done: Callable[[Trajectory], None] = lambda trajectory: None
) -> list[Trajectory]:
    """Serve `count` customers by `model` through the gateway at `base_url`; what came of each goes in as feedback.

    `on_done` is told of each conversation as it ends. StepFailed when not one customer got what they wanted.
    """
    suite = BankSuite()
    async with AsyncOpenAI(base_url=base_url, api_key="none-needed") as client:
        served = await roll_out_many(
            suite, suite.scenarios("train", count, seed), StockClientEngine(client), model,
            tags={"stage": "production"}, concurrency=SERVED_AT_ONCE, on_done=on_done,
        )  # fmt: skip
    await _tell_outcomes(base_url, served)
    if not any(trajectory.score("success") == 1 for trajectory in served):
        reason = next((each.error for each in served if each.error), "no conversation met its goal")
        raise StepFailed(f"the incumbent solved nothing, so there is nothing to learn from: {reason}")
    return served


async def _tell_outcomes(base_url: str, served: Sequence[Trajectory]) -> None:
    async with aiohttp.ClientSession(raise_for_status=True) as http:
        for trajectory in served:
            outcome = {"session": trajectory.session, "name": "success", "value": trajectory.score("success")}
            async with http.post(f"{base_url}/feedback", json=outcome):
                pass
