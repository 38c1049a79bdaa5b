"""A world of words as an environment: the agent says what it does, and is told what came of it."""

import json
from collections.abc import Sequence
from copy import copy

from journeyman.environments.environment import Observation
from journeyman.errors import InvalidInput
from journeyman.records import Message, Outcome, Scenario, Score
from journeyman.records.message import user
from journeyman.worlds.resolver import Resolver
from journeyman.worlds.state import State, difference
from journeyman.worlds.verdict import verify
from journeyman.worlds.world import Start, World


class TextWorldEnvironment:
    """One episode. It never rewards by itself, and ends, without a reward, at an action whose answer nobody knows."""

    def __init__(self, scenario: Scenario, start: Start, world: World, resolver: Resolver) -> None:
        if world.text is None:
            raise InvalidInput(f"world {world.name} knows tool calls, not words")
        self._scenario, self._start, self._form, self._resolver = scenario, start, world.text, resolver
        self.state = State(start.document, int(scenario.data.get("seed", 0)))
        self.abstained: str | None = None
        self.is_done = False
        self._events: tuple[dict[str, object], ...] = ()

    async def start(self) -> Observation:
        """What the captured episode began with."""
        return Observation(messages=self._start.messages)

    async def step(self, reply: Message) -> Observation:
        """Answer the action that the reply's words are."""
        if self.is_done:
            raise InvalidInput("this episode is over; start a new environment for another one")
        action = reply.text.strip()
        tool, arguments = self._form.call(self.state.document, action)
        answer = self._resolver.answer(tool, arguments, self.state)
        self.state.step += 1
        told = answer.observation
        self._events = (
            *self._events,
            {"action": action, "tool": tool, "told": None if told is None else self._form.words(told),
             "source": answer.source, "confidence": answer.confidence, "evidence": list(answer.evidence)},
        )  # fmt: skip
        if answer.source == "abstain":
            self.abstained, self.is_done = f"{action!r}: {answer.reason}", True
            return Observation(done=True)
        # The state follows from what was told, whoever told it: no proposal's own changes are taken.
        after = self._form.after(self.state.document, action, told)
        self.state.commit(difference(self.state.document, after), "written", f"{self.state.step} {tool}")
        self.is_done = told["said"] in self._form.endings or self.state.step >= self._form.longest
        return Observation(messages=(user(self._form.words(told)),), done=self.is_done)

    def fork(self, n: int) -> "Sequence[TextWorldEnvironment]":
        """`n` copies that share nothing which one of them could change."""
        return [self._copy() for _ in range(n)]

    def score(self) -> tuple[Score, ...]:
        """What `verify` says of the outcome so far."""
        return verify(self._scenario, self.outcome())

    def outcome(self) -> Outcome:
        """The state and what happened, as JSON."""
        state = {"document": self.state.document, "abstained": self.abstained, "faults": "off"}
        return Outcome(state=json.loads(json.dumps(state)), events=self._events)

    async def close(self) -> None:
        """Nothing is held."""

    def _copy(self) -> "TextWorldEnvironment":
        twin = copy(self)
        twin.state = self.state.fork()
        return twin
