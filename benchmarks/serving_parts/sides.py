"""Starts the process of one engine under test, and waits for it: two of them never compute at the same time."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import journeyman

BENCHMARKS = Path(__file__).parent.parent
_SHOWN_LINES = 30


def run_side(
    module: str,
    job: Mapping[str, Any],
    *,
    python: str = sys.executable,
    options: Mapping[str, str] | None = None,
    seconds: float = 3600,
) -> Any:
    """What `serving_parts.MODULE.side(job)` returns in a fresh process; `options` are more of its environment.

    RuntimeError with the end of its output when it fails or takes longer than `seconds`.
    """
    environment = child_environment() | dict(options or {})
    with subprocess.Popen(
        [python, "-m", "serving_parts.child", module],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            answer, log = process.communicate(json.dumps(job, default=str), timeout=seconds)
        except subprocess.TimeoutExpired as late:
            process.kill()
            raise RuntimeError(f"{module} did not end within {seconds:g} s; it was stopped") from late
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        shown = "\n".join(log.splitlines()[-_SHOWN_LINES:])
        raise RuntimeError(f"{module} ended with status {process.returncode}; the end of its output:\n{shown}")
    return json.loads(answer)


def child_environment() -> dict[str, str]:
    """The environment of an engine under test: ours, without what would set its threads behind its back."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    paths = [*filter(None, [kept.get("PYTHONPATH")]), str(BENCHMARKS)]
    # Safe: the folder in which the benchmark was started is no place to import from.
    return kept | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1", "HF_HUB_OFFLINE": "1"}


def measure_a_copy(target: Path) -> None:
    """From now on engines run from a copy of the source: all of a run measures one state of it, whoever edits it."""
    shutil.copytree(Path(journeyman.__file__).parent, target / "journeyman")
    shutil.copytree(Path(__file__).parent, target / "serving_parts")
    shutil.copy(BENCHMARKS / "record.py", target)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(target), *filter(None, [os.environ.get("PYTHONPATH")])])
