"""One of our suites as an OpenEnv server, for trainers that speak OpenEnv (TRL, SkyRL, Unsloth, verifiers …).

Needs `pip install openenv`. https://github.com/huggingface/OpenEnv
OpenEnv has one plane: whoever reaches the server may reset and score. An agent of its own process belongs behind
`journeyman env serve` instead.
"""

import asyncio
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, ValidationError

from journeyman.environments.environment import Environment, Observation, Suite
from journeyman.environments.waiting import bounded
from journeyman.errors import DeadlineExceeded, InvalidInput
from journeyman.records import FunctionCall, Message, Scenario, ToolCall
from journeyman.records.message import assistant

SECONDS_PER_STEP = 60.0
SPLITS = {"train": "train", "held-out": "test"}
"""Our splits, and the types that OpenEnv calls them by."""


def openenv_app(suite: Suite, *, count: int = 100, seed: int = 0, most: int = 64) -> Any:
    """The application: `count` scenarios of each split as tasks, up to `most` episodes at a time.

    A step is `{"type": "say", "text": …}` or `{"type": "call_tool", "tool_name": …, "arguments": …}`, as OpenEnv's own
    clients of tools write it; `{"type": "list_tools"}` lists. Several calls at once are a `{"type": "reply", "message":
    …}` with an assistant's message as OpenAI writes it. The rewards of an episode add up to its score: `reward` where
    the suite has one, else `success`. InvalidInput where openenv is not installed.
    """
    server = _package()
    tasks = {split: suite.scenarios(split, count, seed) for split in SPLITS}
    classes = _classes(server)
    known = {"server": server, "classes": classes, "suite": suite, "tasks": tasks}
    environment = type("SuiteEnvironment", (_SuiteSession, server.Environment), known)
    return server.create_fastapi_app(
        environment, classes["Action"], classes["Observation"], max_concurrent_envs=most, env_name=suite.name
    )


def _classes(server: Any) -> dict[str, Any]:
    class SuiteAction(server.Action):  # type: ignore[misc]
        """What an agent does: it says something, calls a tool, asks which there are, or replies as a model does."""

        type: Literal["say", "call_tool", "list_tools", "reply"] = "say"
        text: str = ""
        tool_name: str = ""
        arguments: dict[str, Any] = Field(default_factory=dict)
        message: dict[str, Any] = Field(default_factory=dict)

    class SuiteObservation(server.Observation):  # type: ignore[misc]
        """What the agent sees: messages to add to its conversation, and the tools on offer, as OpenAI writes both.

        OpenEnv's client takes every observation with `tools` for an answer to `list_tools`, hence another name.
        """

        messages: list[dict[str, Any]] = Field(default_factory=list)
        offered: list[dict[str, Any]] = Field(default_factory=list)

    class ToolAnswer(server.CallToolObservation):  # type: ignore[misc]
        """A tool's answer, with what else the agent sees."""

        messages: list[dict[str, Any]] = Field(default_factory=list)

    return {"Action": SuiteAction, "Observation": SuiteObservation, "Answer": ToolAnswer}


