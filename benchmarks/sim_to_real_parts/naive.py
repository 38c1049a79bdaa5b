"""The baseline of replay and nearest neighbour without a state: the recorded answer to the likeliest last screen."""

from collections.abc import Sequence
from copy import copy

from journeyman.environments.environment import Observation
from journeyman.records import Message, Outcome, Scenario, Score
from journeyman.records.message import user
from journeyman.worlds.texts.episodes import TextEpisode
from journeyman.worlds.verdict import verify
from journeyman.worlds.world import Start


class Recordings:
    """Screens, actions and what was told then; asked for the action in the screen most like the one given."""

    def __init__(self, episodes: Sequence[TextEpisode]) -> None:
        self._by_action: dict[str, dict[str, str]] = {}
        for each in episodes:
            screen = each.first
            for action, told in each.steps:
                self._by_action.setdefault(action, {}).setdefault(screen, told)
                screen = told
        self.longest = max(len(each.steps) for each in episodes)

    def answer(self, screen: str, action: str) -> str:
        """Exactly recorded, else of the nearest screen with that action, else of the nearest screen with any."""
        known = self._by_action.get(action)
        if known is None:
            known = {shown: told for found in self._by_action.values() for shown, told in found.items()}
        if screen in known:
            return known[screen]
        return known[max(known, key=lambda shown: (_likeness(screen, shown), shown))]


def _likeness(one: str, other: str) -> float:
    """The share of their words that both have."""
    words, others = set(one.split()), set(other.split())
    return len(words & others) / len(words | others) if words | others else 1.0


class NaiveEnvironment:
    """One episode of recordings: it always answers, and remembers nothing but the last screen."""

    def __init__(self, scenario: Scenario, start: Start, recordings: Recordings) -> None:
        self._scenario, self._start, self._recordings = scenario, start, recordings
        self._screen = start.messages[-1].text
        self._told: tuple[str, ...] = ()

    async def start(self) -> Observation:
        """What the captured episode began with."""
        return Observation(messages=self._start.messages)

    async def step(self, reply: Message) -> Observation:
        """The nearest recording's answer; success, as its words have it, ends the episode."""
        self._screen = self._recordings.answer(self._screen, reply.text.strip())
        self._told = (*self._told, self._screen)
        done = len(self._told) >= self._recordings.longest or self.score()[0].value == 1
        return Observation(messages=(user(self._screen),), done=done)

    def fork(self, n: int) -> "Sequence[NaiveEnvironment]":
        """`n` copies."""
        return [copy(self) for _ in range(n)]

    def score(self) -> tuple[Score, ...]:
        """As for a world."""
        return verify(self._scenario, self.outcome())

    def outcome(self) -> Outcome:
        """What was told."""
        events = tuple({"told": each} for each in self._told)
        return Outcome(state={"document": {}, "abstained": None}, events=events)

    async def close(self) -> None:
        """Nothing is held."""
