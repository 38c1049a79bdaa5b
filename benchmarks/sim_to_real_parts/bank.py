"""The bank: its tools answered by a world of its traces, its customers by the demo's own code, judged by its verifier.

The verifier looks at books to which the changes that the world confirmed were applied, at what the customer was told,
and at the rules; it knows the truth of the case and nothing of the world.
"""

import json
import random
from collections.abc import Iterable, Mapping, Sequence

from fidelity_parts import bank_traces

from journeyman.demos.bank.case import Case
from journeyman.demos.bank.environment import MAX_CALLS, BankEnvironment, BankSuite
from journeyman.demos.bank.events import Ran, Said
from journeyman.demos.bank.players import gold, null, random_calls
from journeyman.demos.bank.tools import TIMEOUT, TOOLS, Result, read_arguments, run_tool, written
from journeyman.demos.bank.verifier import VERSION, verify_again
from journeyman.engines.scripted import Script
from journeyman.environments.environment import Observation
from journeyman.errors import InvalidInput
from journeyman.records import FunctionCall, Message, Outcome, Scenario, Score, Tool, ToolCall, Trajectory
from journeyman.records.message import tool_result
from journeyman.worlds.environment import WorldEnvironment, WorldSuite
from journeyman.worlds.making import make_world
from journeyman.worlds.resolver import Resolver
from journeyman.worlds.world import Start, World
from sim_to_real_parts.consistency import play

CHANGES = ("freeze_card", "dispute_transaction", "transfer", "hand_over")
STRAYS = {"noisy-10": 0.1, "noisy": 0.25, "weak": 0.6}
_STRAYING = "weak"
_IN_TURN = ("gold", "noisy", "gold", "weak", "noisy", "gold", "weak", "noisy")
_MET_BY = (*(3 * _IN_TURN), *_IN_TURN[:-1], "random")
"""Who meets the scenarios of `world_of_many`, in turn. What random calls tell is lost to the world, which is measured
on them as an unseen policy: there are no more of them than that takes."""
_HELD_OUT = 16
POLICIES = ("gold", *STRAYS, "random", "null")


class DeskInWorld(BankEnvironment):
    """One conversation whose tools a world answers. Where the world does not know, it ends without a verdict."""

    def __init__(self, scenario: Scenario, world: World, start: Start, resolver: Resolver) -> None:
        super().__init__(scenario)
        within = Scenario(id=scenario.id, environment=f"world/{world.name}", kind="world")
        self._tools = WorldEnvironment(within, start, world, resolver, world.faults("off"))

    async def step(self, reply: Message) -> Observation:
        """Let the world answer the calls, and note what it confirmed; without calls, the customer answers."""
        if not reply.tool_calls:
            return await super().step(reply)
        if self.is_done:
            raise InvalidInput("this episode is over; start a new environment for another one")
        self.calls += 1
        if reply.text.strip():
            self.log.append(Said(by="agent", text=reply.text, goal=self.customer.goal_index))
        told: list[Message] = []
        for call in reply.tool_calls:
            if self._tools.abstained is None:
                told += await self._told(call)
        self.is_done = self._tools.abstained is not None or self.calls >= MAX_CALLS
        return Observation(messages=tuple(told), tools=TOOLS, done=self.is_done)

    async def _told(self, call: ToolCall) -> tuple[Message, ...]:
        """The world's answer to one call; or the timeout that the case has in store for the first call of a tool.

        It strikes here as there, since both are played under the same random numbers: actions that met another timeout
        than the one that they answer would not win again, whatever the world is worth.
        """
        arguments = _accepted(call.function)
        if call.function.name == self.fault and arguments is not None:
            self.fault, seen = None, (tool_result(call.id, written({"error": TIMEOUT})),)
        else:
            asked = Message(role="assistant", content=None, tool_calls=(call,))
            # Without the spaces, as the bank writes JSON: the players' random numbers follow from what they read.
            seen = tuple(
                tool_result(call.id, written(_result(each.text))) for each in (await self._tools.step(asked)).messages
            )
        if self._tools.abstained is None and arguments is not None:
            self._note(call.function.name, arguments, seen[0].text)
        return seen

    def score(self) -> tuple[Score, ...]:
        """See `verdict`."""
        return verdict(self.case, self.outcome())

    def outcome(self) -> Outcome:
        """What the bank keeps of an episode, and why the world abstained, where it did."""
        kept = super().outcome()
        return kept.model_copy(update={"state": {**kept.state, "abstained": self._tools.abstained}})

    def _copy(self) -> "DeskInWorld":
        twin = super()._copy()
        assert isinstance(twin, DeskInWorld)
        (twin._tools,) = self._tools.fork(1)
        return twin

    def _note(self, tool: str, arguments: dict[str, str | int], told: str) -> None:
        result = _result(told)
        self.log.append(Ran(tool=tool, arguments=arguments, result=result, goal=self.customer.goal_index))
        if tool in CHANGES and "error" not in result:
            run_tool(self.bank, tool, arguments)


