"""A world as an environment: the agent calls tools, the resolver answers, the state remembers, faults strike.

Tools that the real system answers, where that is allowed, fail as they fail there: no fault is drawn for them.
"""

import asyncio
import json
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from journeyman.config import Settings, default_home
from journeyman.environments.determinism import Draws, VirtualClock
from journeyman.environments.ensemble import EnsembleSuite
from journeyman.environments.environment import Observation
from journeyman.errors import InvalidInput
from journeyman.records import Message, Outcome, Scenario, Score, ToolCall
from journeyman.records.message import tool_result
from journeyman.worlds.ensemble import member_names
from journeyman.worlds.faults import Fault, Faults, Mode
from journeyman.worlds.learned.model import learned_of
from journeyman.worlds.real import Allowed, RealTools, allowed_for
from journeyman.worlds.resolver import Answer, Learned, Resolver
from journeyman.worlds.state import Source, State, drawn
from journeyman.worlds.texts.environment import TextWorldEnvironment
from journeyman.worlds.transitions import arguments_of
from journeyman.worlds.verdict import verify
from journeyman.worlds.world import Start, World, load_world

MAX_CALLS = 40
VERSION = "worlds-1"
HELD_OUT = 4
"""One start in so many is held out, unless a suite says otherwise."""


@dataclass(frozen=True)
class Answered:
    """One tool call of the agent's: what it was told, by which layer, and the fault that struck, if one did."""

    tool: str
    arguments: dict[str, Any]
    observation: Any
    source: str
    confidence: float
    evidence: tuple[str, ...]
    fault: str | None = None


class WorldEnvironment:
    """One episode in a world. It never rewards by itself: what the scenario expects of the state decides.

    An answer that no layer is sure of ends the episode: the attempt then has no `success`, so no reward is made of it.
    """

    def __init__(
        self, scenario: Scenario, start: Start, world: World, resolver: Resolver, faults: Faults,
        real: RealTools | None = None,
    ) -> None:  # fmt: skip
        self._scenario, self._start, self._world = scenario, start, world
        self._resolver, self._faults, self._real = resolver, faults, real
        seed = int(scenario.data.get("seed", 0))
        self.state = State(start.document, seed)
        self.clock = VirtualClock()
        self.log: list[Answered] = []
        self.abstained: str | None = None
        self._draws = Draws(f"{world.name}/{seed}/{start.id}")
        self._said = 0
        self._failed: dict[str, bool] = {}
        self.is_done = False

    async def start(self) -> Observation:
        """What the captured session began with, and the tools."""
        return Observation(messages=self._start.messages, tools=self._world.tools)

    async def step(self, reply: Message) -> Observation:
        """Answer the agent's calls in order; without any, the user says what the captured one said next."""
        if self.is_done:
            raise InvalidInput("this episode is over; start a new environment for another one")
        messages: tuple[Message, ...] = ()
        if reply.tool_calls:
            for call in reply.tool_calls:
                messages = (*messages, tool_result(call.id, await self._tell(call)))
                if self.abstained is not None:
                    break
        else:
            messages = self._start.later[self._said : self._said + 1]
            self._said += 1
        self.is_done = self.abstained is not None or not messages or self.state.step >= MAX_CALLS
        return Observation(messages=messages, tools=self._world.tools, done=self.is_done)

    def fork(self, n: int) -> "Sequence[WorldEnvironment]":
        """`n` copies that share nothing which one of them could change."""
        return [self._copy() for _ in range(n)]

    def score(self) -> tuple[Score, ...]:
        """What `verify` says of the outcome so far."""
        return verify(self._scenario, self.outcome())

    def outcome(self) -> Outcome:
        """The state and what happened, as JSON."""
        events = [
            {
                "tool": each.tool, "arguments": each.arguments, "observation": each.observation, "source": each.source,
                "confidence": each.confidence, "evidence": list(each.evidence), "fault": each.fault,
            }
            for each in self.log
        ]  # fmt: skip
        state = {"document": self.state.document, "abstained": self.abstained, "faults": self._faults.mode}
        return Outcome(state=json.loads(json.dumps(state)), events=tuple(json.loads(json.dumps(events))))

    async def close(self) -> None:
        """End the server of the real tools, if one was started; nothing else is held."""
        if self._real is not None:
            await self._real.close()

    def _copy(self) -> "WorldEnvironment":
        twin = copy(self)
        twin.state, twin.clock, twin.log, twin._failed = (
            self.state.fork(),
            self.clock.fork(),
            list(self.log),
            dict(self._failed),
        )
        twin._real = None if self._real is None else self._real.again()
        return twin

    async def _tell(self, call: ToolCall) -> str:
        name, arguments = call.function.name, arguments_of(call.function)
        if arguments is None:
            return json.dumps({"error": "arguments are no JSON object"})
        self.state.step += 1
        if self._real is not None and name in self._real.tools:
            answer = await self._real.answer(name, arguments)
            return self._noted(name, arguments, answer.observation, answer, None)
        # Asking a model takes its time, and must not hold up the other episodes of this loop.
        asks = self._resolver.learned is not None
        return await asyncio.to_thread(self._told, name, arguments) if asks else self._told(name, arguments)

    def _told(self, name: str, arguments: dict[str, Any]) -> str:
        fault = self._faults.strike(self._draws, name, self.state.step, self._failed.get(name))
        self._failed[name] = fault is not None
        self.clock.advance(self._faults.latency(self._draws, name, self.state.step))
        told = fault.observation if fault is not None else None
        if fault is None or fault.carried_out:
            answer = self._resolver.answer(name, arguments, self.state)
            if answer.source == "abstain":
                self.abstained = answer.reason
            source: Source = "drawn" if answer.source == "drawn" else "written"
            self.state.commit(answer.changes, source, f"{self.state.step} {name}")
            told = told if fault is not None else answer.observation
        else:
            answer = Answer(told, "abstain", 1.0)
        return self._noted(name, arguments, told, answer, fault)

    def _noted(self, name: str, arguments: dict[str, Any], told: Any, answer: Answer, fault: Fault | None) -> str:
        self.log.append(_answered(name, arguments, told, answer, fault))
        return told if isinstance(told, str) else json.dumps(told, ensure_ascii=False)


