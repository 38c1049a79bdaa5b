"""Plays every scenario several times from the same state on: what a method that compares attempts learns from."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from journeyman.engines.engine import Engine
from journeyman.environments.environment import Environment, Observation, Suite
from journeyman.environments.episode import CountTokens, Episode, Player, derived_seed
from journeyman.environments.limits import RolloutLimits
from journeyman.environments.rollout import in_places, session_name
from journeyman.environments.waiting import RolloutProgress
from journeyman.errors import InvalidInput
from journeyman.records import Sampling, Scenario, Trajectory, TrajectoryGroup

log = logging.getLogger(__name__)


async def roll_out_groups(
    suite: Suite,
    scenarios: Sequence[Scenario],
    engine: Engine,
    model: str,
    sampling: Sampling,
    *,
    attempts: int,
    limits: RolloutLimits,
    seed: int,
    concurrency: int = 8,
    tags: Mapping[str, str] | None = None,
    on_done: Callable[[Trajectory], None] | None = None,
    count_tokens: CountTokens | None = None,
    progress: RolloutProgress | None = None,
) -> list[TrajectoryGroup]:
    """`attempts` at each scenario, at most `concurrency` at a time; groups in the order of the scenarios.

    Every member of a group plays a fork of one episode that was started once, so that it meets the same state, faults
    and random numbers. Its replies are sampled under a seed that follows from `seed`, the scenario's id and its number
    in the group: the same call samples the same again, on an engine whose seeds hold in any company. Each attempt has
    a session of its own. One that fails is kept, with its error, and every group is whole.

    `on_done` is told of each trajectory as it ends, `progress` can be asked what is waited for; `count_tokens` makes
    the look at `limits.max_context_tokens` exact. InvalidInput for what cannot be a group: see `check_groups`.
    """
    check_groups(scenarios, attempts, sampling)
    player = Player(engine, model, sampling, limits, tags or {}, count_tokens, progress or RolloutProgress())
    groups = [_Group(suite, scenario, player, attempts, seed) for scenario in scenarios]
    members = [partial(group.attempt, number) for group in groups for number in range(attempts)]
    try:
        played = await in_places(members, concurrency, player.progress, on_done)
    finally:
        # Only when this is given up half-way is anything still open.
        for group in groups:
            await group.close()
    return [
        TrajectoryGroup(scenario=scenario, trajectories=tuple(played[at * attempts : (at + 1) * attempts]))
        for at, scenario in enumerate(scenarios)
    ]


def check_groups(scenarios: Sequence[Scenario], attempts: int, sampling: Sampling) -> None:
    """InvalidInput for scenarios that cannot be told apart or played again, and for arguments that contradict."""
    if attempts < 1:
        raise InvalidInput(f"attempts is {attempts}; a group has at least one")
    if sampling.seed is not None:
        raise InvalidInput(
            "sampling has a seed, and would sample every attempt alike; leave it out: `seed` gives each its own"
        )
    if (sampling.n or 1) != 1:
        raise InvalidInput(f"sampling asks for n={sampling.n} replies, and an episode goes on with one; use attempts")
    nameless = [scenario for scenario in scenarios if not scenario.id or "id" not in scenario.model_fields_set]
    if nameless:
        raise InvalidInput(
            f"{len(nameless)} of {len(scenarios)} scenarios have no id of their own (the first is of kind "
            f"{nameless[0].kind!r}), and could not be attempted again under the same seeds; give each an id that is "
            "the same in every run"
        )
    twice = [id for id, count in Counter(scenario.id for scenario in scenarios).items() if count > 1]
    if twice:
        raise InvalidInput(
            f"the scenario {twice[0]} is asked for more than once, and would be sampled under the same seeds; raise "
            "attempts instead"
        )


class _Group:
    """The attempts at one scenario. Its episode is started when the first of them has a place."""

    def __init__(self, suite: Suite, scenario: Scenario, player: Player, attempts: int, seed: int) -> None:
        self._suite, self._scenario, self._player = suite, scenario, player
        self._attempts, self._seed = attempts, seed
        self._starting = asyncio.Lock()
        self._origin: Environment | None = None
        self._opening: Observation | None = None
        self._forks: dict[int, Environment] = {}
        """Those that nobody plays yet."""
        self._errors: list[str] | None = None
        """Why there is nothing to play; empty when there is, None before anybody tried."""
        self._left = attempts

    async def attempt(self, number: int) -> Trajectory:
        """Play the fork of that number."""
        async with self._starting:
            if self._errors is None:
                self._errors = await self._start()
        episode = Episode(
            self._scenario, self._player, session_name(self._scenario),
            derived_seed(self._seed, self._scenario.id, number),
        )  # fmt: skip
        if self._errors:
            episode.errors += self._errors
            trajectory = episode.trajectory()
        else:
            trajectory = await episode.play(self._forks.pop(number), self._opening)
        self._left -= 1
        if not self._left:
            await self.close()
        return trajectory

    async def close(self) -> None:
        """Close the started episode, and forks that were never played. What cannot be closed is logged."""
        closing, self._origin = self._origin, None
        unplayed, self._forks = [*self._forks.values()], {}
        episode = Episode(self._scenario, self._player, "")
        for environment in ([] if closing is None else [closing]) + unplayed:
            async with episode.catching():
                await episode.closed(environment)
        for problem in episode.errors:
            log.warning("the episode that the attempts at %s began from: %s", self._scenario.id, problem)

    async def _start(self) -> list[str]:
        """Start the episode and fork it; what went wrong."""
        episode = Episode(self._scenario, self._player, "")
        async with episode.catching():
            self._origin = self._suite.environment(self._scenario)
            self._opening = await episode.reaction(self._origin.start(), "the start")
            forks = self._origin.fork(self._attempts)
            self._forks = dict(enumerate(forks))
            if len(forks) != self._attempts or len({id(each) for each in (self._origin, *forks)}) <= self._attempts:
                raise InvalidInput(
                    f"environment {self._scenario.environment} made {len(forks)} forks where {self._attempts} were "
                    "asked for, or gave the same one twice; attempts that share a state would disturb each other"
                )
        return episode.errors
