"""Attempts of programs, read back from what the gateway captured of them."""

import asyncio
import time
from pathlib import Path
from typing import TypeVar

from journeyman.capture.catching_up import PATIENCE_SECONDS, missing_in_store
from journeyman.capture.trajectories import Branch, Conversation, join
from journeyman.environments.programs import Assignment
from journeyman.errors import InvalidInput, UpstreamFailed
from journeyman.records import Condition, Exchange, Feedback, Filter, Record, Score, Trajectory
from journeyman.records.exchange import UNFINISHED
from journeyman.store.store import Store

_LOOK_EVERY_SECONDS = 0.05
_SETTLING_SECONDS = 0.1
"""The gateway writes a call's end in the same turn of its loop in which the client gets it."""
_MOST = 1000
Noun = TypeVar("Noun", bound=Record)


class ReadBack:
    """Reads the calls of a session as one attempt; wait for the ingester is at most `patience` seconds.

    The attempt is the session's longest conversation that no other one contains, along the branch that ended last:
    sub-agents and calls that were tried again are left out. Scores are the feedback that the session was given.
    """

    def __init__(self, store: Store, spool: Path, patience: float = PATIENCE_SECONDS) -> None:
        self._store, self._spool, self._patience = store, spool, patience

    async def __call__(self, assignment: Assignment) -> Trajectory:
        """The attempt; UpstreamFailed when it is not in the store in time, InvalidInput when it cannot be one."""
        exchanges = await self._exchanges(assignment.session)
        if not exchanges:
            raise InvalidInput(
                f"the program made no call in its session {assignment.session}; it must call OPENAI_BASE_URL as it is"
            )
        branch = _attempt(join(exchanges))
        others = sorted({exchange.model for exchange in branch.exchanges} - {assignment.model})
        if others:
            raise InvalidInput(
                f"the program asked {', '.join(others)}, not {assignment.model}, which is to learn; it must ask for "
                "the model that JOURNEYMAN_MODEL names"
            )
        feedback = await self._all_of(Feedback, assignment.session)
        scores = [
            Score(name=each.name, value=each.value, reason=each.reason, by=each.by)
            for each in feedback
            if each.value is not None and each.turn is None
        ]
        return branch.trajectory(assignment.scenario.id, scores)

    async def _exchanges(self, session: str) -> list[Exchange]:
        await asyncio.sleep(_SETTLING_SECONDS)
        until = time.monotonic() + self._patience
        while True:
            missing = await asyncio.to_thread(missing_in_store, self._spool, max(until - time.monotonic(), 0.0))
            found = await self._all_of(Exchange, session)
            if missing is None and not any(exchange.state in UNFINISHED for exchange in found):
                return found
            if time.monotonic() > until:
                raise UpstreamFailed(missing or f"a call of {session} has not ended after {self._patience:g} s", 504)
            await asyncio.sleep(_LOOK_EVERY_SECONDS)

    async def _all_of(self, kind: type[Noun], session: str) -> list[Noun]:
        its = Filter(conditions=(Condition(field="session", operator="=", value=session),))
        found = await asyncio.to_thread(self._store.find, kind, its, limit=_MOST)
        if len(found) == _MOST:
            raise InvalidInput(f"the session {session} has {_MOST} calls or scores at least; an attempt has fewer")
        return [*found]


def _attempt(conversations: list[Conversation]) -> Branch:
    """The branch that ended last, of the longest conversation that is nobody's sub-agent."""
    whole = [conversation for conversation in conversations if conversation.within is None] or conversations
    longest = max(whole, key=lambda conversation: len(conversation.turns))
    return max(longest.branches, key=lambda branch: (branch.turn.exchange.at, branch.turn.number))
