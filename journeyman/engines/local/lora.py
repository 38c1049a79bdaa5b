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
_REFUSED: dict[str, Any] = {
    "use_dora": True,
    "modules_to_save": None,
    "bias": "none",
    "trainable_token_indices": None,
    "alora_invocation_tokens": None,
}


@dataclass(frozen=True, slots=True)
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
    rank, alpha = config["r"], config["lora_alpha"]
    if config.get("rank_pattern") or config.get("alpha_pattern"):
        raise InvalidInput(f"adapter {name!r} has ranks that differ by layer, which the local engine does not serve")
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
        if expected is None or (up.shape[0], down.shape[1]) != expected:
            raise InvalidInput(
                f"adapter {name!r} does not fit this base model at {layer}: it was trained on another one"
            )
        if not (down.isfinite().all() and up.isfinite().all()):
            raise InvalidInput(f"adapter {name!r}: {layer} holds values that are not finite numbers")
        layers[layer] = (down.float().t().contiguous(), (up.float() * scaling).t().contiguous())
    if tensors or not layers:
        raise InvalidInput(
            f"adapter {name!r} holds weights that are not LoRA matrices: {', '.join(sorted(tensors)[:3])}"
        )
    return LoraWeights(name, folder, layers)


def _config(name: str, folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise ModelFileBroken(f"adapter {name!r}: {CONFIG_FILE} is missing in its folder; train or export it again")
    config: dict[str, Any] = json.loads(path.read_text())
    if config.get("peft_type") != "LORA":
        raise InvalidInput(f"adapter {name!r} is {config.get('peft_type')}, and the local engine serves LoRA only")
    for field, plain in _REFUSED.items():
        asked = config.get(field)
        if (asked and asked != plain) or (field == "use_dora" and asked):
            raise InvalidInput(f"adapter {name!r} uses {field}={asked!r}, which the local engine cannot serve exactly")
    return config


def _tensors(name: str, folder: Path) -> dict[str, torch.Tensor]:
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        found = ", ".join(sorted(file.name for file in folder.iterdir())) if folder.is_dir() else "no such folder"
        raise ModelFileBroken(
            f"adapter {name!r}: {WEIGHTS_FILE} is missing (there is: {found}); pickled weights are not read"
        )
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelFileBroken(
            f"adapter {name!r}: {WEIGHTS_FILE} is truncated or damaged ({error}); train or copy it again"
        ) from error
