"""How runs stand: their events and curves in the store, the lock of the process that executes one."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

from journeyman.config import Settings
from journeyman.engines.models import find_model, sha256_of
from journeyman.errors import InvalidInput, NotFound, Refused
from journeyman.records import Condition, Filter, Point, Run, RunEvent, RunStatus
from journeyman.store.store import Store

try:
    import fcntl
except ImportError:  # Windows has no such locks: there nobody checks that a run is executed only once at a time.
    fcntl = None  # type: ignore[assignment]

Standing = RunStatus | Literal["killed"]

_LOCK = "lock"
_MODEL_FILES = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
    "*.safetensors",
)  # fmt: skip


@contextmanager
def executing(settings: Settings, store: Store, run: Run) -> Iterator[None]:
    """Have a run for oneself while inside. How it ends is told by its events.

    Refused when another process executes it, InvalidInput when it is finished or its base model has changed.
    """
    with _lock(run):
        before = last_event(store, run)
        if before is not None:
            _check_can_go_on(settings, run, before)
        put_event(store, run, "running")
        try:
            yield
        except KeyboardInterrupt:
            put_event(store, run, "stopped")
            raise
        except Exception as error:
            put_event(store, run, "failed", f"{type(error).__name__}: {error}")
            raise


def standing(store: Store, run: Run) -> Standing:
    """How a run stands; `killed` when it was never told to stop and yet no process executes it."""
    event = last_event(store, run)
    if event is not None and event.status != "running":
        return event.status
    return "running" if _is_executed(run) else "killed"


def last_event(store: Store, run: Run) -> RunEvent | None:
    """What happened last to a run."""
    return next(iter(store.find(RunEvent, of_run(run), limit=1)), None)


def last_point(store: Store, run: Run) -> Point | None:
    """The newest point of a run's curves."""
    return next(iter(store.find(Point, of_run(run), limit=1)), None)


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


def _check_can_go_on(settings: Settings, run: Run, last: RunEvent) -> None:
    if last.status == "finished":
        raise InvalidInput(f"run {run.id} is finished: {last.detail}. Start a new one to train again")
    base = str(run.config["base"])
    found = model_version(find_model(settings, base))
    if found != run.base_version:
        raise InvalidInput(
            f"the model {base} is not the one that run {run.id} started with (its files hash to {found}, not "
            f"{run.base_version}): going on would mix two models. Put it back, or start a new run"
        )


def model_version(folder: Path) -> str:
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


def put_event(store: Store, run: Run, status: RunStatus, detail: str = "") -> None:
    """Tell what happened to a run."""
    store.put(RunEvent(run_id=run.id, status=status, detail=detail))


def of_run(run: Run) -> Filter:
    """What belongs to a run."""
    return Filter(conditions=(Condition(field="run_id", operator="=", value=run.id),))
