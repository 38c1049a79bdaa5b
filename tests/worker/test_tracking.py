"""A run's curves in W&B, MLflow and trackio, each read back by the package itself. What is not installed is skipped."""

import json
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from journeyman.errors import InvalidInput
from journeyman.records import Point, Run
from journeyman.records.reinforcement import Tracker
from journeyman.worker.tracking import require_tracker, tracking

_BLOCK = 2**15
NAME = "reward, a share: 'x'"
"""Not what every tracker takes for the name of a curve."""
WANDB, MLFLOW, TRACKIO = (
    pytest.param(name, marks=pytest.mark.skipif(find_spec(name) is None, reason=f"needs pip install '.[{name}]'"))
    for name in ("wandb", "mlflow", "trackio")
)
each_tracker = pytest.mark.parametrize("name", [WANDB, MLFLOW, TRACKIO])


def make_run(folder: Path) -> Run:
    (folder / "run").mkdir(exist_ok=True)
    return Run(
        id="01TESTRUN00000000000000001", kind="rl", config={"name": "letters", "steps": 2}, dataset_version="letters",
        machine={}, path=str(folder / "run"),
    )  # fmt: skip


def make_point(run: Run, step: int, value: float) -> Point:
    return Point(id=f"{run.id}-{step:08d}", run_id=run.id, step=step, values={"reward": value, NAME: value})


# Each package keeps its settings and its run in its process: so every life of a run has one of its own, as in earnest.
LIFE = """
import json, sys
from pathlib import Path
from tests.worker.test_tracking import READERS, make_point, make_run
from journeyman.worker.tracking import tracking
name, folder, steps = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
run = make_run(folder)
with tracking(name, run, folder) as log:
    for step in steps:
        log(make_point(run, step, step / 10))
if not steps:
    print(json.dumps(READERS[name](run, folder)))
"""


def live(name: str, folder: Path, *steps: int) -> str:
    root = Path(__file__).parent.parent.parent
    command = [sys.executable, "-W", "ignore", "-c", LIFE, name, str(folder), json.dumps(steps)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@each_tracker
def test_curves_are_there_once_also_of_a_run_that_was_cut(name: Tracker, tmp_path: Path) -> None:
    live(name, tmp_path, 1, 2)
    live(name, tmp_path, 2, 3)
    found = json.loads(live(name, tmp_path).splitlines()[-1])
    assert found == [[1, 0.1], [2, 0.2], [3, 0.3]]


def _wandb(run: Run, folder: Path) -> list[list[float]]:
    from wandb.proto.wandb_internal_pb2 import Record

    found = []
    for file in sorted((folder / "tracking" / "wandb").rglob("*.wandb")):
        assert run.id in file.name
        for data in _leveldb_records(file.read_bytes()):
            record = Record()
            record.ParseFromString(data)
            items = {item.key or item.nested_key[0]: item.value_json for item in record.history.item}
            if "reward" in items:
                found.append([int(items["_step"]), float(items["reward"])])
    return sorted(found)


def _leveldb_records(written: bytes) -> Iterator[bytes]:
    """What a file of an offline run holds: LevelDB's log format behind a header of 7 bytes."""
    at, whole = 7, b""
    while at + 7 <= len(written):
        left = _BLOCK - at % _BLOCK
        if left < 7:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", written, at + 4)
        whole += written[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # all of a record, or its last part
            yield whole
            whole = b""


def _mlflow(run: Run, folder: Path) -> list[list[float]]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=(folder / "tracking" / "mlflow").resolve().as_uri())
    experiment = client.get_experiment_by_name("journeyman")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.status, found.data.params["steps"]) == ("FINISHED", "2")
    assert "reward_ a share: _x_" in found.data.metrics
    return [[each.step, each.value] for each in client.get_metric_history(found.info.run_id, "reward")]


def _trackio(run: Run, folder: Path) -> list[list[float]]:
    from trackio.sqlite_storage import SQLiteStorage

    assert list((folder / "tracking" / "trackio").iterdir())
    return sorted([each["step"], each["reward"]] for each in SQLiteStorage.get_logs("journeyman", run.id))


READERS: dict[str, Callable[[Run, Path], Any]] = {"wandb": _wandb, "mlflow": _mlflow, "trackio": _trackio}


def test_nothing_is_needed_where_nothing_is_asked_for(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with tracking(None, run, tmp_path) as log:
        log(make_point(run, 1, 0.5))
    assert not (tmp_path / "tracking").exists()


def test_a_tracker_that_is_not_installed_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match=r"--track wandb needs .* pip install 'journeyman\[wandb\]'"):
        require_tracker("wandb")


@pytest.mark.skipif(find_spec("mlflow") is None, reason="needs pip install '.[mlflow]'")
@pytest.mark.filterwarnings("ignore")
def test_a_tracker_that_fails_harms_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run(tmp_path)
    with tracking("mlflow", run, tmp_path) as log:
        log(make_point(run, 1, 0.1))
        monkeypatch.setattr("mlflow.tracking.MlflowClient.log_batch", _refuse)
        log(make_point(run, 2, 0.2))
        monkeypatch.undo()
        log(make_point(run, 3, 0.3))
    assert "mlflow takes no more points of run" in caplog.text
    assert (tmp_path / "run" / "tracked").read_text().splitlines() == [f"{run.id}-00000001"]


def _refuse(*args: object, **kwargs: object) -> None:
    raise ConnectionError("no route to the server")
