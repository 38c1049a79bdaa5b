"""The episodes that are served: each with a token of its own for the agent, which opens nothing else."""

import asyncio
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from journeyman.environments.environment import Environment, Observation, Suite
from journeyman.environments.verifying import outcome_of
from journeyman.environments.waiting import bounded
from journeyman.errors import DeadlineExceeded, InvalidInput, NotFound, Overloaded
from journeyman.records import Message, Scenario, Tool

MOST_EPISODES = 1024
MOST_FORKS = 256
SECONDS_PER_STEP = 60.0


@dataclass
class Episode:
    """One episode under way, as the agent has seen it so far."""

    id: str
    scenario: Scenario
    environment: Environment
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    messages: list[Message] = field(default_factory=list)
    tools: tuple[Tool, ...] = ()
    is_done: bool = False
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def start(self) -> Observation:
        """The opening."""
        return self._see(await _within(self.environment.start(), "the start"))

    async def step(self, reply: Message) -> Observation:
        """React to the agent's message; one at a time."""
        async with self.turn:
            if self.is_done:
                raise InvalidInput("this episode is over; ask whoever started it for another one")
            self.messages.append(reply)
            return self._see(await _within(self.environment.step(reply), "a step"))

    def judged(self) -> dict[str, Any]:
        """Scores and outcome as they stand: for the trainer alone."""
        outcome = outcome_of(self.environment)
        return {
            "scores": [score.model_dump(mode="json") for score in self.environment.score()],
            "outcome": None if outcome is None else outcome.model_dump(mode="json"),
            "done": self.is_done,
        }

    def _see(self, observation: Observation) -> Observation:
        self.messages += observation.messages
        self.tools = observation.tools or self.tools
        self.is_done = observation.done
        return observation


class Episodes:
    """All episodes of a suite that are open, by id."""

    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        self._open: dict[str, Episode] = {}

    async def start(self, scenario: Scenario) -> tuple[Episode, Observation]:
        """A new episode, and its opening."""
        self._room(1)
        episode = Episode(secrets.token_hex(8), scenario, self.suite.environment(scenario))
        opening = await episode.start()
        self._open[episode.id] = episode
        return episode, opening

    def get(self, id: str) -> Episode:
        """The episode of that id; NotFound when it was closed, or never was."""
        if id not in self._open:
            raise NotFound("episode", id, [])
        return self._open[id]

    def of_agent(self, id: str, token: str) -> Episode | None:
        """The episode whose token this is; None for any other, and for none."""
        episode = self._open.get(id)
        known = episode.token if episode is not None else secrets.token_urlsafe(24)
        return episode if hmac.compare_digest(known.encode(), token.encode()) else None

    async def fork(self, id: str, n: int) -> list[Episode]:
        """`n` copies of an episode as it stands, each with a token of its own."""
        if not 1 <= n <= MOST_FORKS:
            raise InvalidInput(f"{n} forks were asked for; 1 to {MOST_FORKS} are made at a time")
        self._room(n)
        origin = self.get(id)
        async with origin.turn:
            made = [
                Episode(
                    secrets.token_hex(8), origin.scenario, environment, messages=[*origin.messages],
                    tools=origin.tools, is_done=origin.is_done,
                )
                for environment in origin.environment.fork(n)
            ]  # fmt: skip
        self._open |= {episode.id: episode for episode in made}
        return made

    async def close(self, id: str) -> None:
        """End an episode; its token opens nothing any more."""
        episode = self.get(id)
        del self._open[id]
        await _within(episode.environment.close(), "the close")

    async def close_all(self) -> None:
        """End every episode."""
        for id in [*self._open]:
            await self.close(id)

    def _room(self, n: int) -> None:
        if len(self._open) + n > MOST_EPISODES:
            raise Overloaded(f"{len(self._open)} episodes are open, of at most {MOST_EPISODES}; close some", 1.0)


def told(observation: Observation) -> Mapping[str, Any]:
    """An observation as JSON."""
    return observation.model_dump(mode="json")


async def _within(work: Any, what: str) -> Any:
    return await bounded(work, SECONDS_PER_STEP, lambda: DeadlineExceeded(
        f"{what} of the environment took longer than {SECONDS_PER_STEP:g} s; the episode cannot go on"
    ))  # fmt: skip
