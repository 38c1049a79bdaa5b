"""Tasksets of verifiers (its v1 interface): their prompts, their tools, their own rewards.

Needs `pip install verifiers` (0.4). https://github.com/PrimeIntellect-ai/verifiers
A task's tool servers run in this process, one set for each episode. What only verifiers' own machinery can play (an
environment with a `run` of its own, containers, rewards that look into a sandbox, judges, stop conditions, intercepts)
is refused before anything is played.
"""

import inspect
from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version as installed
from typing import Any

from pydantic import Field

from journeyman.environments.adapters.verifiers_scoring import rewards_of
from journeyman.environments.environment import Observation
from journeyman.environments.tasks.drawing import digest, require_split, require_suite
from journeyman.errors import InvalidInput, UpstreamFailed
from journeyman.records import Frozen, Function, FunctionCall, Message, Outcome, Scenario, Score, Tool
from journeyman.records.message import system, tool_result, user

_HELD_OUT_IN = 4
"""One task in so many is kept for held-out scenarios."""
_BY = "verifiers"


class VerifiersSettings(Frozen):
    """How much of a taskset is used: its first `most_tasks`. A success is a reward of at least `success_reward`."""

    most_tasks: int = Field(1000, ge=2)
    max_steps: int = Field(30, ge=1)
    success_reward: float = 1.0


class VerifiersEnvironment:
    """One task. Tool calls are made at once; a reply without any is the answer.

    A fork is a new set of the task's tools that is brought to the same state by the same calls when it is first needed.
    UpstreamFailed then, where they answer anything else.
    """

    def __init__(self, scenario: Scenario, task: Any, toolsets: Sequence[Any], suite: "VerifiersSuite") -> None:
        self._scenario, self._task, self._suite = scenario, task, suite
        self._tools = _Tools(task, toolsets)
        self._messages: tuple[Message, ...] = ()
        self._calls: tuple[dict[str, Any], ...] = ()
        self._offered: tuple[Tool, ...] = ()
        self._is_done = False
        self._steps = 0

    async def start(self) -> Observation:
        """The task's own prompts, and its tools."""
        await self._tools.open(self._calls)
        self._offered = await self._tools.offered()
        data = self._task.data
        prompt = [system(data.system_prompt)] if data.system_prompt else []
        given = [user(data.prompt)] if isinstance(data.prompt, str) else [_ours(each) for each in data.prompt]
        self._messages = (*prompt, *given)
        return Observation(messages=self._messages, tools=self._offered)

    async def step(self, reply: Message) -> Observation:
        """Make the calls in order; a reply without any ends it."""
        if self._is_done:
            raise InvalidInput("this episode is over; start a new environment for another one")
        await self._tools.open(self._calls)
        self._steps += 1
        self._messages = (*self._messages, reply)
        answers = tuple([tool_result(call.id, await self._run(call.function)) for call in reply.tool_calls or ()])
        self._messages = (*self._messages, *answers)
        self._is_done = not reply.tool_calls or self._steps >= self._suite.settings.max_steps
        return Observation(messages=answers, tools=self._offered, done=self._is_done)

    def fork(self, n: int) -> "Sequence[VerifiersEnvironment]":
        """`n` copies."""
        return [self._again() for _ in range(n)]

    def score(self) -> tuple[Score, ...]:
        """`reward`: the weighted sum of the task's rewards; `success`: whether it is enough; each reward and metric."""
        return self._suite.verify(self._scenario, self.outcome())

    def outcome(self) -> Outcome:
        """The conversation with the state that tools and rewards share, and every call."""
        state = {"messages": [each.wire() for each in self._messages], "shared": self._tools.shared()}
        return Outcome(state=state, events=self._calls)

    async def close(self) -> None:
        """End the tools."""
        await self._tools.close()

    async def _run(self, function: FunctionCall) -> str:
        arguments = function.read()
        if arguments is None:
            return "Error: the arguments are not a JSON object"
        answer = await self._tools.call(function.name, arguments)
        self._calls = (*self._calls, {"name": function.name, "arguments": arguments, "answer": answer})
        return answer

    def _again(self) -> "VerifiersEnvironment":
        twin = VerifiersEnvironment(self._scenario, self._task, self._suite.toolsets(self._task), self._suite)
        for name in ("_messages", "_calls", "_offered", "_is_done", "_steps"):
            setattr(twin, name, getattr(self, name))
        return twin


