"""One-turn tasks with a reward by code that small models do sometimes: what a first look at a method needs.

Examples go before the question as turns of the same conversation; a model of 135M parameters that is only told what
to do does none of them.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any

from pydantic import Field

from journeyman.engines.scripted import Script
from journeyman.environments.environment import Observation
from journeyman.environments.tasks.drawing import Drawn, draw_scenarios, require_suite, share
from journeyman.environments.tasks.words import CITIES, NAMES, THINGS
from journeyman.errors import InvalidInput
from journeyman.records import Frozen, Message, Outcome, Scenario, Score
from journeyman.records.message import assistant, user

NAME, VERSION = "few-shot", "few-shot/1"


class FewShotSettings(Frozen):
    """Which kinds are mixed in equal parts, and how many examples go before each question."""

    kinds: tuple[str, ...] = ("uppercase", "max", "json")
    examples: int = Field(3, ge=0, le=8)


class Asked(Frozen):
    """A question and its answer."""

    question: str
    answer: str


def _uppercase(rng: random.Random, split: str) -> Asked:
    word = rng.choice(share(THINGS, split))
    return Asked(question=word, answer=word.upper())


def _max(rng: random.Random, split: str) -> Asked:
    pair = rng.sample(share(range(10, 100), split), 2)
    return Asked(question=f"{pair[0]} {pair[1]}", answer=str(max(pair)))


def _json(rng: random.Random, split: str) -> Asked:
    name, city = rng.choice(share(NAMES, split)), rng.choice(share(CITIES, split))
    age = rng.choice(share(range(18, 90), split))
    return Asked(
        question=f"{name} is {age} years old and lives in {city}.",
        answer=json.dumps({"name": name, "age": age, "city": city}),
    )


def _same_text(reply: str, answer: str) -> bool:
    return reply.strip() == answer


def _same_json(reply: str, answer: str) -> bool:
    try:
        return bool(json.loads(reply) == json.loads(answer))
    except (ValueError, RecursionError):
        return False


_KINDS: Mapping[str, tuple[Callable[[random.Random, str], Asked], Callable[[str, str], bool]]] = {
    "uppercase": (_uppercase, _same_text),
    "max": (_max, _same_text),
    "json": (_json, _same_json),
}


class FewShotEnvironment:
    """One question, and one answer to it."""

    def __init__(self, scenario: Scenario) -> None:
        require_suite(scenario, NAME)
        self._kind, self._data = scenario.kind, scenario.data
        self._reply: str | None = None

    async def start(self) -> Observation:
        """The examples, then the question."""
        asked: list[dict[str, Any]] = self._data["examples"]
        examples = [message for one in asked for message in (user(one["question"]), assistant(one["answer"]))]
        return Observation(messages=(*examples, user(self._data["question"])))

    async def step(self, reply: Message) -> Observation:
        """Take the answer."""
        if self._reply is not None:
            raise InvalidInput("this episode is over; start a new environment for another one")
        self._reply = reply.text
        return Observation(done=True)

    def fork(self, n: int) -> "Sequence[FewShotEnvironment]":
        """`n` independent copies."""
        return [copy(self) for _ in range(n)]

    def score(self) -> tuple[Score, ...]:
        """`success` and `reward`: 1 for the right answer, and for nothing else."""
        return _scores(self._kind, self._data["answer"], self._reply)

    def outcome(self) -> Outcome:
        """What was replied."""
        return Outcome(state={"reply": self._reply})

    async def close(self) -> None:
        """There is nothing to release."""


def _scores(kind: str, answer: str, reply: str | None) -> tuple[Score, ...]:
    _, same = _KINDS[kind]
    right = float(reply is not None and same(reply, answer))
    reason = f"the answer is {answer}"
    return tuple(Score(name=name, value=right, reason=reason, version=VERSION) for name in ("reward", "success"))


class FewShotSuite:
    """Upper case, the larger of two numbers, and JSON from a sentence. Words and numbers of held-out questions, and
    of their examples, occur in no training scenario."""

    name, version = NAME, VERSION

    def __init__(self, settings: FewShotSettings = FewShotSettings()) -> None:
        unknown = set(settings.kinds) - _KINDS.keys()
        if unknown or not settings.kinds:
            raise InvalidInput(
                f"kinds are {', '.join(_KINDS)}, at least one; not {', '.join(sorted(unknown)) or 'none'}"
            )
        self.settings = settings

    def scenarios(self, split: str, count: int, seed: int) -> Sequence[Scenario]:
        """`count` scenarios of `split`, the kinds in turn; the same seed gives the same ones."""

        def draw(rng: random.Random, number: int) -> Drawn:
            kind = self.settings.kinds[number % len(self.settings.kinds)]
            make, _ = _KINDS[kind]
            drawn: dict[str, Asked] = {}
            while len(drawn) <= self.settings.examples:  # no question is its own example
                asked = make(rng, split)
                drawn[asked.question] = asked
            *examples, last = [asked.model_dump() for asked in drawn.values()]
            return Drawn(kind, {**last, "examples": examples})

        return draw_scenarios(self.name, split, count, seed, draw)

    def environment(self, scenario: Scenario) -> FewShotEnvironment:
        """A fresh episode of that scenario."""
        return FewShotEnvironment(scenario)

    def verify(self, scenario: Scenario, outcome: Outcome) -> tuple[Score, ...]:
        """The scores of a kept reply."""
        return _scores(scenario.kind, scenario.data["answer"], outcome.state["reply"])

    def gold(self, scenario: Scenario) -> Script:
        """Says the answer."""
        return lambda messages, tools: assistant(scenario.data["answer"])
