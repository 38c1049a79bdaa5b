"""Attempts and judging on a Ray cluster: the same code in other processes, on this machine or on others.

A group is one task there, which asks the run's engine by its URL. It plays the very attempts that it would have played
here: seeds follow from the scenario. So a task whose process died is simply played again.
"""

import asyncio
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from journeyman.config import Settings
from journeyman.engines.attached import AttachedEngine
from journeyman.engines.held import HeldEngine
from journeyman.environments.environment import Suite
from journeyman.environments.groups import check_groups, roll_out_groups
from journeyman.environments.limits import RolloutLimits
from journeyman.environments.rollout import session_name
from journeyman.environments.waiting import RolloutProgress, bounded
from journeyman.errors import (
    DeadlineExceeded,
    InvalidInput,
    JourneymanError,
    NothingToCompare,
    Refused,
    UpstreamFailed,
)
from journeyman.records import Sampling, Scenario, Trajectory, TrajectoryGroup
from journeyman.rewards.reward import Reward, Scores, score_by_part

_SCHEDULING_SECONDS = 600.0
"""Until a group has a place on the cluster, on top of what its attempts may take."""
_PLAYED_AGAIN = 2
_ERRORS: dict[str, type[JourneymanError]] = {
    each.__name__: each for each in (UpstreamFailed, Refused, NothingToCompare)
}
"""What a judge may fail by and lose only its group; anything else ends the run, as it does here."""


def require_ray() -> None:
    """InvalidInput when the package is not there."""
    if importlib.util.find_spec("ray") is None:
        raise InvalidInput(
            "--cluster ray needs a package that is not installed: pip install 'journeyman[ray]'. Nothing was started"
        )


@contextmanager
def ray_cluster() -> Iterator[None]:
    """Connected to the cluster that RAY_ADDRESS names, or to one of this machine that ends with us.

    Every node needs this installation, and the user's modules at the same paths.
    """
    require_ray()
    import ray

    if ray.is_initialized():
        yield
        return
    # Ray's processes look for modules in the folder where the run was started, as the run itself does.
    ray.init(log_to_driver=False, **({} if os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}))
    try:
        yield
    finally:
        ray.shutdown()


class _Job(NamedTuple):
    """One group, and the engine that it asks."""

    suite: Suite
    scenario: Scenario
    url: str
    base: str
    model: str
    sampling: Sampling
    attempts: int
    at_once: int
    limits: RolloutLimits
    seed: int
    tags: Mapping[str, str]


def _play(job: _Job) -> TrajectoryGroup | str:
    """The group, or by what it was lost."""

    async def played() -> TrajectoryGroup:
        async with AttachedEngine(job.url, Settings(), job.base) as attached, HeldEngine(attached) as engine:
            (group,) = await roll_out_groups(
                job.suite, [job.scenario], engine, job.model, job.sampling, attempts=job.attempts, limits=job.limits,
                seed=job.seed, concurrency=job.at_once, tags=job.tags,
            )  # fmt: skip
            return group

    try:
        return asyncio.run(played())
    except JourneymanError as error:
        return f"{type(error).__name__}: {error}"


async def roll_out_on_ray(
    suite: Suite,
    scenarios: Sequence[Scenario],
    engine: HeldEngine,
    model: str,
    sampling: Sampling,
    *,
    attempts: int,
    limits: RolloutLimits,
    seed: int,
    concurrency: int,
    tags: Mapping[str, str],
    progress: RolloutProgress | None = None,
) -> list[TrajectoryGroup]:
    """As `roll_out_groups`, each group in a process of the cluster; one that is lost there has attempts that say so."""
    check_groups(scenarios, attempts, sampling)
    _require_reachable(engine)
    # After a restart the engine holds no adapter, and nobody there could give it one.
    await engine.ready(model)
    counted = progress or RolloutProgress()
    counted.total += attempts * len(scenarios)
    at_once = min(attempts, concurrency)
    places = asyncio.Semaphore(max(1, concurrency // attempts))

    async def one(scenario: Scenario) -> TrajectoryGroup:
        job = _Job(
            suite, scenario, engine.url, engine.base, model, sampling, attempts, at_once, limits, seed, dict(tags)
        )
        async with places:
            group = await _group(job, counted)
        counted.done += attempts
        counted.failed += sum(each.error is not None for each in group.trajectories)
        return group

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(scenario)) for scenario in scenarios]
    return [task.result() for task in tasks]