class VerifiersSuite:
    """A taskset: an object of the package's `Taskset`, of any module of yours."""

    exact_ends = False
    """A task's rewards look at what the task is about."""

    def __init__(self, taskset: Any, name: str, settings: VerifiersSettings = VerifiersSettings()) -> None:
        """InvalidInput where a task needs more than prompts, tools and rewards."""
        self.settings, self.name = settings, f"verifiers-{name}"
        self._taskset = taskset
        self._tasks = {task.key: task for task in taskset.take(settings.most_tasks)}
        if len(self._tasks) < 2:
            raise InvalidInput(f"the taskset {name} has {len(self._tasks)} tasks; it takes one for each split")
        for task in self._tasks.values():
            lacking = [*_lacking(task)]
            if lacking:
                raise InvalidInput(f"task {task.key:.16} of {name} {'; '.join(lacking)}: only verifiers can play it")
        self.version = f"verifiers {_version()}, {type(taskset).__name__}"

    def scenarios(self, split: str, count: int, seed: int) -> Sequence[Scenario]:
        """`count` tasks of `split`, in an order that the seed decides, none twice."""
        require_split(split)
        ordered = sorted(self._tasks, key=lambda key: digest([self.name, key]))
        tasks = [key for place, key in enumerate(ordered) if (place % _HELD_OUT_IN == 0) == (split == "held-out")]
        if not 1 <= count <= len(tasks):
            raise InvalidInput(f"{count} scenarios were asked for; the {split} tasks of {self.name} are {len(tasks)}")
        settings = self.settings.model_dump()
        return [
            Scenario(
                id=f"{self.name}-{digest(settings)}-{key[:16]}",
                at=datetime(2026, 1, 1, tzinfo=UTC), environment=self.name, kind=self._tasks[key].data.name or "task",
                data={"task": key, "settings": settings},
            )
            for key in sorted(tasks, key=lambda key: digest([self.name, seed, key]))[:count]
        ]  # fmt: skip

    def environment(self, scenario: Scenario) -> VerifiersEnvironment:
        """A fresh episode of that scenario."""
        require_suite(scenario, self.name)
        task = self._task(scenario)
        return VerifiersEnvironment(scenario, task, self.toolsets(task), self)

    def verify(self, scenario: Scenario, outcome: Outcome) -> tuple[Score, ...]:
        """What the task's own functions say of a kept episode."""
        found = rewards_of(self._task(scenario), outcome)
        values = {"reward": found.total, "success": float(found.total >= self.settings.success_reward), **found.parts}
        return tuple(
            Score(name=name, value=value, by=_BY, version=self.version) for name, value in values.items()
        )  # fmt: skip

    def toolsets(self, task: Any) -> Sequence[Any]:
        """A fresh set of the task's tool servers, and of those that the taskset has for all."""
        shared = type(self._taskset).toolsets(deepcopy(self._taskset.config))
        return [*type(task).toolsets(deepcopy(task.config)), *shared]

    def _task(self, scenario: Scenario) -> Any:
        key = scenario.data["task"]
        if key not in self._tasks:
            raise InvalidInput(f"{self.name} has no task {key:.16} any more: its tasks were edited since")
        return self._tasks[key]


def verifiers_suite(id: str) -> VerifiersSuite:
    """The suite of an installed taskset package with its own settings, for `verifiers/ID`."""
    _version()
    from verifiers.v1.configs.taskset import TasksetConfig
    from verifiers.v1.envs.single_agent.env import SingleAgentEnv
    from verifiers.v1.utils.generic import concrete_type
    from verifiers.v1.utils.loaders import environment_class, taskset_class

    try:
        kind = taskset_class(id)
    except (ModuleNotFoundError, AttributeError, TypeError, ValueError) as problem:
        raise InvalidInput(f"verifiers has no taskset {id}: {problem}") from problem
    played_by = environment_class(id)
    if played_by is not SingleAgentEnv:
        raise InvalidInput(f"{id} is played by an environment of its own, {played_by.__name__}: only verifiers can")
    config = concrete_type(kind, TasksetConfig) or TasksetConfig
    return VerifiersSuite(kind(config(id=id)), id)


