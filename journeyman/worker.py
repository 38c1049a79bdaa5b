"""Executes training runs: from a config to a registered adapter, through Ctrl-C, kills and restarts.

What happened to a run is told by its events and its curves, in the store; its folder holds what it needs to go on.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple

from journeyman.config import Settings
from journeyman.datasets.formats import write_whole
from journeyman.datasets.soundness import what_is_wrong
from journeyman.datasets.versions import find_dataset, load_rows
from journeyman.engines.models import find_model, sha256_of
from journeyman.errors import InvalidInput, NotFound, Refused
from journeyman.machine import describe_machine
from journeyman.records import (
    Adapter,
    Condition,
    Dataset,
    Filter,
    Point,
    Row,
    Run,
    RunEvent,
    RunStatus,
    new_id,
)
from journeyman.records.run import CONFIGS, DistillConfig, TrainingConfig
from journeyman.registry.adapters import check_adapter, check_name, find_adapter, register_adapter
from journeyman.store.store import Store
from journeyman.training.report import TrainingReport
from journeyman.training.start import check_base, shape_to_keep
from journeyman.training.stopping import stopping_in_order

try:
    import fcntl
except ImportError:  # Windows has no such locks: there nobody checks that a run is executed only once at a time.
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from journeyman.training.loop import Material, StepReport, Trainer

Log = Callable[["StepReport"], None]
Standing = RunStatus | Literal["killed"]

_LOCK = "lock"
_MODEL_FILES = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
    "*.safetensors",
)  # fmt: skip


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
        _check_model_name(settings, config.name)
    dataset = find_dataset(store, config.dataset)
    _sound_rows(dataset)
    model = find_model(settings, config.base)
    version = _model_version(model)
    # torch takes seconds to import and is not part of every installation: whoever only lists runs never pays for it.
    from journeyman.training.devices import choose_device
    from journeyman.training.threads import use_threads

    choose_device(config.device)
    pinned: dict[str, Any] = {"dataset": f"{dataset.name}@{dataset.version}", "base": _pinned(settings, config.base)}
    if config.from_adapter is not None:
        pinned |= _start(store, config, config.from_adapter, model.name, version)
    if isinstance(config, DistillConfig):
        pinned["teacher"] = _pinned(settings, config.teacher)
    id = new_id()
    return Run(
        id=id,
        kind=next(kind for kind, each in CONFIGS.items() if type(config) is each),
        config=config.model_copy(update=pinned).model_dump(mode="json"),
        dataset_version=dataset.version,
        base_version=version,
        machine=describe_machine() | {"threads": use_threads(settings.threads)},
        path=str(settings.home / "runs" / id),
    )


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
    with _lock(run):
        before = last_event(store, run)
        if before is not None:
            _check_can_go_on(settings, run, before)
        _put_event(store, run, "running")
        try:
            return _train(settings, store, run, log)
        except KeyboardInterrupt:
            _put_event(store, run, "stopped")
            raise
        except Exception as error:
            _put_event(store, run, "failed", f"{type(error).__name__}: {error}")
            raise


def standing(store: Store, run: Run) -> Standing:
    """How a run stands; `killed` when it was never told to stop and yet no process executes it."""
    event = last_event(store, run)
    if event is not None and event.status != "running":
        return event.status
    return "running" if _is_executed(run) else "killed"


def last_event(store: Store, run: Run) -> RunEvent | None:
    """What happened last to a run."""
    return next(iter(store.find(RunEvent, _of(run), limit=1)), None)


def last_point(store: Store, run: Run) -> Point | None:
    """The newest point of a run's curves."""
    return next(iter(store.find(Point, _of(run), limit=1)), None)


def find_run(store: Store, reference: str) -> Run:
    """The run with that id, the only one whose id starts or ends with it, or the `last` one; NotFound lists some."""
    runs = store.find(Run)
    found = [run for run in runs if reference and (run.id.startswith(reference) or run.id.endswith(reference))]
    if reference == "last":
        found = list(runs[:1])
    if len(found) == 1:
        return found[0]
    if not found:
        raise NotFound("run", reference, (run.id for run in runs[:5]), "More: journeyman train list")
    some = ", ".join(run.id for run in found[:5])
    raise InvalidInput(f"{len(found)} runs have an id that starts or ends with {reference!r}; give more of it: {some}")


