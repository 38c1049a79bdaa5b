"""Executes runs of reinforcement learning: an engine beside the trainer, and an adapter in the end."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from journeyman.config import Settings
from journeyman.datasets.formats import write_whole
from journeyman.engines.attached import AttachedEngine
from journeyman.engines.held import HeldEngine
from journeyman.engines.models import find_model
from journeyman.engines.process import EngineProcess
from journeyman.engines.supervisor import SupervisedEngine
from journeyman.environments.admission import standing_of
from journeyman.environments.environment import Suite
from journeyman.environments.groups import roll_out_groups
from journeyman.environments.suites import load_attribute, load_suite
from journeyman.errors import InvalidInput, Refused
from journeyman.records import Adapter, Point, Run, Trajectory
from journeyman.records.reinforcement import RLConfig
from journeyman.registry.adapters import check_name, find_adapter, register_adapter
from journeyman.rewards.reward import Reward
from journeyman.rewards.rules import own_score
from journeyman.store.store import Store
from journeyman.training.reinforcement.on_ray import RewardOnRay, ray_cluster, require_ray, roll_out_on_ray
from journeyman.training.stopping import stopping_in_order
from journeyman.worker.planning import plan
from journeyman.worker.runs import executing, of_run, put_event
from journeyman.worker.tracking import require_tracker, tracking

if TYPE_CHECKING:
    from journeyman.training.reinforcement.preflight import Preflight
    from journeyman.training.reinforcement.step_report import RLStepReport
    from journeyman.training.reinforcement.task import Task
    from journeyman.training.reinforcement.trainer import Keep, ReinforcementTrainer

Log = Callable[["RLStepReport"], None]

_MOST_ROWS = 64
"""Attempts that are sampled at once: more share the reading of the weights, up to where computing takes as long."""


def create_rl_run(settings: Settings, store: Store, config: RLConfig, *, unchecked: bool = False) -> Run:
    """A run that can start, kept in the store."""
    run = plan_rl_run(settings, store, config, unchecked=unchecked)
    store.put(run)
    return run


def plan_rl_run(settings: Settings, store: Store, config: RLConfig, *, unchecked: bool = False) -> Run:
    """A run that could start: suite, reward, model and name are checked before anything loads. It is not kept.

    Refused for a suite that failed its admission, or was built again after it, unless it may be `unchecked`.
    """
    check_name(config.name)
    suite = load_suite(config.suite)
    standing = standing_of(settings.home, suite, config.suite)
    if standing.forbids and not unchecked:
        undo = "put it right and check it again" if standing.state == "refused" else "check it again"
        raise Refused(
            f"{standing.said}. Nothing was started; {undo}, or train in it all the same with --unchecked"
        )  # fmt: skip
    if config.anchor is not None:
        _check_anchor(suite, load_suite(config.anchor))
    load_reward(config.reward)
    if config.watch is not None:
        load_reward(config.watch)
    require_tracker(config.track)
    if config.cluster == "ray":
        require_ray()
    return plan(settings, store, config, "rl", suite.name)


def _check_anchor(suite: Suite, anchor: Suite) -> None:
    names = {suite.name, *(member.name for member in getattr(suite, "members", ()))}
    if anchor.name in names:
        raise InvalidInput(
            f"the anchor is called {anchor.name}, as what is trained in: nobody could tell their attempts apart. Name "
            "the real system's suite, or give one of them another name. Nothing was started"
        )


def rl_config_of(run: Run) -> RLConfig:
    """What a run is asked to do."""
    return RLConfig.model_validate(run.config)


def execute_rl(
    settings: Settings, store: Store, run: Run, log: Log, beat: Callable[[str], None] = lambda line: None
) -> Adapter:
    """Do what a run is asked to do, from its last checkpoint on.

    SIGINT and SIGTERM stop it after the step in progress, with a KeyboardInterrupt; a second one stops it at once.
    """
    tracked = tracking(rl_config_of(run).track, run, settings.home)
    with executing(settings, store, run), stopping_in_order() as check_stop, tracked as track:

        def keep(point: Point) -> None:
            store.put(point)
            track(point)

        def record(report: "RLStepReport") -> None:
            keep(Point(id=f"{run.id}-{report.step:08d}", run_id=run.id, step=report.step, values=report.curves()))
            log(report)
            check_stop()

        check_stop()
        return asyncio.run(_train(settings, store, run, record, keep, beat))


def look_before(settings: Settings, store: Store, run: Run) -> "Preflight":
    """What a first batch of attempts shows of a run that was not started; nothing is kept."""
    return asyncio.run(_look(settings, store, run))


async def _look(settings: Settings, store: Store, run: Run) -> "Preflight":
    with tempfile.TemporaryDirectory() as folder:
        alone = run.model_copy(update={"config": run.config | {"processes": 1}})
        async with _trainer(
            settings, store, alone, Path(folder), lambda trajectories: None, lambda line: None
        ) as trainer:
            try:
                return await trainer.preflight()
            finally:
                trainer.discard()


@asynccontextmanager
async def _trainer(
    settings: Settings, store: Store, run: Run, folder: Path, keep: "Keep", beat: Callable[[str], None]
) -> "AsyncIterator[ReinforcementTrainer]":
    """The trainer of a run, with the engine that samples for it and the other processes that learn with it."""
    from journeyman.training.processes import Task as Shared
    from journeyman.training.processes import helped
    from journeyman.training.reinforcement.trainer import ReinforcementTrainer
    from journeyman.training.threads import use_threads

    use_threads(run.machine["threads"])
    config = rl_config_of(run)
    model = find_model(settings, config.base)
    start = None if config.from_adapter is None else Path(find_adapter(store, config.from_adapter).path)
    shared = Shared.of(run, None, model, {"start": start})
    with ray_cluster() if config.cluster == "ray" else nullcontext(), helped(shared, config.processes) as tell:
        async with _engine(settings, config, model, run.machine["threads"]) as engine:
            task = _task(settings, run, config, engine)
            trainer = ReinforcementTrainer(config, task, model, folder, start=start, keep=keep, beat=beat, tell=tell)
            try:
                yield trainer
            finally:
                # An engine that goes on after us would hold these adapters for good.
                await trainer.release()


def _task(settings: Settings, run: Run, config: RLConfig, engine: HeldEngine) -> "Task":
    """What the run attempts and by what it is rewarded, here or on Ray; the environment's own scores are read here."""
    from journeyman.training.reinforcement.task import Task

    def reward(name: str) -> Reward:
        return RewardOnRay(partial(load_reward, name)) if spread and ":" in name else load_reward(name)

    spread = config.cluster == "ray"
    return Task(
        load_suite(config.suite), reward(config.reward), engine, settings.home / "adapters" / "steps" / run.id,
        None if config.watch is None else reward(config.watch), label=f"{config.name}-{run.id[-8:]}",
        roll_out=roll_out_on_ray if spread else roll_out_groups,
        anchor=None if config.anchor is None else load_suite(config.anchor),
    )  # fmt: skip


