"""Which of a network's linear layers an adapter is attached to."""

import torch
from transformers import PreTrainedModel

from journeyman.errors import InvalidInput
from journeyman.records.run import Targets

_ATTENTION = ("attn", "attention")


def layers_to_adapt(network: PreTrainedModel, targets: Targets, inside: str = "") -> list[str]:
    """Names of the linear layers that `targets` means; the head is none of them.

    `inside` is what a layer's name ends with where an adapter wraps it already, and is taken off. InvalidInput when the
    network has no such layer.
    """
    head = network.get_output_embeddings()
    found = []
    for name, module in network.named_modules():
        if not isinstance(module, torch.nn.Linear) or module is head or "lora_" in name:
            continue
        plain = name.removesuffix(inside)
        in_attention = any(word in part for part in plain.split(".") for word in _ATTENTION)
        if targets == "all-linear" or (targets == "attention") == in_attention:
            found.append(plain)
    if not found:
        raise InvalidInput(f"this model has no linear layers that --targets {targets} means; leave the option out")
    return found
