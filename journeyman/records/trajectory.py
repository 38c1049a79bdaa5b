"""One attempt at a scenario, and how it was scored."""

from typing import Any

from pydantic import Field

from journeyman.records.exchange import Tokens
from journeyman.records.message import Message, Tool
from journeyman.records.record import Frozen, Record


class Scenario(Record):
    """What to attempt: an id that is stable across runs, a kind for slices, and the environment's own data."""

    environment: str
    kind: str
    data: dict[str, Any] = Field(default_factory=dict)


class Score(Frozen):
    """One judgement of an attempt: `value` in [0, 1] unless its name says otherwise.

    `version` is that of the verifier that gave it, so that a stored attempt can be scored again by a later one.
    """

    name: str
    value: float
    reason: str = ""
    by: str = "environment"
    version: str = ""


class Outcome(Frozen):
    """All of an episode that its verifier looks at: the state it was left in, and what happened, in order; JSON."""

    state: dict[str, Any] = Field(default_factory=dict)
    events: tuple[dict[str, Any], ...] = ()


class Trajectory(Record):
    """One attempt: the conversation, what it cost, how it was scored. A failed attempt is data, not a crash.

    `latencies` are seconds, one per model call; `turns` counts model calls. `tokens` are what the engine saw and
    sampled, one per model call, or none at all where it did not tell. `outcome` is what the scores of the environment
    follow from, where it can say so, and `scenario` is kept beside it, so that they can be given again. `stripped` is
    how many forged turns and results of tools were taken out of the agent's text before the environment read it;
    `messages` are without them. `tags` say what the attempt was made for.
    """

    scenario_id: str
    model: str
    session: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    scores: tuple[Score, ...] = ()
    outcome: Outcome | None = None
    scenario: Scenario | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None
    latencies: tuple[float, ...] = ()
    tokens: tuple[Tokens, ...] = ()
    finish_reasons: tuple[str | None, ...] = ()
    error: str | None = None
    stripped: int = 0
    tags: dict[str, str] = Field(default_factory=dict)

    @property
    def turns(self) -> int:
        """How many times the model was called."""
        return len(self.latencies)

    def score(self, name: str) -> float:
        """The value of the score of that name; 0 when it was never given."""
        return next((score.value for score in self.scores if score.name == name), 0.0)


class TrajectoryGroup(Frozen):
    """Attempts at one scenario, from the same state on: what is compared with each other."""

    scenario: Scenario
    trajectories: tuple[Trajectory, ...]
