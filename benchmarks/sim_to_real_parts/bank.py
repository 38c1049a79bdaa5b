"""The bank: its tools answered by a world of its traces, its customers by the demo's own code, judged by its verifier.

The verifier looks at books to which the changes that the world confirmed were applied, at what the customer was told,
and at the rules; it knows the truth of the case and nothing of the world.
"""

import json
import random
from collections.abc import Sequence
from typing import Any

from fidelity_parts import bank_traces

from journeyman.demos.bank.environment import BankEnvironment, BankSuite
from journeyman.demos.bank.events import Ran
from journeyman.demos.bank.players import gold, null, random_calls
from journeyman.demos.bank.tools import TOOLS, run_tool
from journeyman.engines.scripted import Script
from journeyman.environments.environment import Observation
from journeyman.errors import InvalidInput
from journeyman.records import Message, Scenario, Score, Tool
from journeyman.worlds.environment import WorldEnvironment
from journeyman.worlds.making import make_world
from journeyman.worlds.resolver import Resolver
from journeyman.worlds.transitions import arguments_of
from journeyman.worlds.world import Start, World

CHANGES = ("freeze_card", "dispute_transaction", "transfer", "hand_over")
STRAYS = {"noisy-10": 0.1, "noisy": 0.25, "weak": 0.6}
POLICIES = ("gold", *STRAYS, "random", "null")


class DeskInWorld(BankEnvironment):
    """One conversation whose tools a world answers. Where the world does not know, it ends without a verdict."""

    def __init__(self, scenario: Scenario, world: World, start: Start, resolver: Resolver) -> None:
        super().__init__(scenario)
        within = Scenario(id=scenario.id, environment=f"world/{world.name}", kind="world")
        self._tools = WorldEnvironment(within, start, world, resolver, world.faults())

    async def step(self, reply: Message) -> Observation:
        """Let the world answer the calls, and note what it confirmed; without calls, the customer answers."""
        if not reply.tool_calls:
            return await super().step(reply)
        if self.is_done:
            raise InvalidInput("this episode is over; start a new environment for another one")
        self.calls += 1
        seen = await self._tools.step(reply)
        for call, told in zip(reply.tool_calls, seen.messages, strict=False):
            self._note(call.function.name, arguments_of(call.function), told.text)
        self.is_done = self._tools.abstained is not None or self.calls >= 12
        return Observation(messages=seen.messages, tools=TOOLS, done=self.is_done)

    def score(self) -> tuple[Score, ...]:
        """The bank's own verdict; none where the world abstained."""
        if self._tools.abstained is not None:
            return (Score(name="abstained", value=1.0, reason=self._tools.abstained),)
        return (*super().score(), Score(name="abstained", value=0.0))

    def _note(self, tool: str, arguments: dict[str, Any] | None, told: str) -> None:
        result = json.loads(told) if told.startswith("{") else {"answer": told}
        if arguments is None:
            return
        self.log.append(Ran(tool=tool, arguments=arguments, result=result, goal=self.customer.goal_index))
        if tool in CHANGES and "error" not in result:
            run_tool(self.bank, tool, arguments)


def world_of(scenarios: int, seed: int) -> tuple[World, dict[str, Scenario]]:
    """The world of captured sessions of four policies, and the scenario of each of its starts."""
    attempts = []
    for policy in bank_traces.POLICIES:
        count = scenarios // 2 if policy == "random" else scenarios
        played = bank_traces.trajectories(policy, "train", count, seed + 1)
        attempts += [each.model_copy(update={"session": f"{policy}-{at}"}) for at, each in enumerate(played)]
    world = make_world("bank", attempts, seed=seed)
    by_session = {each.session: each.scenario for each in attempts if each.scenario is not None}
    return world, {start.id: by_session[start.id] for start in world.starts}


def script(policy: str, scenario: Scenario, seed: int) -> Script:
    """The policy as a scripted player: the expert, the expert that strays, calls at random, or mere politeness."""
    if policy == "gold":
        return gold
    if policy == "null":
        return null
    wander = random_calls(seed)
    if policy == "random":
        return wander
    rng = random.Random(f"{policy}/{seed}/{scenario.id}")

    def act(messages: Sequence[Message], tools: Sequence[Tool]) -> Message:
        strays = messages[-1].role == "tool" and rng.random() < STRAYS[policy]
        return wander(messages, tools) if strays else gold(messages, tools)

    return act


REAL = BankSuite()
