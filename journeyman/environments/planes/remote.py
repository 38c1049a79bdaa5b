"""A suite that is played in another process: the trainer's side of the control plane."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from journeyman.environments.environment import Environment, Observation, Suite
from journeyman.errors import InvalidInput, UpstreamFailed
from journeyman.records import Message, Outcome, Scenario, Score

_SECONDS = 90.0


@dataclass(frozen=True)
class AgentAccess:
    """All that an agent's process is given: the address of its tools (MCP) and messages, and a token for them alone."""

    url: str
    token: str


class RemoteEnvironment:
    """One served episode.

    Its scores are asked for after every step, because `score` does not wait; what the agent did on its own plane counts
    after `refresh`. Forks are made there before this episode goes on, or one of them does.
    """

    def __init__(self, control: "Control", scenario: Scenario) -> None:
        self._control, self._scenario = control, scenario
        self._id = ""
        self._judged: dict[str, Any] = {"scores": [], "outcome": None}
        self._origin: RemoteEnvironment | None = None
        self._unmade: list[RemoteEnvironment] = []
        self._making = asyncio.Lock()
        self.agent: AgentAccess | None = None

    async def start(self) -> Observation:
        """Start it there."""
        opened = await self._control.ask("POST", "", self._scenario.model_dump(mode="json"))
        self._take(opened)
        await self.refresh()
        return Observation.model_validate(opened["observation"])

    async def step(self, reply: Message) -> Observation:
        """One step there."""
        await self.settle()
        seen = await self._control.ask("POST", f"/{self._id}/step", reply.wire())
        await self.refresh()
        return Observation.model_validate(seen)

    async def refresh(self) -> None:
        """Look at scores and outcome as they stand there."""
        await self.settle()
        self._judged = await self._control.ask("GET", f"/{self._id}")

    def fork(self, n: int) -> "Sequence[RemoteEnvironment]":
        """`n` copies of the episode as it stands."""
        forks = [RemoteEnvironment(self._control, self._scenario) for _ in range(n)]
        for each in forks:
            each._origin, each._judged = self, self._judged
        self._unmade += forks
        return forks

    async def settle(self) -> None:
        """Make there what was only promised: this fork, and its own forks. `agent` is known after that."""
        if self._origin is not None:
            await self._origin.settle()
        async with self._making:
            promised, self._unmade = self._unmade, []
            if promised:
                made = await self._control.ask("POST", f"/{self._id}/fork", {"n": len(promised)})
                for each, opened in zip(promised, made["episodes"], strict=True):
                    each._take(opened)

    def score(self) -> tuple[Score, ...]:
        """As of the last step or `refresh`."""
        return tuple(Score.model_validate(score) for score in self._judged["scores"])

    def outcome(self) -> Outcome | None:
        """As of the last step or `refresh`; None where the environment there keeps none."""
        found = self._judged["outcome"]
        return None if found is None else Outcome.model_validate(found)

    async def close(self) -> None:
        """End it there; forks that were promised are made before."""
        if self._origin is not None:
            self._origin._unmade = [each for each in self._origin._unmade if each is not self]
            self._origin = None
            return
        await self.settle()
        if self._id:
            id, self._id = self._id, ""
            await self._control.ask("DELETE", f"/{id}")

    def _take(self, opened: Mapping[str, Any]) -> None:
        self._id, self._origin = opened["id"], None
        self.agent = AgentAccess(self._control.url + opened["agent"], opened["agent_token"])


class Control:
    """The control plane at an address. The token stays in this object: nothing that an agent is given has it."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"}

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request; InvalidInput or UpstreamFailed with the server's own words where it fails."""
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, headers=self._headers) as session,
                session.request(method, f"{self.url}/control/episodes{path}", json=body) as response,
            ):
                told = await response.json()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise UpstreamFailed(f"the environment at {self.url} did not answer: {error!r}") from error
        if response.status >= 500:
            raise UpstreamFailed(f"the environment at {self.url}: {told['error']}", status=response.status)
        if response.status >= 400:
            raise InvalidInput(f"the environment at {self.url}: {told['error']}")
        return told


class RemoteSuite:
    """The scenarios of a suite here, played by a server of the same suite there."""

    def __init__(self, suite: Suite, control: Control) -> None:
        self._suite, self._control, self.name = suite, control, suite.name

    def scenarios(self, split: str, count: int, seed: int) -> Sequence[Scenario]:
        """As the suite itself."""
        return self._suite.scenarios(split, count, seed)

    def environment(self, scenario: Scenario) -> Environment:
        """A fresh episode there."""
        return RemoteEnvironment(self._control, scenario)
