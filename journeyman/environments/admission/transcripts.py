"""Episodes played so that they can be compared byte for byte: all that was seen, scored and left behind."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from journeyman.engines.scripted import Script
from journeyman.environments.environment import Environment, Observation
from journeyman.environments.verifying import outcome_of
from journeyman.environments.waiting import bounded
from journeyman.errors import DeadlineExceeded
from journeyman.records import Message, Outcome, Scenario, Score, Tool

MOST_REPLIES = 64
SECONDS_PER_STEP = 60.0
_AROUND = 60


@dataclass
class Transcript:
    """An episode as it went: what was replied, what was seen, and in the end its scores and its outcome."""

    replies: list[Message] = field(default_factory=list)
    seen: list[dict[str, Any]] = field(default_factory=list)
    scores: tuple[Score, ...] = ()
    outcome: Outcome | None = None

    @property
    def is_success(self) -> bool:
        """Whether the score named `success` is 1."""
        return any(score.name == "success" and score.value == 1 for score in self.scores)

    def written(self) -> str:
        """All but the replies, as canonical JSON: what must be the same when the same is replied again."""
        left = None if self.outcome is None else self.outcome.model_dump(mode="json")
        scores = [score.model_dump(mode="json") for score in self.scores]
        return json.dumps([self.seen, scores, left], sort_keys=True, ensure_ascii=False)


async def play(
    environment: Environment,
    script: Script,
    opening: Observation | None = None,
    *,
    close: bool = True,
    most: int = MOST_REPLIES,
) -> Transcript:
    """Play an episode to its end, or for so many replies; `opening`: it was started, and said that."""
    made, messages, tools = Transcript(), list[Message](), tuple[Tool, ...]()
    try:
        observation = opening or await _within(environment.start(), "its start")
        while True:
            made.seen.append(observation.model_dump(mode="json"))
            messages += observation.messages
            tools = observation.tools or tools
            if observation.done or len(made.replies) == most:
                break
            try:
                reply = script(messages, tools)
            except StopIteration:
                break
            made.replies.append(reply)
            messages.append(reply)
            observation = await _within(environment.step(reply), "a step")
        made.scores, made.outcome = environment.score(), outcome_of(environment)
    finally:
        if close:
            await _within(environment.close(), "its close")
    return made


def attempted(scenario: Scenario) -> dict[str, Any]:
    """What a scenario is, as JSON: all of it but when the record of it was made."""
    return scenario.model_dump(mode="json", exclude={"at"})


def repeating(replies: Sequence[Message]) -> Script:
    """A player that replies the same again, and then no more."""
    left = iter(replies)
    return lambda messages, tools: next(left)


def first_difference(one: str, other: str) -> str:
    """Where two transcripts part, in some words of each."""
    at = next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
    low = max(0, at - _AROUND)
    return f"…{one[low : at + _AROUND]}… and then …{other[low : at + _AROUND]}…"


async def _within(work: Any, what: str) -> Any:
    return await bounded(work, SECONDS_PER_STEP, lambda: DeadlineExceeded(
        f"{what} took longer than {SECONDS_PER_STEP:g} s; the environment hangs there"
    ))  # fmt: skip