async def _group(job: _Job, progress: RolloutProgress) -> TrajectoryGroup:
    import ray

    limits = job.limits
    rounds = -(-job.attempts // job.at_once)
    seconds = rounds * limits.seconds_per_episode + 2 * limits.seconds_per_step + _SCHEDULING_SECONDS
    remote = ray.remote(num_cpus=1, max_retries=_PLAYED_AGAIN)(_play).remote(job)
    try:
        with progress.waiting("a group on Ray"):
            found = await bounded(asyncio.wrap_future(remote.future()), seconds, lambda: DeadlineExceeded(
                f"the group at {job.scenario.id} was not played within {seconds:g} s on Ray; see `ray status`: perhaps "
                "no node has a free CPU"
            ))  # fmt: skip
    except DeadlineExceeded as late:
        ray.cancel(remote, force=True)
        found = f"DeadlineExceeded: {late}"
    except ray.exceptions.RayError as lost:
        cause = getattr(lost, "cause", None) or lost
        found = f"{type(cause).__name__}: {' '.join(str(cause).split())[:500]}"
    if isinstance(found, TrajectoryGroup):
        return found
    lost_attempts = tuple(
        Trajectory(
            scenario_id=job.scenario.id, model=job.model, session=session_name(job.scenario), messages=(), error=found
        )
        for _ in range(job.attempts)
    )
    return TrajectoryGroup(scenario=job.scenario, trajectories=lost_attempts)


def _require_reachable(engine: HeldEngine) -> None:
    """InvalidInput when the engine listens on this machine alone, and the cluster has others."""
    import ray

    addresses = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    if engine.ends_with_us and len(addresses) > 1:
        raise InvalidInput(
            f"the run's own engine listens on this machine only, and the Ray cluster has {len(addresses)}; start one "
            "that all of them reach, and name it: --engine URL. Nothing was sampled"
        )


class _Judge:
    """A reward in a process of its own on the cluster."""

    def __init__(self, make: Callable[[], Reward]) -> None:
        self._reward = make()

    async def by_part(self, group: TrajectoryGroup) -> tuple[str | None, Any]:
        """The scores by part; or the name of an error and what it says, for errors do not travel well."""
        try:
            return None, await score_by_part(self._reward, group)
        except JourneymanError as error:
            return type(error).__name__, str(error)


class RewardOnRay:
    """A reward that is asked in one process of the cluster, so that a cost ceiling and a book of verdicts stay one."""

    def __init__(self, make: Callable[[], Reward]) -> None:
        import ray

        self.name = make().name
        self._judge = ray.remote(num_cpus=0, max_restarts=_PLAYED_AGAIN)(_Judge).remote(make)

    async def __call__(self, group: TrajectoryGroup) -> Scores:
        """The scores of the whole."""
        return (await self.by_part(group))[self.name]

    async def by_part(self, group: TrajectoryGroup) -> Mapping[str, Scores]:
        """As the reward says; UpstreamFailed when its process died, which loses the group by that name."""
        import ray

        try:
            name, found = await asyncio.wrap_future(self._judge.by_part.remote(group).future())
        except ray.exceptions.RayActorError as error:
            raise UpstreamFailed(
                f"the process of the reward {self.name} on Ray died ({type(error).__name__}); its group is lost, "
                "and it is started again"
            ) from error
        if name is not None:
            raise _ERRORS.get(name, InvalidInput)(found)
        return found  # type: ignore[no-any-return]
