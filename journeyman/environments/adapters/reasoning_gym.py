"""Tasks of the package reasoning-gym: puzzles without end, each with the package's own scorer.

Needs `pip install "journeyman[environments]"`. https://github.com/open-thought/reasoning-gym
"""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version as installed
from typing import Any

from pydantic import Field

from journeyman.engines.scripted import Script
from journeyman.environments.environment import Observation
from journeyman.environments.episode import derived_seed
from journeyman.environments.tasks.drawing import digest, require_split, require_suite
from journeyman.errors import InvalidInput
from journeyman.records import Frozen, Message, Outcome, Scenario, Score
from journeyman.records.message import assistant, system, user

_PREFIX = "reasoning-gym-"
_SIZE = 10_000
"""What an index means depends on the size with some tasks, so it is always the same."""
_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_HELD_OUT_IN = 4
"""One question in so many is kept for held-out scenarios."""


class ReasoningGymSettings(Frozen):
    """Which task, and how it is put.

    `config` are the task's own settings (`min_terms`, …), `examples` how many solved questions of the training split
    go before each as turns of the same conversation, `prompt` is a system prompt. A reply's answer is what it has in
    its last `<answer>` tag, else all of it.
    """

    task: str
    config: dict[str, Any] = Field(default_factory=dict)
    examples: int = Field(0, ge=0, le=16)
    prompt: str = ""


class ReasoningGymEnvironment:
    """One question, and one answer to it."""

    def __init__(self, scenario: Scenario, dataset: Any) -> None:
        self._scenario, self._dataset = scenario, dataset
        self._entry: dict[str, Any] = dataset[scenario.data["index"]]
        self._answer: str | None = None
        self._reward: float | None = None

    async def start(self) -> Observation:
        """The examples, then the question."""
        data = self._scenario.data
        messages: list[Message] = [system(data["prompt"])] if data["prompt"] else []
        for example in data["examples"]:
            messages += [user(example["question"]), assistant(example["answer"])]
        return Observation(messages=(*messages, user(self._entry["question"])))

    async def step(self, reply: Message) -> Observation:
        """Score the answer, by the package's own scorer."""
        if self._reward is not None:
            raise InvalidInput("this episode is over; start a new environment for another one")
        tagged = _TAGGED.findall(reply.text)
        self._answer = (tagged[-1] if tagged else reply.text).strip()
        # Some scorers compute for a while.
        self._reward = float(await asyncio.to_thread(self._dataset.score_answer, self._answer, self._entry))
        return Observation(done=True)

    def fork(self, n: int) -> "Sequence[ReasoningGymEnvironment]":
        """`n` independent copies."""
        return [copy(self) for _ in range(n)]

    def score(self) -> tuple[Score, ...]:
        """`reward`: what the scorer gives, from 0 to 1; `success`: whether that is 1."""
        return _scores(self._entry, self._reward or 0.0)

    def outcome(self) -> Outcome:
        """What was answered."""
        return Outcome(state={"answer": self._answer})

    async def close(self) -> None:
        """There is nothing to release."""


def _scores(entry: Mapping[str, Any], reward: float) -> tuple[Score, ...]:
    reason = f"the answer is {entry['answer']}" if entry.get("answer") is not None else ""
    values = {"reward": reward, "success": float(reward >= 1)}
    return tuple(
        Score(name=name, value=value, reason=reason, by="reasoning-gym", version=_version())
        for name, value in values.items()
    )


@cache
def _version() -> str:
    return f"reasoning-gym {installed('reasoning-gym')}"


