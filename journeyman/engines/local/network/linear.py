"""Frozen linear layers, laid out once for the processor: packed where that is faster, 8 bits wide where asked for."""

from typing import Protocol

import torch
from torch.nn.functional import linear


class Frozen(Protocol):
    """A matrix product with weights that never change again."""

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """[tokens, inputs] → [tokens, outputs]."""
        ...


def freeze(weight: torch.Tensor, bias: torch.Tensor | None = None) -> Frozen:
    """The layer of `weight` [outputs, inputs], by PyTorch."""
    try:
        return PackedLinear(weight, bias)
    except (RuntimeError, AttributeError):
        # The operators are private to PyTorch: whatever is unexpected about them means the public road.
        return PlainLinear(weight, bias)


class PlainLinear:
    """PyTorch's own."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self._weight, self._bias = weight.detach(), bias

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """[tokens, inputs] → [tokens, outputs]."""
        return linear(inputs, self._weight, self._bias)


class PackedLinear:
    """In oneDNN's layout from the start: otherwise every call lays the weights out anew, which takes half of its time.

    RuntimeError or AttributeError where this PyTorch or this processor has no such operator.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        if weight.device.type != "cpu":
            raise RuntimeError("packed on CPUs only")
        self._bias = bias
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
        self(weight.new_ones(2, weight.shape[1]))

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """[tokens, inputs] → [tokens, outputs]."""
        rows = _rounded(len(inputs))
        if rows == len(inputs):
            return self._product(inputs)
        padded = inputs.new_zeros(rows, inputs.shape[1])
        padded[: len(inputs)] = inputs
        return self._product(padded)[: len(inputs)]

    def _product(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(inputs, self._packed, self._bias, "none", [], "")  # type: ignore[no-any-return]


def _rounded(rows: int) -> int:
    """The next larger number of rows for which a product is worth preparing.

    oneDNN keeps half a megabyte for each layer and number of rows that it ever saw: of every number, that is a
    gigabyte. And one row alone is summed in another order than among others: a reply would depend on its company.
    """
    if rows <= 16:
        return max(rows, 2)
    return -(-rows // 4) * 4 if rows <= 32 else -(-rows // 16) * 16


class Int8Linear:
    """Weights rounded to 8 bits with one scale for each output, for serving only; activations stay as they are."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        wide = weight.detach().float()
        scales = wide.abs().amax(dim=1).clamp_(min=1e-12) / 127
        self._weight = (wide / scales[:, None]).round_().to(torch.int8)
        self._scales, self._bias = scales.to(weight.dtype), bias

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """[tokens, inputs] → [tokens, outputs]."""
        outputs = torch._weight_int8pack_mm(inputs, self._weight, self._scales)
        return outputs if self._bias is None else outputs + self._bias
