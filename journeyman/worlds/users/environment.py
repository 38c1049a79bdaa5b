"""An environment whose own user steps back for a simulated one; its tools and its system stay what they are."""

import json
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

from journeyman.environments.environment import Environment, Observation
from journeyman.errors import InvalidInput
from journeyman.records import Message, Score
from journeyman.records.message import user
from journeyman.worlds.compliance.stage import HasState
from journeyman.worlds.users.user import SimulatedUser


class UserEnvironment:
    """One conversation with a simulated user. `success`: every goal of the card was reached, as observed in the system.

    `user_faults` counts the simulator's own mistakes: an attempt with any says nothing of the agent.
    """

    def __init__(self, inner: Environment, simulated: SimulatedUser) -> None:
        if not isinstance(inner, HasState):
            raise InvalidInput(
                f"{type(inner).__name__} has no state(), so nothing could be observed of what an agent does in it"
            )
        self.inner, self.simulated = inner, simulated
        self._heard: list[Message] = []
        self._tools: tuple[Any, ...] = ()

    async def start(self) -> Observation:
        """The inner system prompt and tools, and the user's first words."""
        opening = await self.inner.start()
        self._tools = opening.tools
        own = tuple(each for each in opening.messages if each.role in ("system", "developer"))
        turn = await self.simulated.open(self.state())
        return Observation(messages=(*own, user(turn.text)), tools=self._tools)

    async def step(self, reply: Message) -> Observation:
        """The tools' answers; or what the user says to the agent's words, until they leave."""
        if reply.tool_calls:
            reaction = await self.inner.step(reply)
            answers = tuple(each for each in reaction.messages if each.role == "tool")
            return Observation(messages=answers, tools=self._tools, done=reaction.done)
        self._heard.append(reply)
        turn = await self.simulated.hear(tuple(self._heard), self.state())
        # The agent is not asked to answer a goodbye.
        return Observation(messages=() if turn.ends else (user(turn.text),), tools=self._tools, done=turn.ends)

    def fork(self, n: int) -> "Sequence[UserEnvironment]":
        """`n` independent copies."""
        twins = [copy(self) for _ in range(n)]
        for twin, inner in zip(twins, self.inner.fork(n), strict=True):
            twin.inner, twin.simulated, twin._heard = inner, self.simulated.fork(), list(self._heard)
        return twins

    def score(self) -> tuple[Score, ...]:
        """Whether the user was served, and how often the simulator itself went wrong."""
        served = self.simulated.outcome == "close"
        reason = "" if served else f"the user left: {self.simulated.outcome or 'not yet'}"
        return (
            Score(name="success", value=float(served), reason=reason),
            Score(name="user_faults", value=float(len(self.simulated.faults)), reason="; ".join(self.simulated.faults)),
        )

    def state(self) -> Mapping[str, Any]:
        """The inner system's."""
        assert isinstance(self.inner, HasState)
        found: dict[str, Any] = json.loads(json.dumps(self.inner.state()))
        return found

    async def close(self) -> None:
        """Close the inner environment."""
        await self.inner.close()
