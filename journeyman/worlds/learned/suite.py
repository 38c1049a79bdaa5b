"""Predicting a world as a task for reinforcement learning: the fidelity measures of single calls are the rewards.

`journeyman train rl world-model/NAME`: each scenario is a recorded call; the model says what comes of it; F1 (outcome),
F2 (shape), F3 (answer) and F4 (state change) score it by code. No model judges.
"""

from collections.abc import Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any

from journeyman.config import default_home
from journeyman.environments.environment import Observation
from journeyman.environments.tasks.drawing import require_split, require_suite
from journeyman.errors import InvalidInput
from journeyman.records import Message, Outcome, Row, Scenario, Score
from journeyman.worlds.learned.prompt import VERSION, read_answer
from journeyman.worlds.learned.rows import rows_of
from journeyman.worlds.measures import judge
from journeyman.worlds.resolver import Answer
from journeyman.worlds.transitions import Transition
from journeyman.worlds.world import World, load_world

PARTS = ("f1", "f2", "f3", "f4")
"""Outcome class, schema validity, answer equal, state change equal."""


class PredictionSuite:
    """The recorded calls of a world as scenarios; those held out are the ones that a model's trust is measured on."""

    version = VERSION

    def __init__(self, world: World) -> None:
        self.name, self.world = f"world-model/{world.name}", world
        self._seed = world.card.seed if world.card is not None else 0
        rows = rows_of(world.built, self._seed)
        self._rows = {
            "train": [row for row in rows if row.split == "train"],
            "held-out": [row for row in rows if row.split == "validation"],
        }
        self._calls = {call.name: call for call in world.built.memory}

    @cached_property
    def content(self) -> str:
        """The world's, and the seed of its card, by which calls are held out."""
        return f"{self.world.content}/{self._seed}"

    def scenarios(self, split: str, count: int, seed: int) -> Sequence[Scenario]:
        """`count` calls of that split, from a place on that the seed gives, the first again after the last."""
        require_split(split)
        rows = self._rows[split]
        if not rows:
            raise InvalidInput(f"{self.name} has no call to be {split}: build the world from more sessions")
        first = seed * count
        return [self._scenario(rows[(first + number) % len(rows)], split) for number in range(count)]

    def environment(self, scenario: Scenario) -> "Prediction":
        """A fresh episode of one question."""
        require_suite(scenario, self.name)
        return Prediction(self, scenario)

    def verify(self, scenario: Scenario, outcome: Outcome) -> tuple[Score, ...]:
        """The scores of what was said of a call."""
        call = self._calls[scenario.data["call"]]
        said: Any = outcome.state
        return scores_of(str(said["reply"] or ""), call, self.world)

    def _scenario(self, row: Row, split: str) -> Scenario:
        messages = [message.wire() for message in row.messages[:-1]]
        call = self._calls[row.source]
        data = {"call": row.source, "messages": messages}
        return Scenario(id=f"{split}-{row.source}", environment=self.name, kind=call.tool, data=data)


class Prediction:
    """One question about one call."""

    def __init__(self, suite: PredictionSuite, scenario: Scenario) -> None:
        self._suite, self._scenario = suite, scenario
        self._reply: str | None = None

    async def start(self) -> Observation:
        """The question."""
        said = self._scenario.data["messages"]
        return Observation(messages=tuple(Message.model_validate(each) for each in said))

    async def step(self, reply: Message) -> Observation:
        """Take the answer."""
        if self._reply is not None:
            raise InvalidInput("this episode is over; start a new environment for another one")
        self._reply = reply.text
        return Observation(done=True)

    def fork(self, n: int) -> "Sequence[Prediction]":
        """`n` independent copies."""
        return [copy(self) for _ in range(n)]

    def score(self) -> tuple[Score, ...]:
        """See `scores_of`."""
        return self._suite.verify(self._scenario, self.outcome())

    def outcome(self) -> Outcome:
        """What was said."""
        return Outcome(state={"reply": self._reply})

    async def close(self) -> None:
        """There is nothing to release."""


def scores_of(reply: str, call: Transition, world: World) -> tuple[Score, ...]:
    """F1 to F4 of one reply, each 0 or 1; `reward` is their mean, and `success` that all are 1.

    Words that are no proposal (no JSON, an outcome that the tool never had, too wide a patch) score 0 throughout.
    """
    shape = world.built.shapes[call.tool]
    found = read_answer(reply, shape, call.before or {})
    if isinstance(found, str):
        values, reason = dict.fromkeys(PARTS, 0.0), found
    else:
        answer = Answer(found.observation, "learned", 1.0, found.changes, found.error)
        seen = judge(call, answer, shape)
        parts = (seen.outcome, seen.valid, seen.observation, seen.delta)
        values = {name: float(part) for name, part in zip(PARTS, parts, strict=True)}
        reason = ""
    values["reward"] = sum(values[part] for part in PARTS) / len(PARTS)
    values["success"] = float(all(values[part] for part in PARTS))
    return tuple(Score(name=name, value=value, reason=reason, version=VERSION) for name, value in values.items())


def prediction_suite(name: str, folder: Path | None = None) -> PredictionSuite:
    """The suite of a world that was built here. It needs no card: what is learned is the world, not a task in it."""
    return PredictionSuite(load_world(name, folder or default_home() / "worlds"))
