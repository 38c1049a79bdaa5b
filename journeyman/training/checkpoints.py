"""A run's state on disk: written whole or not at all, so that a run killed at any moment can go on exactly.

Tensors are safetensors and the rest is JSON: nothing is pickled.
"""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from journeyman.errors import DiskFull, ModelFileBroken

_STEP = "step-"
_REFERENCES = "references.safetensors"


@dataclass(slots=True)
class Progress:
    """Where a run stands. `step` optimiser steps are done; losses are in the method's unit."""

    step: int = 0
    best_loss: float | None = None
    best_step: int = 0
    validations_without_gain: int = 0
    tokens_seen: int = 0
    seconds: float = 0.0
    validations: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything that the next step depends on."""

    progress: Progress
    weights: dict[str, torch.Tensor]
    best_weights: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    random_state: torch.Tensor


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint beside the older one, then remove the older one. DiskFull leaves the older one in place."""
    whole = folder / f"{_STEP}{checkpoint.progress.step:08d}"
    if whole.is_dir():
        return  # Replacing it would leave a moment without any, and a step has only one outcome.
    with writing_folder(whole) as target:
        moments, groups = _split_optimizer(checkpoint.optimizer)
        tensors = {f"weights/{name}": value for name, value in checkpoint.weights.items()}
        tensors |= {f"best/{name}": value for name, value in checkpoint.best_weights.items()}
        tensors |= moments
        tensors["random_state"] = checkpoint.random_state
        save_file({name: value.contiguous() for name, value in tensors.items()}, target / "state.safetensors")
        written = {"progress": asdict(checkpoint.progress), "optimizer": groups}
        (target / "progress.json").write_text(json.dumps(written))
    for old in (*_folders(folder)[:-1], *folder.glob(f".{_STEP}*")):
        shutil.rmtree(old)


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint in `folder`; None when there is none yet."""
    found = _folders(folder)
    if not found:
        return None
    try:
        tensors = load_file(found[-1] / "state.safetensors")
        written = json.loads((found[-1] / "progress.json").read_text())
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelFileBroken(f"checkpoint {found[-1].name} cannot be read ({error}); start the run again") from error
    return Checkpoint(
        Progress(**written["progress"]),
        _named(tensors, "weights/"),
        _named(tensors, "best/"),
        _join_optimizer(_named(tensors, "moments/"), written["optimizer"]),
        tensors["random_state"],
    )


def save_references(folder: Path, sums: Sequence[float]) -> None:
    """Keep the samples' log-probabilities under the policy that the run began with, in float64."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{_REFERENCES}.partial"
    with _telling_of_full_disks(_REFERENCES, partial):
        save_file({"sums": torch.tensor(sums, dtype=torch.float64)}, partial)
        os.replace(partial, folder / _REFERENCES)


def load_references(folder: Path) -> list[float] | None:
    """What `save_references` kept; None when there is nothing."""
    if not (folder / _REFERENCES).is_file():
        return None
    try:
        return list(load_file(folder / _REFERENCES)["sums"].tolist())
    except (OSError, ValueError, SafetensorError, KeyError) as error:
        raise ModelFileBroken(f"{_REFERENCES} cannot be read ({error}); start the run again") from error


@contextmanager
def writing_folder(target: Path) -> Iterator[Path]:
    """A folder that takes its name, and the place of an older one, only when everything in it was written."""
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with _telling_of_full_disks(target.name, partial):
        yield partial
        shutil.rmtree(target, ignore_errors=True)
        os.replace(partial, target)


@contextmanager
def _telling_of_full_disks(name: str, partial: Path) -> Iterator[None]:
    """Whatever goes wrong, the unfinished part is removed."""
    try:
        yield
    except BaseException as error:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)
        # safetensors reports the system's error as text of its own exception.
        if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error):
            raise DiskFull(
                f"no space left while writing {name}; nothing half-written was kept. "
                "Free some space, then go on from the last checkpoint: journeyman train sft --resume last"
            ) from error
        raise


def _folders(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_STEP}*")) if folder.is_dir() else []


def _named(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _split_optimizer(state: dict[str, Any]) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    moments = {
        f"moments/{index}/{name}": value for index, values in state["state"].items() for name, value in values.items()
    }
    return moments, state["param_groups"]


def _join_optimizer(moments: dict[str, torch.Tensor], groups: list[dict[str, Any]]) -> dict[str, Any]:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in moments.items():
        index, name = key.split("/")
        state.setdefault(int(index), {})[name] = value
    return {"state": state, "param_groups": groups}
