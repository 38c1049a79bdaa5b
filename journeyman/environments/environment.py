"""The seam between Journeyman and the places where an agent acts."""

from collections.abc import Sequence
from typing import Protocol, Self

from journeyman.records import Frozen, Message, Scenario, Score, Tool


class Observation(Frozen):
    """What the agent sees next: messages to append to its conversation, and whether the episode is over."""

    messages: tuple[Message, ...] = ()
    tools: tuple[Tool, ...] = ()
    done: bool = False


class Environment(Protocol):
    """One scenario, one episode, then discarded. Speaks messages; never sees a token."""

    async def start(self) -> Observation:
        """The opening messages (system prompt, first user message) and the tools on offer."""
        ...

    async def step(self, reply: Message) -> Observation:
        """React to the agent's message: run its tool calls, or let the user answer."""
        ...

    def fork(self, n: int) -> Sequence[Self]:
        """`n` independent copies of the episode as it stands now."""
        ...

    def score(self) -> tuple[Score, ...]:
        """How the episode went so far; the score named `success` is 1 or 0."""
        ...

    async def close(self) -> None:
        """Release what the episode held."""
        ...


class Suite(Protocol):
    """A family of scenarios and the environment that plays them."""

    name: str

    def scenarios(self, split: str, count: int, seed: int) -> Sequence[Scenario]:
        """`count` scenarios of `split` ("train" or "held-out"); the two never share one."""
        ...

    def environment(self, scenario: Scenario) -> Environment:
        """A fresh episode of that scenario."""
        ...
