"""Executes runs that learn from captured traffic."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from journeyman.config import Settings
from journeyman.datasets.formats import write_whole
from journeyman.engines.models import find_model
from journeyman.records import Adapter, Filter, Point, Run
from journeyman.records.reinforcement import LogsConfig
from journeyman.registry.adapters import check_name, find_adapter, register_adapter
from journeyman.store.store import Store
from journeyman.training.stopping import stopping_in_order
from journeyman.worker.planning import plan
from journeyman.worker.runs import executing, put_event
from journeyman.worker.tracking import require_tracker, tracking

if TYPE_CHECKING:
    from journeyman.training.reinforcement.logged import Logged
    from journeyman.training.reinforcement.step_report import RLStepReport


def create_logs_run(settings: Settings, store: Store, config: LogsConfig) -> Run:
    """A run that can start, kept in the store; InvalidInput, with the reasons, when nothing captured can be used."""
    check_name(config.name)
    require_tracker(config.track)
    take(settings, store, config)
    run = plan(settings, store, config, "logs", config.where or "all")
    store.put(run)
    return run


def take(settings: Settings, store: Store, config: LogsConfig) -> "Logged":
    """What the config learns from: captured conversations of its base model, or of adapters of it."""
    from journeyman.training.reinforcement.logged import logged_attempts

    base = find_model(settings, config.base).name
    adapters = [each for each in store.find(Adapter) if each.base == base]
    served = [base, *(name for each in adapters for name in (each.name, each.id, f"{each.name}@{each.id}"))]
    return logged_attempts(store, Filter.parse(config.where), config.feedback, served)


def attempts_of(settings: Settings, store: Store, run: Run) -> "Logged":
    """What the run learns from, as it stood when it was first asked: traffic and feedback go on, the run does not."""
    from journeyman.training.reinforcement.logged import keep_attempts, kept_attempts

    file = Path(run.path) / "attempts.jsonl"
    if not file.is_file():
        keep_attempts(take(settings, store, logs_config_of(run)), file)
    return kept_attempts(file)


def logs_config_of(run: Run) -> LogsConfig:
    """What a run is asked to do."""
    return LogsConfig.model_validate(run.config)


def execute_logs(settings: Settings, store: Store, run: Run, log: Callable[["RLStepReport"], None]) -> Adapter:
    """Do what a run is asked to do, from its last checkpoint on; SIGINT and SIGTERM stop it after a step."""
    from journeyman.training.checkpoints import writing_folder
    from journeyman.training.processes import Task, helped
    from journeyman.training.reinforcement.logged_trainer import LoggedTrainer
    from journeyman.training.threads import use_threads

    tracked = tracking(logs_config_of(run).track, run, settings.home)
    with executing(settings, store, run), stopping_in_order() as check_stop, tracked as track:
        use_threads(run.machine["threads"])
        config = logs_config_of(run)
        model = find_model(settings, config.base)
        start = None if config.from_adapter is None else Path(find_adapter(store, config.from_adapter).path)

        def record(report: "RLStepReport") -> None:
            point = Point(id=f"{run.id}-{report.step:08d}", run_id=run.id, step=report.step, values=report.curves())
            store.put(point)
            track(point)
            log(report)
            check_stop()

        check_stop()
        attempts = attempts_of(settings, store, run)
        with helped(Task.of(run, None, model, {"start": start}), config.processes) as tell:
            trainer = LoggedTrainer(config, attempts, model, Path(run.path), start=start, tell=tell)
            trainer.train(record)
        folder = Path(run.path) / "adapter"
        with writing_folder(folder) as partial:
            trainer.policy.save_adapter(partial, trainer.tokenizer.template)
        adapter = register_adapter(
            store, folder, home=settings.home, name=config.name, base=model.name, rank=config.rank,
            template=trainer.tokenizer.template.version, run_id=run.id, parent=config.from_adapter,
        )  # fmt: skip
        write_whole(Path(run.path) / "config.json", config.model_dump_json(indent=2).encode())
        (Path(run.path) / "attempts.jsonl").unlink(missing_ok=True)
        put_event(store, run, "finished", f"{adapter.name}@{adapter.id}: {trainer.progress.step} updates")
        trainer.discard()
        return adapter
