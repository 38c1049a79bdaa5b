"""Plays scenarios once each: one episode, or many at a time."""

import asyncio
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from journeyman.engines.engine import Engine
from journeyman.environments.environment import Environment, Suite
from journeyman.environments.episode import Episode, Player
from journeyman.environments.limits import RolloutLimits
from journeyman.environments.waiting import RolloutProgress
from journeyman.errors import InvalidInput
from journeyman.records import Sampling, Scenario, Trajectory, new_id

MAX_CALLS = 32
CALL_TIMEOUT = 600.0
_UNFIT = re.compile(r"[^A-Za-z0-9_.:@-]")
Attempt = Callable[[], Coroutine[Any, Any, Trajectory]]


async def roll_out(
    environment: Environment,
    scenario: Scenario,
    engine: Engine,
    model: str,
    sampling: Sampling = Sampling(),
    *,
    session: str | None = None,
    tags: Mapping[str, str] | None = None,
    max_calls: int = MAX_CALLS,
    call_timeout: float = CALL_TIMEOUT,
) -> Trajectory:
    """One attempt at `scenario`, scored by its environment, which is closed in the end.

    A failure of the engine or the environment becomes the trajectory's `error`, beside the scores of the episode as
    far as it went. `call_timeout` is in seconds, for each model call. The cost is left to whoever knows prices.
    """
    player = _player(engine, model, sampling, tags, max_calls, call_timeout)
    return await Episode(scenario, player, session or session_name(scenario)).play(environment)


async def roll_out_many(
    suite: Suite,
    scenarios: Sequence[Scenario],
    engine: Engine,
    model: str,
    sampling: Sampling = Sampling(),
    *,
    tags: Mapping[str, str] | None = None,
    max_calls: int = MAX_CALLS,
    call_timeout: float = CALL_TIMEOUT,
    concurrency: int = 8,
    on_done: Callable[[Trajectory], None] | None = None,
    progress: RolloutProgress | None = None,
) -> list[Trajectory]:
    """One attempt at each scenario, at most `concurrency` at a time; trajectories in the order of the scenarios.

    `on_done` is told of each trajectory as it ends. Every attempt has a session of its own.
    """
    player = _player(engine, model, sampling, tags, max_calls, call_timeout, progress)

    async def attempt(scenario: Scenario) -> Trajectory:
        episode, environment = Episode(scenario, player, session_name(scenario)), None
        async with episode.catching():
            environment = suite.environment(scenario)
        return episode.trajectory() if environment is None else await episode.play(environment)

    return await in_places(
        [partial(attempt, scenario) for scenario in scenarios], concurrency, player.progress, on_done
    )


async def in_places(
    attempts: Sequence[Attempt],
    concurrency: int,
    progress: RolloutProgress,
    on_done: Callable[[Trajectory], None] | None,
) -> list[Trajectory]:
    """What each attempt came to, in order; at most `concurrency` are under way, those that come first first."""
    if concurrency < 1:
        raise InvalidInput(f"concurrency is {concurrency}; at least one episode must be allowed at a time")
    progress.total += len(attempts)
    places = asyncio.Semaphore(concurrency)

    async def one(attempt: Attempt) -> Trajectory:
        async with places:
            trajectory = await attempt()
        progress.done += 1
        progress.failed += trajectory.error is not None
        if on_done is not None:
            on_done(trajectory)
        return trajectory

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(attempt)) for attempt in attempts]
    return [task.result() for task in tasks]


def session_name(scenario: Scenario) -> str:
    """A session for one attempt at a scenario, such that headers and paths can carry it."""
    return f"{_UNFIT.sub('-', scenario.id)[:100]}-{new_id()}"


def _player(
    engine: Engine,
    model: str,
    sampling: Sampling,
    tags: Mapping[str, str] | None,
    max_calls: int,
    call_timeout: float,
    progress: RolloutProgress | None = None,
) -> Player:
    """As evaluations and demos play: whoever wants further tries brings an engine that makes them."""
    limits = RolloutLimits(
        max_calls=max_calls, seconds_per_call=call_timeout, seconds_per_step=CALL_TIMEOUT,
        seconds_per_episode=max_calls * (call_timeout + CALL_TIMEOUT), retries=0,
    )  # fmt: skip
    return Player(engine, model, sampling, limits, tags or {}, progress=progress or RolloutProgress())