async def _train(
    settings: Settings, store: Store, run: Run, log: Log, keep_point: Callable[[Point], None],
    beat: Callable[[str], None],
) -> Adapter:  # fmt: skip
    def keep(trajectories: Sequence[Trajectory]) -> None:
        store.put(*[each.model_copy(update={"id": f"{run.id}-{each.id}"}) for each in trajectories])

    async with _trainer(settings, store, run, Path(run.path), keep, beat) as trainer:
        await _measure(store, run, trainer, "before", keep_point)
        await trainer.train(log)
        last = store.get(Point, f"{run.id}-{trainer.progress.step:08d}")
        if last is None or "held-out reward" not in last.values:
            await _measure(store, run, trainer, "after", keep_point)
    adapter = _register(settings, store, run, trainer)
    _report(store, run, trainer, adapter)
    put_event(store, run, "finished", _summary(store, run, adapter))
    trainer.discard()
    return adapter


def _report(store: Store, run: Run, trainer: "ReinforcementTrainer", adapter: Adapter) -> None:
    from journeyman.training.reinforcement.run_report import RLReport

    points = store.find(Point, of_run(run), limit=trainer.config.steps + 2)
    report = RLReport.of(
        points, run_id=run.id, adapter=f"{adapter.name}@{adapter.id}", base_version=run.base_version,
        config=trainer.config, equation=trainer.equation, machine=run.machine,
    )  # fmt: skip
    write_whole(Path(run.path) / "report.json", report.model_dump_json(indent=2).encode())
    write_whole(Path(run.path) / "report.md", report.to_markdown().encode())


async def _measure(
    store: Store, run: Run, trainer: "ReinforcementTrainer", when: str, keep_point: Callable[[Point], None]
) -> None:
    """How held-out scenarios go, once for all lives of a run."""
    id = f"{run.id}-{when}"
    if store.get(Point, id) is None:
        values = (await trainer.held_out()).curves()
        keep_point(Point(id=id, run_id=run.id, step=trainer.progress.step, values=values))


def load_reward(name: str) -> Reward:
    """The environment's score of that name, or `module:attribute`: a reward of one's own."""
    if ":" not in name:
        return own_score(name)
    reward = load_attribute(name, "reward", name)
    if not callable(reward) or not hasattr(reward, "name"):
        raise InvalidInput(f"{name} is no reward: it needs a `name`, and to be called with a group of attempts")
    return reward  # type: ignore[no-any-return]


@asynccontextmanager
async def _engine(settings: Settings, config: RLConfig, model: Path, threads: int) -> AsyncIterator[HeldEngine]:
    """The engine that samples: of the trainer's precision, or the probabilities would not be the same."""
    from journeyman.engines.local.network.precision import choose_dtype

    if config.engine != "local":
        async with AttachedEngine(config.engine, settings, model.name) as attached, HeldEngine(attached) as held:
            yield held
        return
    precision = str(choose_dtype(config.precision)).removeprefix("torch.")
    process = EngineProcess.local(
        model, model.name, settings.home, threads=threads, precision=precision,
        arguments=("--rows", str(min(config.scenarios * config.attempts, _MOST_ROWS))),
    )  # fmt: skip
    async with SupervisedEngine(process) as supervised, HeldEngine(supervised) as held:
        yield held


def _register(settings: Settings, store: Store, run: Run, trainer: "ReinforcementTrainer") -> Adapter:
    from journeyman.training.checkpoints import writing_folder

    config, template = trainer.config, trainer.tokenizer.template
    folder = Path(run.path) / "adapter"
    with writing_folder(folder) as partial:
        trainer.policy.save_adapter(partial, template)
    return register_adapter(
        store, folder, home=settings.home, name=config.name, base=find_model(settings, config.base).name,
        rank=config.rank, template=template.version, run_id=run.id, parent=config.from_adapter,
    )  # fmt: skip


def _summary(store: Store, run: Run, adapter: Adapter) -> str:
    found = store.find(Point, of_run(run), limit=rl_config_of(run).steps + 2)
    points = [point for point in found if "held-out reward" in point.values]
    first, last = points[-1].values, points[0].values

    def said(values: dict[str, float]) -> str:
        return f"{values['held-out reward']:.2f} [{values['held-out low']:.2f}, {values['held-out high']:.2f}]"

    return (
        f"{adapter.name}@{adapter.id}: held-out reward {said(first)} before, {said(last)} after {points[0].step} steps"
    )
