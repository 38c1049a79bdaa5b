"""Environments that an OpenEnv server plays, over its WebSocket: the trainer's side of that protocol.

Nothing needs to be installed here; the server needs `pip install openenv`. https://github.com/huggingface/OpenEnv
The agent sees tools and messages alone. Reset, step and state are asked for by this process, over a connection of its
own for each episode.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import aiohttp
from pydantic import Field

from journeyman.environments.environment import Observation
from journeyman.environments.episode import derived_seed
from journeyman.environments.tasks.drawing import digest, require_split, require_suite
from journeyman.errors import InvalidInput, UpstreamFailed
from journeyman.records import Frozen, Function, FunctionCall, Message, Outcome, Scenario, Score, Tool
from journeyman.records.message import system, tool_result, user

VERSION = "openenv-return/1"
"""Of how rewards become scores."""
_MOST_BYTES = 16 << 20
_NOT_SEEN = ("done", "reward", "metadata")


class TaskSplit(Frozen):
    """Tasks that the server has under `name`, `count` of them, for those that number their tasks."""

    name: str
    count: int = Field(ge=1)


class OpenEnvSettings(Frozen):
    """Which server, and how what it shows is put into words.

    With `action`, a reply's text becomes the action `{action: text}`; without, the server's tools are offered, their
    calls are its actions, and a reply without a call ends the episode. `seen` are the fields of an observation that are
    shown, one after the other as text (all of them, as JSON, if absent). `tasks` by our splits (`train`, `held-out`)
    are drawn from by number; without, episodes differ by the seed alone. `reset` is added to every reset. A success is
    an episode that ended with a sum of rewards of at least `success_return`.
    """

    url: str
    action: str | None = None
    seen: tuple[str, ...] = ()
    prompt: str = ""
    tasks: dict[Literal["train", "held-out"], TaskSplit] = Field(default_factory=dict)
    reset: dict[str, Any] = Field(default_factory=dict)
    max_steps: int = Field(50, ge=1)
    success_return: float = 1.0
    seconds: float = Field(60.0, gt=0)
    """For one answer of the server."""


class OpenEnvEnvironment:
    """One episode, on a connection of its own.

    OpenEnv cannot fork: a copy is a new session that is brought to the same state by the same actions when it is first
    needed. UpstreamFailed then, where the server shows anything else than it did.
    """

    def __init__(self, scenario: Scenario, settings: OpenEnvSettings) -> None:
        self._scenario, self._settings = scenario, settings
        self._session: _Session | None = None
        self._tools: tuple[Tool, ...] = ()
        self._steps: tuple[dict[str, Any], ...] = ()
        """Every action with what it was answered; the first is the reset."""
        self._is_done = False
        self._replies = 0

    async def start(self) -> Observation:
        """The prompt, what the server shows at first, and its tools."""
        shown = await self._ask("reset", self._reset())
        if self._settings.action is None:
            listed = await self._ask("step", {"type": "list_tools"}, kept=False)
            self._tools = tuple(map(_tool, _listed(listed["observation"], self._settings.url)))
        prompt = (system(self._settings.prompt),) if self._settings.prompt else ()
        return Observation(messages=(*prompt, user(self._words(shown))), tools=self._tools, done=self._is_done)

    async def step(self, reply: Message) -> Observation:
        """Take the action, or make the calls one after the other."""
        if self._is_done:
            raise InvalidInput("this episode is over; start a new environment for another one")
        self._replies += 1
        if self._settings.action is not None:
            shown = await self._ask("step", {self._settings.action: reply.text})
            messages: tuple[Message, ...] = (user(self._words(shown)),)
        elif reply.tool_calls:
            messages = tuple([tool_result(call.id, await self._call(call.function)) for call in reply.tool_calls])
        else:
            self._is_done = True
            return Observation(tools=self._tools, done=True)
        self._is_done = self._is_done or self._replies >= self._settings.max_steps
        return Observation(messages=messages, tools=self._tools, done=self._is_done)

    def fork(self, n: int) -> "Sequence[OpenEnvEnvironment]":
        """`n` copies, each with a session of its own."""
        return [self._again() for _ in range(n)]

    def score(self) -> tuple[Score, ...]:
        """`reward`: the sum of the server's rewards; `success`: whether it is enough, and the episode is over."""
        return scores_of(self.outcome(), self._settings)

    def outcome(self) -> Outcome:
        """The rewards, whether it is over, and every action with what it was answered."""
        rewards = [each["shown"]["reward"] for each in self._steps if each["shown"].get("reward") is not None]
        return Outcome(state={"rewards": [float(each) for each in rewards], "done": self._is_done}, events=self._steps)

    async def close(self) -> None:
        """End the session."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _call(self, function: FunctionCall) -> str:
        if self._is_done:
            return "Error: the episode is over"
        arguments = function.read()
        if arguments is None:
            return "Error: the arguments are not a JSON object"
        shown = await self._ask(
            "step", {"type": "call_tool", "tool_name": function.name, "arguments": arguments}
        )  # fmt: skip
        found = shown["observation"]
        if found.get("error"):
            return f"Error: {found['error'].get('message', found['error'])}"
        return _text(_result(found.get("result", found)))

    async def _ask(self, kind: str, data: Mapping[str, Any], *, kept: bool = True) -> dict[str, Any]:
        session = await self._opened()
        shown = await session.ask(kind, data)
        if kept:
            self._steps = (*self._steps, {"kind": kind, "data": dict(data), "shown": shown})
            self._is_done = self._is_done or bool(shown.get("done"))
        return shown

    async def _opened(self) -> "_Session":
        if self._session is None:
            self._session = _Session(self._settings)
            await self._session.open()
            for made in self._steps:
                shown = await self._session.ask(made["kind"], made["data"])
                if _comparable(shown) != _comparable(made["shown"]):
                    await self.close()
                    raise UpstreamFailed(
                        f"the OpenEnv server at {self._settings.url} showed {_comparable(shown)!r:.80} instead of "
                        f"{_comparable(made['shown'])!r:.80} for the same actions: its episodes cannot be forked"
                    )
        return self._session

    def _again(self) -> "OpenEnvEnvironment":
        twin = OpenEnvEnvironment(self._scenario, self._settings)
        twin._tools, twin._steps, twin._is_done = self._tools, self._steps, self._is_done
        twin._replies = self._replies
        return twin

    def _reset(self) -> dict[str, Any]:
        data = self._scenario.data
        task = {"split": data["task_split"], "index": data["index"]} if "index" in data else {}
        return {**self._settings.reset, **task, "seed": data["seed"]}

    def _words(self, shown: Mapping[str, Any]) -> str:
        found = shown["observation"]
        if self._settings.seen:
            return "\n".join(_text(found[name]) for name in self._settings.seen if found.get(name) not in (None, ""))
        return json.dumps({name: each for name, each in found.items() if name not in _NOT_SEEN}, ensure_ascii=False)


class OpenEnvSuite:
    """The episodes of an OpenEnv server: by seeds (even for training, odd for held-out ones), or by its tasks."""

    exact_ends = False
    """What a server's rewards look at, only it knows."""

    def __init__(self, settings: OpenEnvSettings) -> None:
        self.settings, self.version = settings, VERSION
        self.name = f"openenv-{settings.url.partition('://')[2].strip('/')}"

    def scenarios(self, split: str, count: int, seed: int) -> Sequence[Scenario]:
        """`count` of them; the same seed gives the same ones."""
        require_split(split)
        if count < 1:
            raise InvalidInput(f"{count} scenarios were asked for; ask for at least 1")
        settings = self.settings.model_dump(mode="json")
        tasks = [self._task(split, count, seed, number) for number in range(count)]
        return [
            Scenario(
                id=f"{self.name}-{digest(settings)}-{split}-{seed}-{number}",
                at=datetime(2026, 1, 1, tzinfo=UTC), environment=self.name, kind="openenv",
                data={"settings": settings, "seed": self._seed(split, seed, number), **task},
            )
            for number, task in enumerate(tasks)
        ]  # fmt: skip

    def environment(self, scenario: Scenario) -> OpenEnvEnvironment:
        """A fresh episode of that scenario."""
        require_suite(scenario, self.name)
        return OpenEnvEnvironment(scenario, self.settings)

    def verify(self, scenario: Scenario, outcome: Outcome) -> tuple[Score, ...]:
        """The scores of kept rewards."""
        return scores_of(outcome, self.settings)

    def _seed(self, split: str, seed: int, number: int) -> int:
        return derived_seed(self.name, split, seed, number) // 2 * 2 + int(split == "held-out")

    def _task(self, split: str, count: int, seed: int, number: int) -> dict[str, Any]:
        if not self.settings.tasks:
            return {}
        tasks = self.settings.tasks.get("held-out" if split == "held-out" else "train")
        if tasks is None or count > tasks.count:
            have = "none" if tasks is None else tasks.count
            raise InvalidInput(f"{count} scenarios were asked for; the {split} tasks of {self.name} are {have}")
        order = sorted(range(tasks.count), key=lambda index: digest([self.name, seed, index]))
        return {"task_split": tasks.name, "index": order[number]}


