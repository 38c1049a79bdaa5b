"""User tasks of AgentDojo: an office's or a bank's tools, and states that its own functions judge.

Needs `pip install agentdojo`. https://github.com/ethz-spylab/agentdojo
"""

import json
from collections.abc import Sequence
from copy import copy, deepcopy
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from pydantic import Field

from journeyman.engines.scripted import Script
from journeyman.environments.adapters.agentdojo_office import Ended, Office, version
from journeyman.environments.environment import Observation
from journeyman.environments.tasks.drawing import digest, require_split, require_suite
from journeyman.errors import InvalidInput
from journeyman.records import Frozen, FunctionCall, Message, Outcome, Scenario, Score, Tool, ToolCall
from journeyman.records.message import assistant, system, tool_result, user

OfficeName = Literal["banking", "slack", "travel", "workspace"]
_BY = "agentdojo"
_HELD_OUT_IN = 4
"""One task in so many is kept for held-out scenarios."""


class AgentDojoSettings(Frozen):
    """Which office, what the agent is told first, and what is injected: texts by the package's names of places.

    Some tasks are won by doing nothing (version 0.1.35: five of the bank's sixteen), because their functions compare
    too little, or nothing. They are left out unless they are wanted `with_free`.
    """

    office: OfficeName = "banking"
    prompt: str = ""
    injections: dict[str, str] = Field(default_factory=dict)
    max_steps: int = Field(30, ge=1)
    with_free: bool = False


class AgentDojoEnvironment:
    """One task. Tool calls are executed at once, on a clock that stands; a reply without any is the answer."""

    def __init__(self, scenario: Scenario, office: Office, settings: AgentDojoSettings) -> None:
        self._scenario, self._office, self._settings = scenario, office, settings
        self._world = office.world(scenario.data["task"], settings.injections)
        self._calls: tuple[dict[str, Any], ...] = ()
        self._answer: str | None = None
        self._steps = 0

    async def start(self) -> Observation:
        """The task."""
        prompt = [system(self._settings.prompt)] if self._settings.prompt else []
        asked = user(self._office.task(self._scenario.data["task"]).PROMPT)
        return Observation(messages=(*prompt, asked), tools=self._office.tools)

    async def step(self, reply: Message) -> Observation:
        """Execute the calls in order; a reply without any ends it."""
        if self._answer is not None or self._steps >= self._settings.max_steps:
            raise InvalidInput("this episode is over; start a new environment for another one")
        self._steps += 1
        if not reply.tool_calls:
            self._answer = reply.text
            return Observation(done=True)
        results = tuple(tool_result(call.id, self._run(call.function)) for call in reply.tool_calls)
        return Observation(
            messages=results, tools=self._office.tools, done=self._steps >= self._settings.max_steps
        )  # fmt: skip

    def fork(self, n: int) -> "Sequence[AgentDojoEnvironment]":
        """`n` independent copies, by a deep copy of the office."""
        return [self._copy() for _ in range(n)]

    def score(self) -> tuple[Score, ...]:
        """`success`: what the task's own function says of answer, calls and state."""
        return judged(self._office, self._scenario.data["task"], self._settings.injections, self.outcome())

    def outcome(self) -> Outcome:
        """The office as it stands, the answer, and the calls."""
        state = {"office": self._world.model_dump(mode="json"), "answer": self._answer}
        return Outcome(state=state, events=self._calls)

    async def close(self) -> None:
        """There is nothing to release."""

    def _run(self, function: FunctionCall) -> str:
        arguments = function.read()
        if arguments is None:
            return "ValidationError: the arguments are not a JSON object"
        self._calls = (*self._calls, {"function": function.name, "args": arguments})
        called = self._office.call(self._world, function.name, arguments)
        return called.text if called.error is None else called.error

    def _copy(self) -> "AgentDojoEnvironment":
        twin = copy(self)
        twin._world = deepcopy(self._world)
        return twin