class WorldSuite:
    """The starts of a world as scenarios, one in four of them held out."""

    version = VERSION

    def __init__(
        self,
        world: World,
        *,
        faults: Mode = "faithful",
        times: float = 1.0,
        training: bool = False,
        learned: Learned | None = None,
        allowed: Allowed | None = None,
        held_out: int = HELD_OUT,
    ) -> None:
        """`allowed` are the tools that the real system answers; a world of words has none. One start in `held_out` is
        kept from training: few, where the agent is measured in the real system."""
        if training:
            world.check_training()
        if world.text is not None and faults == "stress":
            raise InvalidInput(f"world {world.name} is one of words, whose faults are not known; leave out stress")
        if world.text is not None and allowed is not None:
            raise InvalidInput(f"world {world.name} is one of words: it has no tools that could be asked for real")
        self.name = f"world/{world.name}" + (f" (stress x{times:g})" if faults == "stress" else "")
        self.world, self._faults = world, world.faults(faults, times)
        self._resolver, self._allowed = world.built.resolver(learned), allowed
        self._starts, self._held_out = {start.id: start for start in world.starts}, held_out

    @cached_property
    def content(self) -> str:
        """The world's, and what is asked for real: an admission holds for what was checked."""
        return self.world.content if self._allowed is None else f"{self.world.content}+{self._allowed.content}"

    def scenarios(self, split: Literal["train", "held-out"] | str, count: int, seed: int) -> Sequence[Scenario]:
        """`count` scenarios, drawn without repeating a start, and taken again under another seed where there are fewer.

        Another seed draws others: who trains asks for a few at every step, and is to meet them all.
        """
        wants = split == "held-out"
        names = [name for name in self._starts if (drawn(0, "split", name) % self._held_out == 0) == wants]
        if not names:
            raise InvalidInput(f"world {self.world.name} has no start of split {split}; build it from more sessions")
        names.sort(key=lambda name: (drawn(seed, split, name), name))
        expected = {"expect": list(self.world.success)} if self.world.success else {}
        return [
            Scenario(
                id=f"{self.world.name}-{names[number % len(names)]}-{seed + number // len(names)}",
                environment=self.name, kind="world",
                data={"start": names[number % len(names)], "seed": seed + number // len(names), **expected},
            )
            for number in range(count)
        ]  # fmt: skip

    def environment(self, scenario: Scenario) -> WorldEnvironment | TextWorldEnvironment:
        """A fresh episode: of tool calls, or of words where the world was built from such."""
        if scenario.environment != self.name:
            raise InvalidInput(f"scenario {scenario.id} belongs to {scenario.environment!r}, not to {self.name!r}")
        start = self._starts[scenario.data["start"]]
        if self.world.text is not None:
            return TextWorldEnvironment(scenario, start, self.world, self._resolver)
        real = None if self._allowed is None else RealTools(self._allowed)
        return WorldEnvironment(scenario, start, self.world, self._resolver, self._faults, real)

    def verify(self, scenario: Scenario, outcome: Outcome) -> tuple[Score, ...]:
        """See the function of that name."""
        return verify(scenario, outcome)


def world_suite(name: str, folder: Path | None = None) -> WorldSuite | EnsembleSuite:
    """The suite of a world that was built here, or of an ensemble of them; only worlds with a valid card may be trained
    in, so only those are given."""
    folder = folder or default_home() / "worlds"
    members = [_opened(each, folder) for each in member_names(name, folder)]
    return members[0] if len(members) == 1 else EnsembleSuite(members, f"world/{name}")


def _opened(name: str, folder: Path) -> WorldSuite:
    world = load_world(name, folder)
    learned = learned_of(name, world.built.proposer, world.built.memory, folder, Settings())
    return WorldSuite(world, training=True, learned=learned, allowed=allowed_for(world, folder))


def _answered(name: str, arguments: dict[str, Any], told: Any, answer: Answer, fault: Fault | None) -> Answered:
    source = answer.source if fault is None else "fault"
    return Answered(name, arguments, told, source, answer.confidence, answer.evidence, fault.kind if fault else None)
