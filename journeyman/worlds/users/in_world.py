"""A world's sessions, played by the users that were mined from them instead of by what those had said."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from journeyman.config import default_home
from journeyman.environments.environment import Observation
from journeyman.errors import InvalidInput
from journeyman.records import Message, Scenario, Score
from journeyman.worlds.environment import WorldEnvironment, WorldSuite
from journeyman.worlds.users.environment import UserEnvironment
from journeyman.worlds.users.mined_cards import seen_in
from journeyman.worlds.users.phrasing import Phraser
from journeyman.worlds.users.population import Users, is_held_out, load_users
from journeyman.worlds.users.user import SimulatedUser
from journeyman.worlds.world import load_world


class WorldUserEnvironment(UserEnvironment):
    """One conversation. An answer that the world is not sure of ends it, and then there is no `success`."""

    def score(self) -> tuple[Score, ...]:
        """Whether the user was served, the simulator's own faults, and whether the world did not know."""
        own, found = super().score(), self.inner.score()
        unknown = any(score.name == "abstained" and score.value for score in found)
        return (*(each for each in own if each.name != "success" or not unknown), *found)


class ObservedWorld:
    """A world that shows its state to whoever judges."""

    def __init__(self, world: WorldEnvironment) -> None:
        self._world = world

    async def start(self) -> Observation:
        """The world's own."""
        return await self._world.start()

    async def step(self, reply: Message) -> Observation:
        """The world's own."""
        return await self._world.step(reply)

    def fork(self, n: int) -> "Sequence[ObservedWorld]":
        """`n` independent copies."""
        return [ObservedWorld(each) for each in self._world.fork(n)]

    def state(self) -> Mapping[str, Any]:
        """Its cells, and the calls that were answered."""
        return seen_in(self._world)

    def score(self) -> tuple[Score, ...]:
        """Whether it abstained."""
        return tuple(score for score in self._world.score() if score.name == "abstained")

    async def close(self) -> None:
        """The world's own."""
        await self._world.close()


class WorldUserSuite:
    """The sessions of a world whose users have a card."""

    def __init__(self, users: Users, world: WorldSuite, phraser: Phraser | None = None) -> None:
        """InvalidInput where no session has one."""
        self.name, self._users, self._world, self._phraser = f"users/{users.name}", users, world, phraser
        known = {start.id for start in world.world.starts}
        self._sessions = sorted(session for session in users.cards if session in known)
        if not self._sessions:
            reasons = "; ".join(f"{count} sessions: {why}" for why, count in users.left_out.items())
            raise InvalidInput(f"the users {users.name} have no card in world {world.world.name} ({reasons or 'none'})")

    @cached_property
    def content(self) -> str:
        """The world's and the users'."""
        return hashlib.sha256(f"{self._world.content}{self._users.model_dump_json()}".encode()).hexdigest()[:32]

    def scenarios(self, split: str, count: int, seed: int) -> Sequence[Scenario]:
        """`count` sessions of `split`, taken again under another seed when there are fewer."""
        sessions = [each for each in self._sessions if is_held_out(each) == (split == "held-out")]
        if not sessions:
            raise InvalidInput(f"the users {self._users.name} have no card of split {split}; fit them to more sessions")
        return [
            Scenario(
                id=f"{self._users.name}-{session}-{seed + again}", environment=self.name, kind="users",
                data={"start": session, "seed": seed + again},
            )
            for number in range(count)
            for session, again in [(sessions[number % len(sessions)], number // len(sessions))]
        ]  # fmt: skip

    def environment(self, scenario: Scenario) -> UserEnvironment:
        """A fresh conversation."""
        if scenario.environment != self.name:
            raise InvalidInput(f"scenario {scenario.id} belongs to {scenario.environment!r}, not to {self.name!r}")
        session, users = scenario.data["start"], self._users
        inner = self._world.environment(scenario.model_copy(update={"environment": self._world.name}))
        if not isinstance(inner, WorldEnvironment):
            raise InvalidInput(f"world {self._world.world.name} is one of words, and has no users")
        card = users.cards[session].model_copy(update={"style": users.style})
        simulated = SimulatedUser(card, users.domain.talk, int(scenario.data["seed"]), self._phraser)
        return WorldUserEnvironment(ObservedWorld(inner), simulated)


def users_suite(name: str, folder: Path | None = None) -> WorldUserSuite:
    """The suite `users/NAME`: a world in which they live, and which may be trained in."""
    home = folder or default_home()
    users = load_users(name, home / "users")
    if users.world is None:
        raise InvalidInput(f"the users {name} live in no world; fit them with --world, or play them with --place")
    return WorldUserSuite(users, WorldSuite(load_world(users.world, home / "worlds"), training=True))
