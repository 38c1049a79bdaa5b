"""An environment that follows a script: for tests of whatever plays episodes."""

from collections.abc import Callable, Sequence
from copy import copy

from journeyman.environments.environment import Observation
from journeyman.records import Message, Score
from journeyman.records.message import user


class ScriptedEnvironment:
    """Says `lines` in order, one for each reply, and is done when none is left; `judge` sees the agent's replies."""

    def __init__(self, lines: Sequence[str], judge: Callable[[Sequence[Message]], bool]) -> None:
        self._lines, self._judge = tuple(lines), judge
        self._replies: tuple[Message, ...] = ()
        self.is_closed = False

    async def start(self) -> Observation:
        """The first line."""
        return Observation(messages=(user(self._lines[0]),))

    async def step(self, reply: Message) -> Observation:
        """The next line, or the end."""
        self._replies = (*self._replies, reply)
        rest = self._lines[len(self._replies) :]
        return Observation(messages=tuple(user(line) for line in rest[:1]), done=not rest)

    def fork(self, n: int) -> "Sequence[ScriptedEnvironment]":
        """`n` independent copies."""
        return [copy(self) for _ in range(n)]

    def score(self) -> tuple[Score, ...]:
        """`success` is what the judge says of the replies."""
        return (Score(name="success", value=float(self._judge(self._replies))),)

    async def close(self) -> None:
        """Remember that it was closed."""
        self.is_closed = True
