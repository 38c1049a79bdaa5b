"""Games of the package TextWorldExpress: rooms, things and actions in words.

Needs `pip install "journeyman[environments]"` and Java. https://github.com/cognitiveailab/TextWorldExpress
"""

import asyncio
import random
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version as installed
from typing import Any, Literal, get_args

from pydantic import Field

from journeyman.engines.scripted import Script
from journeyman.environments.environment import Observation
from journeyman.environments.tasks.drawing import digest, require_split, require_suite
from journeyman.errors import InvalidInput, UpstreamFailed
from journeyman.records import Frozen, Message, Outcome, Scenario, Score, Tool
from journeyman.records.message import assistant, system, user

_PREFIX = "textworld-express-"
Game = Literal["cookingworld", "coin", "twc", "mapreader", "arithmetic", "sorting", "simonsays", "peckingorder"]
_FOLDS = {"train": "train", "held-out": "test"}
_SHARES_STATE = ("sorting",)
"""Games of which one Java process can hold one at a time (package version 1.1.0): another one changes its answers."""
_KEPT = ("observation", "look", "inventory", "score", "tasksuccess", "taskfailure", "done")
_alone = threading.Lock()
_starting = threading.Lock()
_running: list[Any] = []
"""The first game, whose Java process all others share."""


class TextWorldExpressSettings(Frozen):
    """Which game, and how it is shown.

    `parameters` are the game's own (`numLocations=3,includeDoors=0`); `max_steps` are the actions that it lasts;
    `show_actions`: whether each observation ends with the actions that are possible; `examples`: how many other games
    of the train fold go before it, played by the package's own gold path, as turns of the same conversation.
    """

    game: Game
    parameters: str = ""
    max_steps: int = Field(50, ge=1, le=1000)
    show_actions: bool = True
    examples: int = Field(0, ge=0, le=8)


class TextWorldExpressEnvironment:
    """One game. Every reply is one action; every copy is a game of its own that was brought to the same state."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._settings = TextWorldExpressSettings.model_validate(scenario.data["settings"])
        self._actions: list[str] = []
        self._game: Any = None
        self._told: dict[str, Any] = {}

    async def start(self) -> Observation:
        """The task as the game words it, then what can be seen."""
        await asyncio.to_thread(self._first_state)
        task = f"{self._told['taskDescription'].strip()}\nReply with one action, and nothing else."
        shown = [
            message
            for example in self._scenario.data["examples"]
            for said, action in example["turns"]
            for message in (user(said), assistant(action))
        ]
        return Observation(messages=(system(task), *shown, user(self._shown())))

    async def step(self, reply: Message) -> Observation:
        """Take the action; what the game does not understand, it says so of."""
        if self._told.get("done"):
            raise InvalidInput("this episode is over; start a new environment for another one")
        await asyncio.to_thread(self._act, reply.text.strip())
        return Observation(messages=(user(self._shown()),), done=self._told["done"])

    def fork(self, n: int) -> "Sequence[TextWorldExpressEnvironment]":
        """`n` copies, each played again from the game's seed when it is first needed."""
        return [self._again() for _ in range(n)]

    def score(self) -> tuple[Score, ...]:
        """`reward`: the game's own score, from 0 to 1; `success`: whether the game says that the task is done."""
        return _scores(self._told)

    def outcome(self) -> Outcome:
        """What the game told last, its own score included, and the actions that led there."""
        told = {name: self._told[name] for name in _KEPT if name in self._told}
        return Outcome(state=told, events=tuple({"action": action} for action in self._actions))

    async def close(self) -> None:
        """Let go of the game; the Java process is shared, and stays."""
        self._game = None

    def _again(self) -> "TextWorldExpressEnvironment":
        copied = TextWorldExpressEnvironment(self._scenario)
        copied._actions, copied._told = [*self._actions], dict(self._told)
        return copied

    def _first_state(self) -> None:
        with _turn(self._settings.game):
            self._begin()

    def _act(self, action: str) -> None:
        with _turn(self._settings.game):
            if self._game is None or self._settings.game in _SHARES_STATE:
                self._begin()
            _, _, done, self._told = self._game.step(action)
        self._actions.append(action)
        self._told["done"] = done or len(self._actions) >= self._settings.max_steps

    def _begin(self) -> None:
        """A game in its first state, and from there by the same actions to where this one was."""
        data, settings = self._scenario.data, self._settings
        self._game = new_game(settings.max_steps)
        _, self._told = self._game.reset(
            seed=data["seed"], gameFold=data["fold"], gameName=settings.game, gameParams=settings.parameters
        )
        for action in self._actions:
            _, _, _, self._told = self._game.step(action)

    def _shown(self) -> str:
        return _told_in_words(self._told, self._settings)


