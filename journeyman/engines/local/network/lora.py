"""LoRA adapters in PEFT's format, read for serving; what we cannot honour exactly is refused, never approximated."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from journeyman.errors import InvalidInput, ModelFileBroken

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
_PREFIX = "base_model.model."
_SERVED: dict[str, tuple[Any, ...]] = {
    # Field by field, what leaves LoRA's formula and the base weights as they are. Where a field allows nothing but
    # absence, what it asks for changes the result: magnitudes, whole layers, biases, other ranks.
    "bias": ("none",),
    "init_lora_weights": (True, "gaussian", "eva", "orthogonal"),
    "use_dora": (),
    "modules_to_save": (),
    "layer_replication": (),
    "rank_pattern": (),
    "alpha_pattern": (),
    "trainable_token_indices": (),
    "alora_invocation_tokens": (),
    "fan_in_fan_out": (),
    "use_qalora": (),
    "use_bdlora": (),
    "arrow_config": (),
    "kasa_config": (),
    "monteclora_config": (),
}


@dataclass(frozen=True, slots=True, eq=False)
class LoraWeights:
    """One adapter: for each adapted linear layer A [inputs, rank] and B [rank, outputs], the scaling folded into B."""

    name: str
    folder: Path
    layers: dict[str, tuple[torch.Tensor, torch.Tensor]]


def read_lora(name: str, folder: Path, shapes: dict[str, tuple[int, int]]) -> LoraWeights:
    """The adapter in `folder` for a model whose linear layers have these `shapes` (name → outputs, inputs).

    InvalidInput when it belongs to another model or needs what the engine does not do.
    """
    config = _config(name, folder)
    rank, alpha = _positive(name, config, "r"), _positive(name, config, "lora_alpha")
    scaling = alpha / rank**0.5 if config.get("use_rslora") else alpha / rank
    tensors = _tensors(name, folder)
    layers: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for key in [key for key in tensors if key.endswith(".lora_A.weight")]:
        layer = key.removeprefix(_PREFIX).removesuffix(".lora_A.weight")
        down, up = tensors.pop(key), tensors.pop(key.replace("lora_A", "lora_B"), None)
        if up is None:
            raise ModelFileBroken(
                f"adapter {name!r}: {layer} has an A matrix and no B matrix; train or export it again"
            )
        expected = shapes.get(layer)
        if expected is None or (up.shape, down.shape) != ((expected[0], rank), (rank, expected[1])):
            raise InvalidInput(
                f"adapter {name!r} does not fit this base model at {layer}: it was trained on another one"
            )
        if not (down.isfinite().all() and up.isfinite().all()):
            raise InvalidInput(f"adapter {name!r}: {layer} holds values that are not finite numbers")
        layers[layer] = (down.float().t().contiguous(), (up.float() * scaling).t().contiguous())
    if tensors:
        raise InvalidInput(
            f"adapter {name!r} holds weights that are not LoRA matrices: {', '.join(sorted(tensors)[:3])}"
        )
    if not layers:
        raise InvalidInput(f"adapter {name!r} holds no LoRA matrices")
    return LoraWeights(name, folder, layers)


def _config(name: str, folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise ModelFileBroken(f"adapter {name!r}: {CONFIG_FILE} is missing in its folder; train or export it again")
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise ModelFileBroken(f"adapter {name!r}: {CONFIG_FILE} is not valid JSON ({error}); copy it again") from error
    kind = config.get("peft_type") if isinstance(config, dict) else type(config).__name__
    if kind != "LORA":
        raise InvalidInput(f"adapter {name!r} is of type {kind}, and the local engine serves LoRA only")
    for field, served in _SERVED.items():
        asked = config.get(field)
        if asked and asked not in served:
            raise InvalidInput(f"adapter {name!r} uses {field}={asked!r}, which the local engine cannot serve exactly")
    return dict(config)


def _positive(name: str, config: dict[str, Any], field: str) -> float:
    value = config.get(field)
    if not isinstance(value, int | float) or value <= 0:
        raise InvalidInput(f"adapter {name!r}: {CONFIG_FILE} says {field}={value!r}; it must be a number above 0")
    return value


def _tensors(name: str, folder: Path) -> dict[str, torch.Tensor]:
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        found = ", ".join(sorted(file.name for file in folder.iterdir())) if folder.is_dir() else "no such folder"
        raise ModelFileBroken(
            f"adapter {name!r}: {WEIGHTS_FILE} is missing (there is: {found}); pickled weights are not read"
        )
    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelFileBroken(
            f"adapter {name!r}: {WEIGHTS_FILE} is truncated or damaged ({error}); train or copy it again"
        ) from error
    return tensors
