"""Adapters made for measuring: random LoRA on every linear layer of a model, in PEFT's format."""

import json
import os
from pathlib import Path

RANK, ALPHA = 16, 32
_SPREAD = 0.02
"""Standard deviation of the weights: large enough to change what a model says, and too small to make it babble."""


def write_adapter(folder: Path, model: Path, seed: int, precision: str) -> Path:
    """A random adapter of `model`; the same seed gives the same one. What is there already stays."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    if (folder / "adapter_config.json").is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    draw = torch.Generator().manual_seed(seed)
    weights, layers = {}, []
    with safe_open(model / "model.safetensors", "pt") as file:
        for name in sorted(file.keys()):
            shape = file.get_slice(name).get_shape()
            if ".layers." not in name or len(shape) != 2:
                continue
            layer = name.removesuffix(".weight")
            layers.append(layer.rpartition(".")[2])
            for part, size in (("A", (RANK, shape[1])), ("B", (shape[0], RANK))):
                values = torch.randn(size, generator=draw) * _SPREAD
                weights[f"base_model.model.{layer}.lora_{part}.weight"] = values.to(getattr(torch, precision))
    save_file(weights, folder / "adapter_model.safetensors")
    _write_settings(folder, sorted(set(layers)), "random")
    return folder


def write_lookalike(folder: Path, original: Path, number: int) -> Path:
    """An adapter with the weights of another and settings, and so a hash, of its own."""
    if (folder / "adapter_config.json").is_file():
        return folder
    folder.mkdir(parents=True)
    os.link(original / "adapter_model.safetensors", folder / "adapter_model.safetensors")
    settings = json.loads((original / "adapter_config.json").read_text())
    _write_settings(folder, settings["target_modules"], f"lookalike-{number}")
    return folder


def _write_settings(folder: Path, layers: list[str], base: str) -> None:
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": ALPHA,
        "bias": "none",
        "target_modules": layers,
        "base_model_name_or_path": base,
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings))