class _SuiteSession:
    """One session of the server: an episode at a time. Mixed with the package's `Environment`, which has the rest."""

    SUPPORTS_CONCURRENT_SESSIONS = True
    server: Any
    classes: Mapping[str, Any]
    suite: Suite
    tasks: Mapping[str, Sequence[Scenario]]
    _played: "_Played | None" = None
    _id = ""

    async def reset_async(
        self, seed: int | None = None, episode_id: str | None = None, split: str = "train", index: int | None = None
    ) -> Any:
        """A fresh episode: of the task at `index`, else of the one that the seed names (any, without)."""
        played, self._played = self._played, None
        if played is not None:
            await played.environment.close()
        scenarios = self._of_split(split)
        place = index if index is not None else secrets.randbelow(2**31) if seed is None else seed
        if index is not None and not 0 <= index < len(scenarios):
            raise InvalidInput(f"there is no task {index}; {split} has {len(scenarios)}")
        self._played = _Played(self.suite, scenarios[place % len(scenarios)])
        self._id = episode_id or secrets.token_hex(8)
        return self._shown(await self._played.start(), None)

    async def step_async(self, action: Any, timeout_s: float | None = None) -> Any:
        """What follows on the agent's words or call."""
        if self._played is None:
            raise InvalidInput("no episode is under way; reset first")
        if action.type == "list_tools":
            listed = [
                {"name": each.name, "description": each.description or "", "input_schema": each.parameters or {}}
                for each in (tool.function for tool in self._played.tools)
            ]
            return self.server.ListToolsObservation(tools=listed)
        seen, reward = await self._played.step(_reply(action, self._played.steps))
        if action.type != "call_tool":
            return self._shown(seen, reward)
        return self.classes["Answer"](
            tool_name=action.tool_name, result="\n".join(each.text for each in seen.messages if each.role == "tool"),
            messages=[each.wire() for each in seen.messages], done=seen.done, reward=reward,
        )  # fmt: skip

    def reset(self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any) -> Any:
        """As `reset_async`, where nothing else runs."""
        return asyncio.run(self.reset_async(seed, episode_id, **kwargs))

    def step(self, action: Any, timeout_s: float | None = None, **kwargs: Any) -> Any:
        """As `step_async`, where nothing else runs."""
        return asyncio.run(self.step_async(action, timeout_s))

    @property
    def state(self) -> Any:
        """Which episode, and how far; nothing of the system's own state."""
        steps = 0 if self._played is None else self._played.steps
        return self.server.State(episode_id=self._id or None, step_count=steps)

    def list_splits(self) -> list[dict[str, str]]:
        """Ours."""
        return [{"name": name, "type": kind} for name, kind in SPLITS.items()]

    def num_tasks(self, split: str) -> int:
        """How many scenarios are served of a split."""
        return len(self._of_split(split))

    def get_task(self, split: str, index: int) -> dict[str, Any]:
        """The scenario's name and kind; not what it holds."""
        scenario = self._of_split(split)[index]
        return {"id": scenario.id, "index": index, "kind": scenario.kind}

    def list_tasks(self, split: str) -> list[dict[str, Any]]:
        """All of a split."""
        return [self.get_task(split, index) for index in range(self.num_tasks(split))]

    def get_metadata(self) -> Any:
        """The suite's name, and its verifier's version."""
        return self.server.EnvironmentMetadata(
            name=self.suite.name, description=f"Journeyman's suite {self.suite.name}",
            version=getattr(self.suite, "version", None),
        )  # fmt: skip

    def close(self) -> None:
        """End the episode."""
        played, self._played = self._played, None
        if played is not None:
            played.close_from_elsewhere()

    def _shown(self, seen: Observation, reward: float | None) -> Any:
        return self.classes["Observation"](
            messages=[each.wire() for each in seen.messages], offered=[each.wire() for each in seen.tools],
            done=seen.done, reward=reward,
        )  # fmt: skip

    def _of_split(self, split: str) -> Sequence[Scenario]:
        if split not in self.tasks:
            raise InvalidInput(f"there is no split {split!r}; there is: {', '.join(self.tasks)}")
        return self.tasks[split]


class _Played:
    """An episode under way, and the score that its rewards have added up to."""

    def __init__(self, suite: Suite, scenario: Scenario) -> None:
        self.environment: Environment = suite.environment(scenario)
        self.tools: tuple[Any, ...] = ()
        self.steps = 0
        self.is_done = False
        self._earned = 0.0
        self._loop = asyncio.get_running_loop()

    async def start(self) -> Observation:
        seen: Observation = await _within(self.environment.start(), "the start")
        self.tools, self.is_done = seen.tools, seen.done
        return seen

    async def step(self, reply: Message) -> tuple[Observation, float]:
        """What is seen, and by how much the score changed."""
        if self.is_done:
            raise InvalidInput("this episode is over; reset for another one")
        self.steps += 1
        seen: Observation = await _within(self.environment.step(reply), "a step")
        self.tools, self.is_done = seen.tools or self.tools, seen.done
        scores = {score.name: score.value for score in self.environment.score()}
        total = scores.get("reward", scores.get("success", 0.0))
        reward, self._earned = total - self._earned, total
        return seen, reward

    def close_from_elsewhere(self) -> None:
        """End it where it began: OpenEnv closes from a thread of its own, or after everything else has ended."""
        if self._loop.is_running():
            asyncio.run_coroutine_threadsafe(self.environment.close(), self._loop).result(SECONDS_PER_STEP)
        else:
            asyncio.run(self.environment.close())


def _reply(action: Any, number: int) -> Message:
    """The action as a model's message; InvalidInput for a reply that is none."""
    if action.type == "say":
        return assistant(action.text)
    if action.type == "call_tool":
        function = FunctionCall(name=action.tool_name, arguments=json.dumps(action.arguments, ensure_ascii=False))
        return Message(role="assistant", content=None, tool_calls=(ToolCall(id=f"call_{number}", function=function),))
    try:
        return Message.model_validate({**action.message, "role": "assistant"})
    except ValidationError as problem:
        raise InvalidInput(f"the reply is no assistant's message: {problem.errors()[0]['msg']}") from problem


async def _within(work: Any, what: str) -> Any:
    return await bounded(work, SECONDS_PER_STEP, lambda: DeadlineExceeded(
        f"{what} of the environment took longer than {SECONDS_PER_STEP:g} s; the episode cannot go on"
    ))  # fmt: skip


def _package() -> Any:
    try:
        from openenv.core import env_server
    except ImportError as error:
        raise InvalidInput(f"openenv is not installed ({error}); pip install openenv") from error
    return env_server
