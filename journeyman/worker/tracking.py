"""Writes a run's curves to Weights & Biases, MLflow or trackio as well, where a run asks for it.

The store has everything; this is a copy for whoever looks at runs there. Numbers and the run's config are all that is
told: no message, no reply.
"""

import importlib.util
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from journeyman.errors import InvalidInput
from journeyman.records import Point, Run
from journeyman.records.reinforcement import Tracker

Log = Callable[[Point], None]
PROJECT = "journeyman"
_TOLD = "tracked"
_UNFIT = re.compile(r"[^A-Za-z0-9_\-. :/]")

log = logging.getLogger(__name__)


class _Opened(NamedTuple):
    """A run as a tracker has it: `write` a step's numbers, and `close` it as ended well or not."""

    write: Callable[[int, Mapping[str, float]], None]
    close: Callable[[bool], None]


def require_tracker(name: Tracker | None) -> None:
    """InvalidInput when the package of the tracker is not there."""
    if name is not None and importlib.util.find_spec(name) is None:
        raise InvalidInput(
            f"--track {name} needs a package that is not installed: pip install 'journeyman[{name}]'. Nothing was "
            "started"
        )


@contextmanager
def tracking(name: Tracker | None, run: Run, home: Path) -> Iterator[Log]:
    """The function that tells a tracker of a point of the run's curves, once however often the run goes on.

    Where the tracker's own settings name no other place, everything is written below `home`/tracking and nothing is
    sent. A tracker that fails is named in the log and left alone from then on: the run itself is not harmed.
    """
    if name is None:
        yield lambda point: None
        return
    require_tracker(name)
    folder = home / "tracking" / name
    folder.mkdir(parents=True, exist_ok=True)
    told = Path(run.path) / _TOLD
    done = set(told.read_text().splitlines()) if told.is_file() else set()
    opened = _OPENERS[name](run, folder)
    failed = False

    def tell(point: Point) -> None:
        nonlocal failed
        if failed or point.id in done:
            return
        try:
            opened.write(point.step, {_UNFIT.sub("_", key)[:250]: value for key, value in point.values.items()})
        except Exception as error:  # whatever a service abroad does, it must not end a run of hours
            failed = True
            log.warning(
                "%s takes no more points of run %s (%s: %s); the run goes on, and its curves are in the store",
                name, run.id, type(error).__name__, error,
            )  # fmt: skip
            return
        done.add(point.id)
        with told.open("a") as file:
            file.write(f"{point.id}\n")

    well = False
    try:
        yield tell
        well = True
    finally:
        opened.close(well)


def _wandb(run: Run, folder: Path) -> _Opened:
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    opened = wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT), id=run.id, name=_title(run), config=run.config,
        dir=os.environ.get("WANDB_DIR", str(folder)), mode=os.environ.get("WANDB_MODE", "offline"), resume="allow",
        settings=wandb.Settings(silent=True, x_disable_stats=True, disable_git=True, save_code=False, console="off"),
    )  # fmt: skip
    return _Opened(
        lambda step, values: opened.log(dict(values), step=step),
        lambda well: opened.finish(exit_code=0 if well else 1),
    )


def _mlflow(run: Run, folder: Path) -> _Opened:
    place = os.environ.get("MLFLOW_TRACKING_URI")
    if place is None:
        # The file store asks to be allowed since MLflow 3.7; nothing else works without a server or a database.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        place = folder.resolve().as_uri()
    from mlflow.entities import Metric, Param
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=place)
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    known = client.get_experiment_by_name(name)
    experiment = client.create_experiment(name) if known is None else known.experiment_id
    tag = f"{PROJECT}.run"
    found = client.search_runs([experiment], f"tags.`{tag}` = '{run.id}'")
    if found:
        id = found[0].info.run_id
    else:
        id = client.create_run(experiment, run_name=_title(run), tags={tag: run.id}).info.run_id
        client.log_batch(id, params=[Param(key, str(value)[:6000]) for key, value in run.config.items()])

    def write(step: int, values: Mapping[str, float]) -> None:
        at = int(1000 * time.time())
        client.log_batch(id, metrics=[Metric(key, value, at, step) for key, value in values.items()])

    return _Opened(write, lambda well: client.set_terminated(id, "FINISHED" if well else "FAILED"))


def _trackio(run: Run, folder: Path) -> _Opened:
    # trackio reads where to write when it is imported.
    os.environ.setdefault("TRACKIO_DIR", str(folder))
    import trackio

    def quietly(work: Callable[[], Any]) -> None:
        with redirect_stdout(sys.stderr):
            work()

    quietly(
        lambda: trackio.init(
            project=PROJECT, name=run.id, config=run.config, resume="allow", embed=False, auto_log_gpu=False,
            auto_log_cpu=False,
        )
    )  # fmt: skip
    return _Opened(lambda step, values: trackio.log(dict(values), step=step), lambda well: quietly(trackio.finish))


_OPENERS: dict[Tracker, Callable[[Run, Path], _Opened]] = {"wandb": _wandb, "mlflow": _mlflow, "trackio": _trackio}


def _title(run: Run) -> str:
    return f"{run.config['name']} {run.id[-8:]}"