class AgentDojoSuite:
    """The user tasks of an office."""

    exact_ends = False
    """A task's function looks at what the task is about, and lets the rest be."""

    def __init__(self, settings: AgentDojoSettings = AgentDojoSettings()) -> None:
        self.settings, self.name = settings, f"agentdojo-{settings.office}"
        self._office = Office(settings.office)
        self.version = version()

    def scenarios(self, split: str, count: int, seed: int) -> Sequence[Scenario]:
        """`count` tasks of `split`, in an order that the seed decides, none twice."""
        require_split(split)
        free = {id: self._is_free(id) for id in self._office.tasks}
        # Those that are free come last, so that leaving them out moves no other task to another split.
        ordered = sorted(free, key=lambda id: (free[id], digest([self.name, id])))
        wanted = [id for place, id in enumerate(ordered) if (place % _HELD_OUT_IN == 0) == (split == "held-out")]
        tasks = [id for id in wanted if self.settings.with_free or not free[id]]
        if not 1 <= count <= len(tasks):
            raise InvalidInput(f"{count} scenarios were asked for; the {split} tasks of {self.name} are {len(tasks)}")
        drawn = sorted(tasks, key=lambda id: digest([self.name, seed, id]))[:count]
        settings = self.settings.model_dump()
        return [
            Scenario(
                id=f"{self.name}-{digest(settings)}-{id}",
                at=datetime(2026, 1, 1, tzinfo=UTC), environment=self.name, kind=self.settings.office,
                data={"task": id, "settings": settings},
            )
            for id in drawn
        ]  # fmt: skip

    def environment(self, scenario: Scenario) -> AgentDojoEnvironment:
        """A fresh episode of that scenario."""
        require_suite(scenario, self.name)
        return AgentDojoEnvironment(scenario, self._office, self.settings)

    def verify(self, scenario: Scenario, outcome: Outcome) -> tuple[Score, ...]:
        """What the task's own function says of a kept episode."""
        return judged(self._office, scenario.data["task"], self.settings.injections, outcome)

    def gold(self, scenario: Scenario) -> Script:
        """Makes the package's calls, then says its answer."""
        task = self._office.task(scenario.data["task"])
        wanted = self._office.solution(task, self._office.world(scenario.data["task"], self.settings.injections))
        calls = [(call.function, dict(call.args)) for call in wanted]

        def act(messages: Sequence[Message], tools: Sequence[Tool]) -> Message:
            made = sum(message.role == "assistant" for message in messages)
            if made >= len(calls):
                return assistant(task.GROUND_TRUTH_OUTPUT or "Done.")
            name, arguments = calls[made]
            function = FunctionCall(name=name, arguments=json.dumps(arguments, ensure_ascii=False, default=str))
            return Message(role="assistant", tool_calls=(ToolCall(id=f"call_{made}", function=function),))

        return act

    def _is_free(self, task: str) -> bool:
        """Whether an agent that does nothing wins it."""
        world = self._office.world(task, self.settings.injections)
        idle = Outcome(state={"office": world.model_dump(mode="json"), "answer": "Hello."})
        return judged(self._office, task, self.settings.injections, idle)[0].value == 1


def judged(office: Office, id: str, injections: dict[str, str], outcome: Outcome) -> tuple[Score, ...]:
    """The task's own verdict; an attempt without an answer has none to be right."""
    task, before, answer = office.task(id), office.world(id, injections), outcome.state["answer"]
    after = type(before).model_validate(outcome.state["office"])
    won = answer is not None and office.is_done(task, Ended(answer, before, after, outcome.events))
    return (Score(name="success", value=float(won), by=_BY, version=version()),)


def agentdojo_suite(office: str) -> AgentDojoSuite:
    """The suite of an office, for `agentdojo/OFFICE`."""
    if office not in get_args(OfficeName):
        raise InvalidInput(f"AgentDojo has no office {office!r}; it has: {', '.join(get_args(OfficeName))}")
    return AgentDojoSuite(AgentDojoSettings.model_validate({"office": office}))