class ReasoningGymSuite:
    """One task. A question is held out or trained by its own words, so that the two never meet, whatever the seeds."""

    def __init__(self, settings: ReasoningGymSettings) -> None:
        self.settings, self.name = settings, _PREFIX + settings.task
        self._datasets: dict[str, Any] = {}
        self._dataset({"task": settings.task, "config": settings.config, "seed": 0})  # refused now rather than later
        self.version = _version()

    def scenarios(self, split: str, count: int, seed: int) -> Sequence[Scenario]:
        """`count` different questions of `split`; the same seed gives the same ones."""
        require_split(split)
        if count < 1:
            raise InvalidInput(f"{count} scenarios were asked for; ask for at least 1")
        settings = self.settings
        what: dict[str, Any] = {"task": settings.task, "config": settings.config, "seed": self._seed(seed)}
        shown = self._examples(seed) if settings.examples else []
        # Other settings make other questions of the same seed.
        name = f"{self.name}-{digest([settings.config, settings.examples, settings.prompt])}-{split}-{seed}"
        made: list[Scenario] = []
        for index, entry in self._questions(what, split):
            if len(made) == count:
                break
            at = len(made) * settings.examples % max(len(shown), 1)
            others = [each for each in (*shown[at:], *shown[:at]) if each["question"] != entry["question"]]
            data = what | {"index": index, "prompt": settings.prompt, "examples": others[: settings.examples]}
            made.append(
                Scenario(
                    id=f"{name}-{index}",
                    at=datetime(2026, 1, 1, tzinfo=UTC), environment=self.name, kind=settings.task, data=data,
                )
            )  # fmt: skip
        if len(made) < count:
            raise InvalidInput(
                f"{settings.task} with {settings.config} made {len(made)} different questions for {split}, and {count} "
                "were asked for; ask for fewer, or let its settings allow more"
            )
        return made

    def environment(self, scenario: Scenario) -> ReasoningGymEnvironment:
        """A fresh episode of that scenario."""
        require_suite(scenario, self.name)
        return ReasoningGymEnvironment(scenario, self._dataset(scenario.data))

    def verify(self, scenario: Scenario, outcome: Outcome) -> tuple[Score, ...]:
        """The scores of a kept answer, by the package's own scorer."""
        dataset, answer = self._dataset(scenario.data), outcome.state["answer"]
        entry = dataset[scenario.data["index"]]
        return _scores(entry, 0.0 if answer is None else float(dataset.score_answer(answer, entry)))

    def gold(self, scenario: Scenario) -> Script | None:
        """Says the package's answer; None where the task tells none."""
        answer = self._dataset(scenario.data)[scenario.data["index"]].get("answer")
        return None if answer is None else lambda messages, tools: assistant(str(answer))

    def _seed(self, *parts: object) -> int:
        # Item `i` of seed `s` is item 0 of seed `s + i`: neighbouring seeds would share nearly all.
        return derived_seed(self.name, digest(self.settings.config), *parts)

    def _examples(self, seed: int) -> list[dict[str, str]]:
        """Solved questions of the training split, of another seed than any scenario's."""
        what = {"task": self.settings.task, "config": self.settings.config, "seed": self._seed("examples", seed)}
        found = []
        for _, entry in self._questions(what, "train"):
            if entry["answer"] is None:
                raise InvalidInput(f"{self.settings.task} tells no answers, so there can be no examples of it")
            found.append({"question": entry["question"], "answer": str(entry["answer"])})
            if len(found) == 8 * self.settings.examples:
                break
        if len(found) <= self.settings.examples:
            raise InvalidInput(f"{self.settings.task} made only {len(found)} questions to take examples from")
        return found

    def _questions(self, what: Mapping[str, Any], split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """Index and entry of each different question of a split."""
        dataset, seen = self._dataset(what), set[str]()
        for index in range(len(dataset)):
            entry: dict[str, Any] = dataset[index]
            question = entry["question"]
            held_out = int(digest(question), 16) % _HELD_OUT_IN == 0
            if question not in seen and held_out == (split == "held-out"):
                seen.add(question)
                yield index, entry

    def _dataset(self, what: Mapping[str, Any]) -> Any:
        key = digest([what["task"], what["config"], what["seed"]])
        if key not in self._datasets:
            self._datasets[key] = _create(what["task"], what["config"], what["seed"])
        return self._datasets[key]


def reasoning_gym_suite(task: str) -> ReasoningGymSuite:
    """The suite of a task with its own settings, for `reasoning-gym/TASK`."""
    return ReasoningGymSuite(ReasoningGymSettings(task=task))


def _create(task: str, config: Mapping[str, Any], seed: int) -> Any:
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ImportError as error:
        raise InvalidInput(
            f'reasoning-gym is not installed ({error}); pip install "journeyman[environments]"'
        ) from error
    if task not in DATASETS:
        raise InvalidInput(f"reasoning-gym has no task named {task!r}; it has: {', '.join(sorted(DATASETS))}")
    if "seed" in config:
        raise InvalidInput("config has a seed; leave it out: it follows from that of the scenarios")
    try:
        return reasoning_gym.create_dataset(task, **{"size": _SIZE, **config}, seed=seed)
    except (TypeError, AssertionError, ValueError) as error:
        raise InvalidInput(f"reasoning-gym refuses the settings of {task}: {error}") from error
