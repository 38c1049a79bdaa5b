"""How much a run would train, told from the model's config alone: no weights are loaded."""

from pathlib import Path
from typing import NamedTuple

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from journeyman.errors import InvalidInput
from journeyman.records.run import TrainingConfig
from journeyman.training.layers import layers_to_adapt


class Sizes(NamedTuple):
    """Numbers of parameters."""

    trained: int
    all: int
    layers: int
    """Linear layers that get an adapter; 0 for full fine-tuning."""


def count_parameters(model_folder: Path, config: TrainingConfig) -> Sizes:
    """What would be trained, and what there is. InvalidInput when transformers does not know the architecture."""
    try:
        shape = AutoConfig.from_pretrained(model_folder, local_files_only=True)
        with torch.device("meta"):
            network = AutoModelForCausalLM.from_config(shape)
    except (ValueError, KeyError, OSError) as error:
        raise InvalidInput(f"{model_folder.name}: transformers cannot build this model ({error})") from error
    total = sum(value.numel() for value in network.parameters())
    if config.full:
        return Sizes(total, total, 0)
    names = set(layers_to_adapt(network, config.targets))
    chosen = [module for name, module in network.named_modules() if name in names]
    inside = sum(config.rank * sum(module.weight.shape) for module in chosen)
    return Sizes(inside, total + inside, len(chosen))
