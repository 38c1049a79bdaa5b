"""Linear layers that serve rows under different adapters, with bf16 weights packed once where the CPU gains by it."""

import torch
from torch.nn.functional import linear

from journeyman.engines.local.network.step import Step


class Steps:
    """The forward pass that is running: what every adapted layer of a model looks at."""

    current: Step = Step()


class AdaptedLinear(torch.nn.Module):
    """A frozen linear layer plus, for each span of tokens, the low-rank product of its adapter."""

    def __init__(self, plain: torch.nn.Linear, name: str, steps: Steps) -> None:
        super().__init__()
        self.frozen = FrozenLinear(plain)
        self.name, self.steps = name, steps

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """[1, tokens, inputs] → [1, tokens, outputs]."""
        outputs: torch.Tensor = self.frozen(inputs)
        for first, last, adapter in self.steps.current.spans:
            pair = adapter.layers.get(self.name)
            if pair is not None:
                # In float32 at any precision of the base: for a few rows of small matrices the faster of the two here.
                outputs[0, first:last] += (inputs[0, first:last].float() @ pair[0] @ pair[1]).to(outputs.dtype)
        return outputs


class FrozenLinear(torch.nn.Module):
    """A linear layer whose weights never change again."""

    def __init__(self, plain: torch.nn.Linear) -> None:
        super().__init__()
        self.bias = plain.bias
        self.packed = _pack(plain.weight)
        self.weight = plain.weight if self.packed is None else plain.weight.new_empty(0)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """[..., inputs] → [..., outputs]."""
        if self.packed is None:
            return linear(inputs, self.weight, self.bias)
        return torch.ops.mkldnn._linear_pointwise(inputs, self.packed, self.bias, "none", [], "")  # type: ignore[no-any-return]


def _pack(weight: torch.Tensor) -> torch.Tensor | None:
    # Unpacked, oneDNN lays bf16 weights out anew on every call: half as fast at small batches. The operator is
    # private to PyTorch, so anything unexpected means the public road.
    if weight.dtype is not torch.bfloat16 or weight.device.type != "cpu":
        return None
    try:
        packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
        torch.ops.mkldnn._linear_pointwise(weight.new_ones(2, weight.shape[1]), packed, None, "none", [], "")
    except (RuntimeError, AttributeError):
        return None
    return packed


def adapt_linears(model: torch.nn.Module, steps: Steps) -> dict[str, tuple[int, int]]:
    """Replace every linear layer of `model` in place; returns the shapes (outputs, inputs) that adapters may touch."""
    shapes: dict[str, tuple[int, int]] = {}
    head = model.get_output_embeddings()  # type: ignore[operator]
    for name, module in list(model.named_modules()):
        if not isinstance(module, torch.nn.Linear):
            continue
        parent_name, _, child = name.rpartition(".")
        parent = model.get_submodule(parent_name)
        if module is head:
            setattr(parent, child, FrozenLinear(module))
            continue
        shapes[name] = (module.out_features, module.in_features)
        setattr(parent, child, AdaptedLinear(module, name, steps))
    return shapes
