"""Executes runs that learn from a dataset: from a config to a registered adapter."""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from journeyman.config import Settings
from journeyman.datasets.formats import write_whole
from journeyman.datasets.soundness import what_is_wrong
from journeyman.datasets.versions import find_dataset, load_rows
from journeyman.engines.models import find_model
from journeyman.errors import InvalidInput
from journeyman.records import Adapter, Dataset, Point, Row, Run
from journeyman.records.run import CONFIGS, DistillConfig, TrainingConfig
from journeyman.registry.adapters import check_adapter, check_name, find_adapter, register_adapter
from journeyman.store.store import Store
from journeyman.training.report import TrainingReport
from journeyman.training.stopping import stopping_in_order
from journeyman.worker.planning import pinned_name, plan
from journeyman.worker.runs import executing, of_run, put_event

if TYPE_CHECKING:
    from journeyman.training.loop import Material, StepReport, Trainer

Log = Callable[["StepReport"], None]


class TrainedModel(NamedTuple):
    """What full fine-tuning makes: a model of its own, in the folder of pulled models."""

    name: str
    base: str
    path: Path


def create_run(settings: Settings, store: Store, config: TrainingConfig) -> Run:
    """A run that can start, kept in the store; nothing is kept when it could not."""
    run = plan_run(settings, store, config)
    store.put(run)
    return run


def plan_run(settings: Settings, store: Store, config: TrainingConfig) -> Run:
    """A run that could start: dataset, model and name are checked, and written down exactly, before any weights load.

    It is not kept: `create_run` does that.
    """
    check_name(config.name)
    if config.full:
        check_model_name(settings, config.name)
    dataset = find_dataset(store, config.dataset)
    _sound_rows(dataset)
    pinned = {"dataset": f"{dataset.name}@{dataset.version}"}
    if isinstance(config, DistillConfig):
        pinned["teacher"] = pinned_name(settings, config.teacher)
    kind = next(kind for kind, each in CONFIGS.items() if type(config) is each)
    return plan(settings, store, config, kind, dataset.version, **pinned)


def prepare(settings: Settings, store: Store, run: Run) -> "Trainer":
    """The trainer of a run, where its last checkpoint left it; InvalidInput for whatever cannot be learned."""
    from journeyman.training.loop import Trainer

    rows, model, folders = _given(settings, store, run)
    return Trainer(config_of(run), rows, model, Path(run.path), **folders)


def preview(settings: Settings, store: Store, run: Run) -> "Material":
    """What a run would learn from, as it would learn it, without any weights."""
    from journeyman.training.loop import load_material

    rows, model, folders = _given(settings, store, run)
    return load_material(config_of(run), rows, model, **folders)


def config_of(run: Run) -> TrainingConfig:
    """What a run is asked to do."""
    return CONFIGS[run.kind].model_validate(run.config)


def execute(settings: Settings, store: Store, run: Run, log: Log) -> Adapter | TrainedModel:
    """Do what a run is asked to do, from its last checkpoint on; cut short or not, it ends with the same weights.

    SIGINT and SIGTERM stop it after the step in progress, with a KeyboardInterrupt; a second one stops it at once.
    Refused when another process executes it, InvalidInput when it is finished or what it learns from has changed.
    """
    with executing(settings, store, run):
        return _train(settings, store, run, log)


def _train(settings: Settings, store: Store, run: Run, log: Log) -> Adapter | TrainedModel:
    from journeyman.training.threads import use_threads

    use_threads(run.machine["threads"])
    with stopping_in_order() as check_stop, _helped(settings, store, run):
        trainer = prepare(settings, store, run)

        def record(report: "StepReport") -> None:
            store.put(_point(run, report))
            log(report)
            check_stop()

        check_stop()
        trainer.train(record)
    made = (_keep_model if trainer.config.full else _register)(settings, store, run, trainer)
    report = _report(store, run, trainer, made)
    write_whole(Path(run.path) / "report.json", report.model_dump_json(indent=2).encode())
    write_whole(Path(run.path) / "report.md", report.to_markdown().encode())
    put_event(store, run, "finished", report.summary())
    trainer.discard_checkpoints()
    return made


