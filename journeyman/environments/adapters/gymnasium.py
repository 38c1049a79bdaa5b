"""Environments of the package Gymnasium with discrete or text actions, played in words.

Needs `pip install gymnasium`. https://gymnasium.farama.org
"""

import asyncio
import copy
import random
from collections.abc import Callable, Sequence
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
from journeyman.records import Frozen, Message, Outcome, Scenario, Score, Tool
from journeyman.records.message import assistant, system, user

Say = Callable[[Any], str]


class GymnasiumSettings(Frozen):
    """Which environment, and how it is put into words.

    `id` is registered with Gymnasium, `options` are those of `gymnasium.make`. `actions` names the discrete actions in
    order (0, 1, … if absent); `task` says what is to be done. A success is an episode that terminated with a return of
    at least `success_return`.
    """

    id: str
    options: dict[str, Any] = Field(default_factory=dict)
    actions: tuple[str, ...] = ()
    task: str = ""
    max_steps: int = Field(100, ge=1)
    success_return: float = 1.0


class GymnasiumEnvironment:
    """One episode. A reply is the name of an action; one that names none is told the names, and costs a step."""

    def __init__(self, scenario: Scenario, settings: GymnasiumSettings, game: Any, say: Say) -> None:
        self._scenario, self._settings, self._game, self._say = scenario, settings, game, say
        self._names = action_names(settings, game)
        self._actions: tuple[str, ...] = ()
        self._rewards: tuple[float, ...] = ()
        self._terminated = self._is_done = False

    async def start(self) -> Observation:
        """The task, the actions, and what is seen first."""
        seen, _ = await asyncio.to_thread(self._game.reset, seed=self._scenario.data["seed"])
        return Observation(messages=(system(self._task()), user(self._say(seen))))

    async def step(self, reply: Message) -> Observation:
        """Take the action."""
        if self._is_done:
            raise InvalidInput("this episode is over; start a new environment for another one")
        said = reply.text.strip()
        self._actions = (*self._actions, said)
        last = len(self._actions) >= self._settings.max_steps
        if said.lower() not in self._names:
            self._is_done = last
            return Observation(messages=(user(f"There is no action {said[:40]!r}. {self._task()}"),), done=last)
        action = self._names.index(said.lower())
        seen, reward, self._terminated, truncated, _ = await asyncio.to_thread(self._game.step, action)
        self._rewards = (*self._rewards, float(reward))
        self._is_done = bool(self._terminated or truncated or last)
        return Observation(messages=(user(self._say(seen)),), done=self._is_done)

    def fork(self, n: int) -> "Sequence[GymnasiumEnvironment]":
        """`n` independent copies, by a deep copy of the game with its random numbers."""
        return [self._copy() for _ in range(n)]

    def score(self) -> tuple[Score, ...]:
        """`reward`: the return; `success`: whether it terminated with enough of it."""
        return _scores(self.outcome(), self._settings)

    def outcome(self) -> Outcome:
        """The rewards, whether it terminated, and the actions."""
        state = {"rewards": list(self._rewards), "terminated": bool(self._terminated)}
        return Outcome(state=state, events=tuple({"action": action} for action in self._actions))

    async def close(self) -> None:
        """Close the game."""
        await asyncio.to_thread(self._game.close)

    def _task(self) -> str:
        return f"{self._settings.task} Reply with one of: {', '.join(self._names)}.".strip()

    def _copy(self) -> "GymnasiumEnvironment":
        twin = copy.copy(self)
        twin._game = copy.deepcopy(self._game)
        return twin


class GymnasiumSuite:
    """One environment over seeds without end; those of held-out episodes are odd, those of training even."""

    exact_ends = False
    """A game may be won on several ways, with other rewards on each."""

    def __init__(self, settings: GymnasiumSettings, say: Say = str, gold: Callable[[int], Script | None] | None = None):
        """`say` puts an observation into words; `gold` makes a player that solves the episode of a seed."""
        self.settings, self.name, self._say, self._gold = settings, f"gymnasium-{settings.id}", say, gold
        game = _make(settings)
        action_names(settings, game)  # refused now rather than later
        game.close()
        self.version = _version()

    def scenarios(self, split: str, count: int, seed: int) -> Sequence[Scenario]:
        """`count` seeds of `split`; the same seed gives the same ones."""
        require_split(split)
        if count < 1:
            raise InvalidInput(f"{count} scenarios were asked for; ask for at least 1")
        settings = self.settings.model_dump(mode="json")
        odd = int(split == "held-out")
        return [
            Scenario(
                id=f"{self.name}-{digest(settings)}-{split}-{seed}-{number}",
                at=datetime(2026, 1, 1, tzinfo=UTC), environment=self.name, kind=self.settings.id,
                data={"settings": settings, "seed": derived_seed(self.name, split, seed, number) // 2 * 2 + odd},
            )
            for number in range(count)
        ]  # fmt: skip

    def environment(self, scenario: Scenario) -> GymnasiumEnvironment:
        """A fresh episode of that scenario."""
        require_suite(scenario, self.name)
        return GymnasiumEnvironment(scenario, self.settings, _make(self.settings), self._say)

    def verify(self, scenario: Scenario, outcome: Outcome) -> tuple[Score, ...]:
        """The scores of kept rewards."""
        return _scores(outcome, self.settings)

    def gold(self, scenario: Scenario) -> Script | None:
        """Whoever the suite was given."""
        return None if self._gold is None else self._gold(scenario.data["seed"])

    def random_player(self, seed: int) -> Script:
        """Takes any of the actions."""
        names = action_names(self.settings, _make(self.settings))

        def act(messages: Sequence[Message], tools: Sequence[Tool]) -> Message:
            return assistant(random.Random(f"{seed}/{len(messages)}/{messages[-1].text}").choice(names))

        return act


def action_names(settings: GymnasiumSettings, game: Any) -> tuple[str, ...]:
    """The names of the actions in order, in lower case; InvalidInput where they are not discrete, or not so many."""
    space = game.action_space
    if type(space).__name__ != "Discrete":
        raise InvalidInput(f"{settings.id} has the actions {space}, and only discrete ones can be named in words")
    names = settings.actions or tuple(str(number) for number in range(int(space.n)))
    if len(names) != int(space.n):
        raise InvalidInput(f"{settings.id} has {int(space.n)} actions, and {len(names)} are named")
    return tuple(name.lower() for name in names)


def _scores(outcome: Outcome, settings: GymnasiumSettings) -> tuple[Score, ...]:
    earned = float(sum(outcome.state["rewards"]))
    won = outcome.state["terminated"] and earned >= settings.success_return
    return tuple(
        Score(name=name, value=value, by="gymnasium", version=_version())
        for name, value in (("reward", earned), ("success", float(won)))
    )


@cache
def _version() -> str:
    return f"gymnasium {installed('gymnasium')}"


def _make(settings: GymnasiumSettings) -> Any:
    try:
        import gymnasium
    except ImportError as error:
        raise InvalidInput(f"gymnasium is not installed ({error}); pip install gymnasium") from error
    try:
        return gymnasium.make(settings.id, **copy.deepcopy(settings.options))
    except (gymnasium.error.Error, TypeError) as error:
        raise InvalidInput(f"gymnasium cannot make {settings.id} with {settings.options}: {error}") from error