def _scores(told: Mapping[str, Any]) -> tuple[Score, ...]:
    values = {
        "reward": min(max(float(told.get("score", 0.0)), 0.0), 1.0),
        "success": float(bool(told.get("tasksuccess"))),
    }
    return tuple(
        Score(name=name, value=value, by="textworld-express", version=_version()) for name, value in values.items()
    )


@cache
def _version() -> str:
    return f"textworld-express {installed('textworld-express')}"


class TextWorldExpressSuite:
    """One game with its parameters. Training scenarios are of the package's train fold, held-out ones of its test
    fold, which have no seed in common."""

    exact_ends = False
    """A game is won in more states than one: a door on the way may be open or shut."""

    def __init__(self, settings: TextWorldExpressSettings) -> None:
        self.settings, self.name = settings, _PREFIX + settings.game
        _package()  # refused now rather than later
        self.version = _version()

    def scenarios(self, split: str, count: int, seed: int) -> Sequence[Scenario]:
        """`count` games of `split`, drawn without repeating any; the same seed gives the same ones."""
        require_split(split)
        seeds = game_seeds(_FOLDS[split])
        if not 1 <= count <= len(seeds):
            raise InvalidInput(f"{count} scenarios were asked for; the {split} games are {len(seeds)}")
        settings = self.settings.model_dump()
        solved = self._solved(seed) if self.settings.examples else []
        drawn = random.Random(f"{self.name}/{split}/{seed}").sample(seeds, count)
        return [
            Scenario(
                id=f"{self.name}-{digest(settings)}-{split}-{number}",
                at=datetime(2026, 1, 1, tzinfo=UTC), environment=self.name,
                kind=self.settings.game,
                data={
                    "settings": settings, "fold": _FOLDS[split], "seed": number,
                    "examples": self._examples(solved, place, number if split == "train" else None),
                },
            )
            for place, number in enumerate(drawn)
        ]  # fmt: skip

    def environment(self, scenario: Scenario) -> TextWorldExpressEnvironment:
        """A fresh episode of that scenario."""
        require_suite(scenario, self.name)
        return TextWorldExpressEnvironment(scenario)

    def verify(self, scenario: Scenario, outcome: Outcome) -> tuple[Score, ...]:
        """The scores of a kept game: what the game itself said."""
        return _scores(outcome.state)

    def gold(self, scenario: Scenario) -> Script | None:
        """Takes the package's own path; None where that does not lead to success within `max_steps`."""
        turns = _gold_turns(self.settings, scenario.data["seed"], scenario.data["fold"])
        before = sum(len(example["turns"]) for example in scenario.data["examples"])

        def act(messages: Sequence[Message], tools: Sequence[Tool]) -> Message:
            done = sum(message.role == "assistant" for message in messages) - before
            return assistant(turns[min(done, len(turns) - 1)][1])

        return act if turns else None

    def random_player(self, seed: int) -> Script:
        """Takes any of the actions that are possible."""

        def act(messages: Sequence[Message], tools: Sequence[Tool]) -> Message:
            _, _, possible = messages[-1].text.rpartition("Possible actions: ")
            drawn = random.Random(f"{seed}/{len(messages)}/{messages[-1].text}")
            return assistant(drawn.choice(possible.split(", ")))

        return act

    def _solved(self, seed: int) -> list[dict[str, Any]]:
        """Games of the train fold with the turns of their gold paths: more than are needed at once."""
        wanted, found = 3 * self.settings.examples + 1, []
        for number in random.Random(f"{self.name}/examples/{seed}").sample(game_seeds("train"), 4 * wanted):
            turns = _gold_turns(self.settings, number)
            if turns:
                found.append({"seed": number, "turns": turns})
            if len(found) == wanted:
                return found
        raise InvalidInput(f"the package solves too few games of {self.settings} to take {wanted} examples from")

    def _examples(self, solved: list[dict[str, Any]], place: int, own: int | None) -> list[dict[str, Any]]:
        """Each scenario has other ones in front; a game is not its own example."""
        at = place * self.settings.examples % max(len(solved), 1)
        return [each for each in (*solved[at:], *solved[:at]) if each["seed"] != own][: self.settings.examples]


