"""A user in the middle of a conversation."""

import random
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple

from journeyman.errors import InvalidInput
from journeyman.records import Message
from journeyman.worlds.users.card import Talk, UserAct, UserCard
from journeyman.worlds.users.controller import Decision, decide, opened
from journeyman.worlds.users.phrasing import Phraser, Templates

MAX_TURNS = 30


class Turn(NamedTuple):
    """What the user says and means by it. With `ends` it is their last; `fault` is the simulator's own mistake: such a
    conversation says nothing of the agent."""

    text: str
    act: UserAct
    ends: bool = False
    fault: str | None = None


class SimulatedUser:
    """Plays one card. The same card, seed and agent give the same conversation, with templates to the letter."""

    def __init__(
        self, card: UserCard, talk: Talk, seed: int, phraser: Phraser | None = None, max_turns: int = MAX_TURNS
    ) -> None:
        missing = set(card.facts) - {kind.name for kind in talk.facts}
        if missing:
            raise InvalidInput(f"user {card.id} knows {', '.join(sorted(missing))}, which nobody could ask for")
        self.card, self.talk, self.seed = card, talk, seed
        self.phraser = phraser or Templates()
        self.turns = 0
        self.max_turns = max_turns
        self.faults: list[str] = []
        self.outcome: UserAct | None = None
        """How it ended: `close` when every goal was reached or taken over, `abandon` when patience was."""

    async def open(self, state: Mapping[str, Any] | None) -> Turn:
        """The first words; `state` is the system's before anything was done."""
        self.mood = opened(self.card, state)
        return await self._turn(Decision("open"), ())

    async def hear(self, heard: Sequence[Message], state: Mapping[str, Any] | None) -> Turn:
        """The answer to the last message of the agent, given what can be observed of the system now."""
        if self.outcome is not None:
            raise InvalidInput(f"user {self.card.id} has left ({self.outcome}); make a new one")
        said = heard[-1].text if heard else ""
        decision, self.mood = decide(self.card, self.talk, self.mood, said, state, self._rng("decide"))
        return await self._turn(decision, heard)

    def fork(self) -> "SimulatedUser":
        """An independent copy."""
        twin = copy(self)
        twin.faults = list(self.faults)
        return twin

    async def _turn(self, decision: Decision, heard: Sequence[Message]) -> Turn:
        self.turns += 1
        if self.turns >= self.max_turns and decision.act not in ("close", "abandon"):
            decision = Decision("abandon")
        phrased = await self.phraser.phrase(self.card, self.mood.goal, decision, heard, self._rng("phrase"))
        ends = decision.act in ("close", "abandon")
        if ends:
            self.outcome = decision.act
        if phrased.fault is not None:
            self.faults.append(phrased.fault)
        return Turn(phrased.text, decision.act, ends, phrased.fault)

    def _rng(self, what: str) -> random.Random:
        # By turn, not as a stream: a fork at any turn goes on as the conversation that it was taken from would.
        return random.Random(f"{self.seed}/{self.card.id}/{self.turns}/{what}")