def _register(settings: Settings, store: Store, run: Run, trainer: "Trainer") -> Adapter:
    from journeyman.training.checkpoints import writing_folder

    config, template = trainer.config, trainer.tokenizer.template
    folder = Path(run.path) / "adapter"
    with writing_folder(folder) as partial:
        trainer.policy.save_adapter(partial, template)
        trainer.finish(partial)
    adapter = register_adapter(
        store,
        folder,
        home=settings.home,
        name=config.name,
        base=find_model(settings, config.base).name,
        rank=config.rank,
        template=template.version,
        run_id=run.id,
        parent=config.from_adapter,
        pruning=find_dataset(store, config.dataset).pruning,
    )
    # Still there when these very weights were registered before.
    shutil.rmtree(folder, ignore_errors=True)
    return adapter


def _keep_model(settings: Settings, store: Store, run: Run, trainer: "Trainer") -> TrainedModel:
    from journeyman.training.checkpoints import writing_folder

    check_model_name(settings, trainer.config.name)
    folder = settings.models / trainer.config.name
    with writing_folder(folder) as partial:
        trainer.policy.save_model(partial, trainer.tokenizer.template)
    return TrainedModel(trainer.config.name, find_model(settings, trainer.config.base).name, folder)


def _given(settings: Settings, store: Store, run: Run) -> tuple[list[Row], Path, dict[str, Path | None]]:
    """A run's rows, its base's folder, and the folders of what it starts from and of its teacher."""
    config = config_of(run)
    start = find_adapter(store, config.from_adapter) if config.from_adapter is not None else None
    if start is not None:
        check_adapter(start)
    folders = {
        "start": Path(start.path) if start is not None else None,
        "teacher": find_model(settings, config.teacher) if isinstance(config, DistillConfig) else None,
    }
    return _sound_rows(find_dataset(store, config.dataset)), find_model(settings, config.base), folders


def _helped(settings: Settings, store: Store, run: Run) -> AbstractContextManager[object]:
    """The run's other processes, while inside."""
    from journeyman.training.processes import Task, helped

    config = config_of(run)
    if config.processes == 1:
        return nullcontext()
    _, model, folders = _given(settings, store, run)
    rows = find_dataset(store, config.dataset).path
    return helped(Task.of(run, rows, model, folders), config.processes)


def check_model_name(settings: Settings, name: str) -> None:
    """InvalidInput when a model of that name is there already."""
    if (settings.models / name).exists():
        raise InvalidInput(f"there is a model called {name} already, in {settings.models}; choose another --name")


def _report(store: Store, run: Run, trainer: "Trainer", made: Adapter | TrainedModel) -> TrainingReport:
    progress = trainer.progress
    points = store.find(Point, of_run(run), limit=progress.step)
    return TrainingReport(
        run_id=run.id,
        adapter=f"{made.name}@{made.id}" if isinstance(made, Adapter) else made.name,
        base=made.base,
        base_version=run.base_version,
        kind=run.kind,
        unit=trainer.objective.unit,
        config=trainer.config,
        machine=run.machine,
        steps=progress.step,
        planned_steps=trainer.steps,
        best_loss=progress.best_loss,
        best_step=progress.best_step,
        tokens=progress.tokens_seen,
        seconds=progress.seconds,
        curve=tuple({"step": point.step, **point.values} for point in reversed(points)),
    )


def _point(run: Run, report: "StepReport") -> Point:
    values = {
        "loss": report.loss,
        "learning_rate": report.learning_rate,
        "gradient_norm": report.gradient_norm,
        "tokens_per_second": report.tokens_per_second,
    }
    values |= report.values
    if report.validation_loss is not None:
        values["validation_loss"] = report.validation_loss
    # A run that was killed does its last steps again: the id keeps them from being counted twice.
    return Point(id=f"{run.id}-{report.step:08d}", run_id=run.id, step=report.step, values=values)


def _sound_rows(dataset: Dataset) -> list[Row]:
    rows = load_rows(dataset)
    title = f"dataset {dataset.name}@{dataset.version}"
    for row in rows:
        problem = what_is_wrong(row.messages)
        if problem:
            raise InvalidInput(f"{title}: conversation {row.conversation} cannot be learned: {problem}; leave it out")
    held_out = sum(row.split == "validation" for row in rows)
    if not 0 < held_out < len(rows):
        raise InvalidInput(
            f"{title} has {len(rows) - held_out} rows to train on and {held_out} held out; training needs both. "
            "Build it from two conversations or more"
        )
    return rows