def verdict(case: Case, outcome: Outcome) -> tuple[Score, ...]:
    """The bank's own scores of an episode in a world; none where the world abstained."""
    if (reason := outcome.state["abstained"]) is not None:
        return (Score(name="abstained", value=1.0, reason=reason),)
    return (*verify_again(case, outcome), Score(name="abstained", value=0.0))


def _accepted(call: FunctionCall) -> dict[str, str | int] | None:
    """The arguments, where the bank would carry the call out; what breaks a schema it neither carries out nor keeps."""
    try:
        return read_arguments(call)
    except ValueError:
        return None


def _result(told: str) -> Result:
    return json.loads(told) if told.startswith("{") else {"answer": told}


def world_of(scenarios: int, seed: int) -> tuple[World, dict[str, Scenario], int]:
    """The world of captured sessions of five policies, the scenario of each of its starts, and how many calls of tools
    were captured for it.

    Beside those of benchmarks/fidelity.py, an expert that strays most of the time: what a system refuses is learned
    from who asks for it.
    """
    attempts = []
    for policy in bank_traces.POLICIES:
        count = scenarios // 2 if policy == "random" else scenarios
        played = bank_traces.trajectories(policy, "train", count, seed + 1)
        attempts += [each.model_copy(update={"session": f"{policy}-{at}"}) for at, each in enumerate(played)]
    for at, scenario in enumerate(REAL.scenarios("train", scenarios, seed + 1)):
        strayed = play(REAL.environment(scenario), scenario, script(_STRAYING, scenario, seed + 1))
        attempts.append(strayed.model_copy(update={"session": f"{_STRAYING}-{at}", "model": _STRAYING}))
    return _made(attempts, seed)


def world_of_many(scenarios: int, seed: int) -> tuple[World, dict[str, Scenario], int]:
    """The same of scenarios that were met once each, by one policy or another: as many starts as calls can buy.

    Whoever trains in a world of few starts learns those by heart.
    """
    attempts = []
    for at, scenario in enumerate(REAL.scenarios("train", scenarios, seed + 1)):
        policy = _MET_BY[at % len(_MET_BY)]
        played = play(REAL.environment(scenario), scenario, script(policy, scenario, seed + 1))
        attempts.append(played.model_copy(update={"session": f"{policy}-{at}", "model": policy}))
    return _made(attempts, seed)


def _made(attempts: Sequence[Trajectory], seed: int) -> tuple[World, dict[str, Scenario], int]:
    world = make_world("bank", attempts, seed=seed)
    by_session = {each.session: each.scenario for each in attempts if each.scenario is not None}
    return world, {start.id: by_session[start.id] for start in world.starts}, calls_of(attempts)


def calls_of(attempts: Iterable[Trajectory]) -> int:
    """How many calls of tools there are in attempts."""
    return sum(len(said.tool_calls or ()) for each in attempts for said in each.messages)


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


class DeskSuite:
    """The cases that a world was built of; `of_start` are their scenarios by start.

    One in sixteen is held out: who learns here is measured in the bank, on cases that no world knows.
    """

    name = "bank-in-world"
    version = VERSION

    def __init__(self, world: World, of_start: Mapping[str, Scenario]) -> None:
        self._drawing = WorldSuite(world, faults="off", training=True, held_out=_HELD_OUT)
        self._world, self._resolver, self._of_start = world, world.built.resolver(), of_start
        self._starts = {of_start[start.id].id: start for start in world.starts}

    @property
    def content(self) -> str:
        """The world's."""
        return self._world.content

    def scenarios(self, split: str, count: int, seed: int) -> Sequence[Scenario]:
        """`count` cases, as the world draws its starts; the same one again where there are fewer."""
        drawn = self._drawing.scenarios(split, count, seed)
        cases = [self._of_start[each.data["start"]] for each in drawn]
        return [each.model_copy(update={"environment": self.name}) for each in cases]

    def environment(self, scenario: Scenario) -> DeskInWorld:
        """A fresh episode of that case."""
        return DeskInWorld(scenario, self._world, self._starts[scenario.id], self._resolver)

    def verify(self, scenario: Scenario, outcome: Outcome) -> tuple[Score, ...]:
        """See `verdict`."""
        return verdict(Case.model_validate(scenario.data), outcome)

    def gold(self, scenario: Scenario) -> Script:
        """The scripted expert."""
        return gold


REAL = BankSuite()