class _Tools:
    """The tool servers of one episode, in this process, and the state that they share with the task's rewards."""

    def __init__(self, task: Any, toolsets: Sequence[Any]) -> None:
        from verifiers.v1.state import state_cls

        self._task, self._toolsets = task, toolsets
        self._state = state_cls(type(task))()
        self._places: dict[str, tuple[Any, Any]] = {}
        """By a tool's full name: its server, and how that lists it."""
        self._is_open = False

    async def open(self, calls: Sequence[Mapping[str, Any]]) -> None:
        """Set them up, and bring them to where these calls had brought others."""
        if self._is_open:
            return
        from mcp.server.mcpserver import MCPServer

        self._is_open = True
        for each in self._toolsets:
            self._share(each)
            await each._exit_stack.__aenter__()
            await each.setup()
            await each.setup_task(self._task.data)
            server = MCPServer(each.server_name or type(each).__name__)
            each.register(server)
            for tool in await server.list_tools():
                full = f"{each.server_name}_{tool.name}" if each.server_name else tool.name
                if full in self._places:
                    raise InvalidInput(f"two tools of the task are called {full}")
                self._places[full] = (server, tool)
        for made in calls:
            answer = await self.call(made["name"], made["arguments"])
            if answer != made["answer"]:
                raise UpstreamFailed(
                    f"the tool {made['name']} answered {answer!r:.80} instead of {made['answer']!r:.80}: its answers "
                    "cannot be repeated, and an episode of it cannot be forked"
                )

    async def offered(self) -> tuple[Tool, ...]:
        """As a model sees them."""
        return tuple(
            Tool(function=Function(name=name, description=tool.description or "", parameters=tool.input_schema))
            for name, (_, tool) in self._places.items()
        )

    async def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """The text of a tool's answer; an error is an answer, too."""
        from mcp.server.mcpserver.exceptions import ToolError

        if name not in self._places:
            return f"Error: there is no tool {name}"
        server, tool = self._places[name]
        try:
            result = await server.call_tool(tool.name, dict(arguments))
        except ToolError as problem:
            return f"Error: {problem}"
        said = "\n".join(part.text for part in result.content if getattr(part, "text", None) is not None)
        return f"Error: {said}" if result.is_error else said

    def shared(self) -> dict[str, Any]:
        """The state as JSON."""
        found: dict[str, Any] = self._state.model_dump(mode="json")
        return found

    async def close(self) -> None:
        """End them."""
        if self._is_open:
            self._is_open = False
            for each in reversed(self._toolsets):
                await each._exit_stack.aclose()

    def _share(self, toolset: Any) -> None:
        """Over HTTP a server pulls the state before a call and pushes it after one; here both are an assignment."""

        async def pull() -> Any:
            return self._state.model_copy(deep=True)

        async def push(before: bytes) -> None:
            self._state = toolset.state.model_copy(deep=True)

        toolset._pull_state, toolset._push_state = pull, push


def _lacking(task: Any) -> Sequence[str]:
    """What this task needs that is not there."""
    from verifiers.v1.task import Task
    from verifiers.v1.utils.decorators import discover_decorated

    kind = type(task)
    found = ["runs in a container"] if kind.NEEDS_CONTAINER or task.data.image else []
    found += [
        f"has a {name} of its own" for name in ("setup", "finalize") if getattr(kind, name) is not getattr(Task, name)
    ]
    found += ["is judged by models"] if task.config.judges else []
    found += ["has stop conditions"] if task.hooks("stop") else []
    found += ["has intercepts"] if discover_decorated(task, "intercept") else []
    found += ["is opened by its user"] if task.data.prompt is None else []
    for function in (*task.hooks("reward"), *task.hooks("metric")):
        needed = inspect.signature(function).parameters.get("runtime")
        if needed is not None and needed.default is inspect.Parameter.empty:
            found.append(f"has {function.__name__}, which looks into a sandbox")
    if not task.hooks("reward"):
        found.append("has no reward")
    return found


def _ours(message: Any) -> Message:
    return Message.model_validate(message.model_dump(mode="json", exclude_none=True))


@cache
def _version() -> str:
    try:
        import verifiers.v1  # noqa: F401
    except ImportError as error:
        raise InvalidInput(
            f"verifiers with its v1 interface is not installed ({error}); pip install verifiers"
        ) from error
    return installed("verifiers")