def openenv_suite(url: str) -> OpenEnvSuite:
    """The suite of a server whose actions are calls of tools, for `openenv/URL`."""
    if not url.startswith(("http://", "https://")):
        raise InvalidInput(f"openenv/{url} names no server; write openenv/http://HOST:PORT")
    return OpenEnvSuite(OpenEnvSettings(url=url))


def scores_of(outcome: Outcome, settings: OpenEnvSettings) -> tuple[Score, ...]:
    """`reward` and `success` of kept rewards."""
    earned = float(sum(outcome.state["rewards"]))
    won = outcome.state["done"] and earned >= settings.success_return
    return tuple(
        Score(name=name, value=value, by="openenv", version=VERSION)
        for name, value in (("reward", earned), ("success", float(won)))
    )


class _Session:
    """A connection, on which the server keeps one environment."""

    def __init__(self, settings: OpenEnvSettings) -> None:
        self._settings = settings
        self._client: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        """Connect; UpstreamFailed where nobody answers."""
        self._client = aiohttp.ClientSession()
        url = self._settings.url.rstrip("/").replace("http", "ws", 1) + "/ws"
        try:
            async with asyncio.timeout(self._settings.seconds):
                self._socket = await self._client.ws_connect(url, max_msg_size=_MOST_BYTES)
        except (aiohttp.ClientError, TimeoutError) as problem:
            await self.close()
            raise UpstreamFailed(f"the OpenEnv server at {url} cannot be reached: {problem!r}") from problem

    async def ask(self, kind: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """What an action is answered; one at a time."""
        socket = self._socket
        if socket is None:
            raise UpstreamFailed("the session with the OpenEnv server is closed; this episode cannot go on")
        try:
            async with self._turn, asyncio.timeout(self._settings.seconds):
                await socket.send_json({"type": kind, "data": dict(data)})
                answer = json.loads(await socket.receive_str())
        except (aiohttp.ClientError, TimeoutError, TypeError, ValueError) as problem:
            # After a wait that was given up the next answer would be the one to this question.
            await self.close()
            raise UpstreamFailed(
                f"the OpenEnv server at {self._settings.url} gave no answer to {kind} within "
                f"{self._settings.seconds:g} s, or ended: {problem!r}; this episode cannot go on"
            ) from problem
        found = answer.get("data") or {}
        if answer.get("type") == "error" or "observation" not in found:
            said = f"{found.get('code', '')} {found.get('message', answer)} {found.get('errors', '')}".strip()
            raise UpstreamFailed(f"the OpenEnv server at {self._settings.url} refused {kind}: {said:.300}")
        return dict(found)

    async def close(self) -> None:
        """End it; the server discards its environment."""
        socket, self._socket = self._socket, None
        client, self._client = self._client, None
        if socket is not None and not socket.closed:
            await socket.close()
        if client is not None:
            await client.close()


def _listed(observation: Mapping[str, Any], url: str) -> Sequence[Mapping[str, Any]]:
    tools = observation.get("tools")
    if not isinstance(tools, list):
        raise InvalidInput(f"the OpenEnv server at {url} lists no tools; say in which `action` a reply's text goes")
    return tools


def _tool(listed: Mapping[str, Any]) -> Tool:
    schema = listed.get("input_schema") or listed.get("inputSchema") or {"type": "object", "properties": {}}
    return Tool(function=Function(name=listed["name"], description=listed.get("description") or "", parameters=schema))


def _result(result: Any) -> Any:
    """A tool's value; servers built on FastMCP wrap it."""
    if isinstance(result, Mapping):
        if result.get("data") is not None:
            return result["data"]
        parts = result.get("content")
        if isinstance(parts, list) and all(isinstance(each, Mapping) and "text" in each for each in parts):
            return "\n".join(each["text"] for each in parts)
    return result


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _comparable(shown: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    observation = {name: each for name, each in shown["observation"].items() if name != "metadata"}
    return observation, shown.get("reward"), shown.get("done")