def textworld_express_suite(game: str) -> TextWorldExpressSuite:
    """The suite of a game with its own parameters, for `textworld-express/GAME`."""
    games = get_args(Game)
    if game not in games:
        raise InvalidInput(f"TextWorldExpress has no game {game!r}; it has: {', '.join(games)}")
    return TextWorldExpressSuite(TextWorldExpressSettings.model_validate({"game": game}))


def _told_in_words(told: Mapping[str, Any], settings: TextWorldExpressSettings) -> str:
    seen = str(told["observation"]).strip()
    return f"{seen}\nPossible actions: {', '.join(sorted(told['validActions']))}" if settings.show_actions else seen


def _gold_turns(settings: TextWorldExpressSettings, seed: int, fold: str = "train") -> list[tuple[str, str]]:
    """What is seen and done on the way to success; nothing when the package's path does not lead there."""
    with _turn(settings.game):
        game, turns = new_game(settings.max_steps), list[tuple[str, str]]()
        _, told = game.reset(
            seed=seed, gameFold=fold, gameName=settings.game, gameParams=settings.parameters, generateGoldPath=True
        )
        for action in game.getGoldActionSequence()[: settings.max_steps]:
            turns.append((_told_in_words(told, settings), action))
            _, _, done, told = game.step(action)
            if done:
                break
        return turns if told["tasksuccess"] else []


def _turn(game: str) -> AbstractContextManager[object]:
    return _alone if game in _SHARES_STATE else nullcontext()


def new_game(max_steps: int) -> Any:
    """A game in the Java process that all share, which is started when there is none; it blocks for a second then."""
    game = _shared_game()
    return game(_java(), max_steps)


@cache
def game_seeds(fold: str) -> tuple[int, ...]:
    """The seeds that the package has for a fold: train, dev or test."""
    game = new_game(1)
    names = {"train": game.getValidSeedsTrain, "dev": game.getValidSeedsDev, "test": game.getValidSeedsTest}
    return tuple(int(each) for each in names[fold]())


def _java() -> Any:
    with _starting:
        if _running and _running[0]._gateway.java_process.poll() is not None:
            _running.clear()  # it died; those who played there find out themselves
        if not _running:
            _running.append(_start_java())
        return _running[0]._gateway


def _start_java() -> Any:
    try:
        return _package().TextWorldExpressEnv()
    except FileNotFoundError as error:
        raise UpstreamFailed(
            f"TextWorldExpress needs Java, and none was found ({error}); install a Java runtime"
        ) from error


def _package() -> Any:
    try:
        import textworld_express
    except ImportError as error:
        raise InvalidInput(
            f'textworld-express is not installed ({error}); pip install "journeyman[environments]"'
        ) from error
    return textworld_express


@cache
def _shared_game() -> Any:
    class SharedGame(_package().TextWorldExpressEnv):  # type: ignore[misc]
        """A game without a Java process of its own: one of them takes some 100 MB, and a second to start."""

        def __init__(self, gateway: Any, max_steps: int) -> None:
            self._gateway = gateway
            self.server = gateway.jvm.textworldexpress.runtime.PythonInterface()
            self.lastStepScore, self.envStepLimit = 0, max_steps
            self.seed, self.gameName, self.gameParams, self.gameFold = None, None, "", "train"
            self.generateGoldPath = False
            self.clearRunHistory()

        def close(self) -> None:
            """The process is everybody's."""

    return SharedGame