def find_unfinished(store: Store, run: Run) -> Run | None:
    """The newest other run of the same config on the same data and model that was cut short and can go on."""
    same = (
        other
        for other in store.find(Run)
        if other.id != run.id and (other.config, other.base_version) == (run.config, run.base_version)
    )
    return next((other for other in same if standing(store, other) in ("stopped", "killed")), None)


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
    _put_event(store, run, "finished", report.summary())
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

    _check_model_name(settings, trainer.config.name)
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


def _helped(settings: Settings, store: Store, run: Run) -> AbstractContextManager[None]:
    """The run's other processes, while inside."""
    from journeyman.training.processes import Task, helped

    config = config_of(run)
    if config.processes == 1:
        return nullcontext()
    _, model, folders = _given(settings, store, run)
    rows = find_dataset(store, config.dataset).path
    return helped(Task.of(run, rows, model, folders), config.processes)


def _check_model_name(settings: Settings, name: str) -> None:
    if (settings.models / name).exists():
        raise InvalidInput(f"there is a model called {name} already, in {settings.models}; choose another --name")


def _pinned(settings: Settings, model: str) -> str:
    """A name that means the same tomorrow, and in another folder."""
    folder = find_model(settings, model)
    return model if folder.parent == settings.models.resolve() else str(folder)


def _start(store: Store, config: TrainingConfig, reference: str, base: str, version: str) -> dict[str, Any]:
    """What going on from an adapter fixes."""
    adapter = find_adapter(store, reference)
    check_adapter(adapter)
    check_base(adapter, store.get(Run, adapter.run_id) if adapter.run_id else None, base, version)
    return {"from_adapter": adapter.id, **shape_to_keep(adapter, config)}


def _report(store: Store, run: Run, trainer: "Trainer", made: Adapter | TrainedModel) -> TrainingReport:
    progress = trainer.progress
    points = store.find(Point, _of(run), limit=progress.step)
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


def _check_can_go_on(settings: Settings, run: Run, last: RunEvent) -> None:
    if last.status == "finished":
        raise InvalidInput(f"run {run.id} is finished: {last.detail}. Start a new one to train again")
    base = str(run.config["base"])
    found = _model_version(find_model(settings, base))
    if found != run.base_version:
        raise InvalidInput(
            f"the model {base} is not the one that run {run.id} started with (its files hash to {found}, not "
            f"{run.base_version}): going on would mix two models. Put it back, or start a new run"
        )


def _model_version(folder: Path) -> str:
    """16 hex digits of the SHA-256 over everything that a model computes with."""
    digest = hashlib.sha256()
    for file in sorted({file for pattern in _MODEL_FILES for file in folder.glob(pattern)}):
        digest.update(f"{file.name} {sha256_of(file)}\n".encode())
    return digest.hexdigest()[:16]


@contextmanager
def _lock(run: Run) -> Iterator[None]:
    """Have a run for oneself. The system opens the lock when its process ends, however it ends."""
    folder = Path(run.path)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as file:
        if not _locks(file):
            raise Refused(f"another process executes run {run.id}; it was left alone. Wait for it, or stop it first")
        yield


def _is_executed(run: Run) -> bool:
    try:
        with (Path(run.path) / _LOCK).open("w") as file:
            return not _locks(file)
    except FileNotFoundError:
        return False


def _locks(file: IO[str]) -> bool:
    """Take the lock on an open file, if nobody has it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _put_event(store: Store, run: Run, status: RunStatus, detail: str = "") -> None:
    store.put(RunEvent(run_id=run.id, status=status, detail=detail))


def _of(run: Run) -> Filter:
    return Filter(conditions=(Condition(field="run_id", operator="=", value=run.id),))
