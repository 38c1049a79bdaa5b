"""Going on from an adapter: what it is shaped like, and that a config does not say otherwise."""

import json
from pathlib import Path
from typing import Any

from journeyman.errors import InvalidInput, ModelFileBroken
from journeyman.records import Adapter, Run
from journeyman.records.run import PolicyConfig

_CONFIG = "adapter_config.json"
_ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj"}
_FEED_FORWARD = {"gate_proj", "up_proj", "down_proj", "gate_up_proj", "fc1", "fc2"}


def shape_of(folder: Path) -> dict[str, Any]:
    """The config fields that the adapter in `folder` was trained with: rank, alpha, rank_stabilised, targets, dropout.

    ModelFileBroken when its config cannot be read; InvalidInput when it adapts layers that no choice of targets means.
    """
    try:
        found = json.loads((folder / _CONFIG).read_text())
        rank, alpha = int(found["r"]), float(found["lora_alpha"])
        layers = set(found["target_modules"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFileBroken(f"{folder.name}: {_CONFIG} cannot be read ({error}); train the adapter again") from error
    return {
        "rank": rank,
        "alpha": alpha,
        "rank_stabilised": bool(found.get("use_rslora")),
        "targets": _targets(layers),
        "dropout": float(found.get("lora_dropout", 0.0)),
    }


def _targets(layers: set[str]) -> str:
    leaves = {layer.rpartition(".")[2] for layer in layers}
    if leaves <= _ATTENTION:
        return "attention"
    if leaves <= _FEED_FORWARD:
        return "mlp"
    return "all-linear"


def check_start(config: PolicyConfig, start: Path | None) -> None:
    """InvalidInput when the config asks for another shape than the adapter has that it goes on from."""
    if start is None:
        return
    wrong = [
        f"{name.replace('_', '-')} {value}" for name, value in shape_of(start).items() if getattr(config, name) != value
    ]
    if wrong:
        raise InvalidInput(f"the adapter to go on from has {', '.join(wrong)}: leave these options out")


def check_base(adapter: Adapter, run: Run | None, base: str, version: str) -> None:
    """InvalidInput when an adapter was trained on another base, or on one that changed since; `run` is what made it."""
    named = f"adapter {adapter.name}@{adapter.id}"
    if adapter.base != base:
        raise InvalidInput(f"{named} was trained on {adapter.base}, not on {base}: --base {adapter.base}")
    if run is not None and run.base_version != version:
        raise InvalidInput(
            f"{base} changed since {named} was trained on it (its files hash to {version}, not {run.base_version}): "
            "the adapter would not do what it did. Put the model back, or train a new adapter"
        )


def shape_to_keep(adapter: Adapter, config: PolicyConfig) -> dict[str, Any]:
    """The shape that a config takes over from an adapter; InvalidInput when it was given another one."""
    shape = shape_of(Path(adapter.path))
    wrong = [name for name in shape if name in config.model_fields_set and getattr(config, name) != shape[name]]
    if wrong:
        listed = ", ".join(f"--{name.replace('_', '-')} (it has {shape[name]})" for name in wrong)
        raise InvalidInput(f"adapter {adapter.name}@{adapter.id} has a shape of its own; leave out {listed}")
    return shape
