"""Frozen linear layers with LoRA beside them, forward and backward, for several layers that read the same input."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import linear

Gradients = list[torch.Tensor]


@dataclass(frozen=True, slots=True)
class Product:
    """y = x·Wᵀ + b + scale·(x·Aᵀ)·Bᵀ; `weight` is W [outputs, inputs], `adapter` (A, B) or nothing."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    adapter: tuple[torch.Tensor, torch.Tensor] | None
    scale: float

    @property
    def learned(self) -> tuple[torch.Tensor, ...]:
        """What of it is trained, in the order in which `products_backward` tells gradients."""
        return self.adapter or ()


def products(
    inputs: torch.Tensor, layers: Sequence[Product], added: torch.Tensor | None = None
) -> tuple[list[torch.Tensor], torch.Tensor | None]:
    """Each layer's output [tokens, outputs] (plus `added`, for one layer alone) and what its backward pass needs:
    x·Aᵀ of all layers side by side [tokens, ranks]."""
    downs = [layer.adapter[0] for layer in layers if layer.adapter is not None]
    inner = inputs @ torch.cat(downs).T if downs else None
    outputs, first = [], 0
    for layer in layers:
        if added is None:
            output = linear(inputs, layer.weight, layer.bias)
        else:
            output = torch.addmm(added, inputs, layer.weight.T)
            if layer.bias is not None:
                output += layer.bias
        if layer.adapter is not None and inner is not None:
            up = layer.adapter[1]
            output.addmm_(inner[:, first : first + up.shape[1]], up.T, alpha=layer.scale)
            first += up.shape[1]
        outputs.append(output)
    return outputs, inner


def products_backward(
    gradients: Sequence[torch.Tensor],
    inputs: torch.Tensor,
    inner: torch.Tensor | None,
    layers: Sequence[Product],
    *,
    wanted: bool = True,
) -> tuple[torch.Tensor | None, Gradients]:
    """The inputs' gradient (None unless `wanted`), and those of each layer's A and B in turn."""
    found: Gradients = []
    inners: list[torch.Tensor] = []
    if inner is not None:
        first = 0
        for gradient, layer in zip(gradients, layers, strict=True):
            if layer.adapter is None:
                continue
            up = layer.adapter[1]
            inners.append(torch.mm(gradient, up).mul_(layer.scale))
            found.append(torch.mm(gradient.T, inner[:, first : first + up.shape[1]]).mul_(layer.scale))
            first += up.shape[1]
    slopes: torch.Tensor | None = None
    if inners:
        sides = torch.cat(inners, dim=1)
        downs = torch.split(torch.mm(sides.T, inputs), [each.shape[1] for each in inners])
        found = [part for both in zip(downs, found, strict=True) for part in both]
    if wanted:
        slopes = torch.mm(gradients[0], layers[0].weight)
        for gradient, layer in zip(gradients[1:], layers[1:], strict=True):
            slopes.addmm_(gradient, layer.weight)
        if inners:
            slopes.addmm_(sides, torch.cat([layer.adapter[0] for layer in layers if layer.adapter is not None]))
    return slopes, found
