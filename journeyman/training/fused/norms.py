"""Root-mean-square norms with frozen weights: computed in float32 whatever their input's precision."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Norm:
    """y = weight · x / √(mean(x²) + epsilon) over the last dimension."""

    weight: torch.Tensor
    epsilon: float

    def scales(self, inputs: torch.Tensor) -> torch.Tensor:
        """1 / √(mean(x²) + epsilon), float32 [..., 1]: all that the backward pass needs beside the inputs."""
        return inputs.float().square().mean(-1, keepdim=True).add_(self.epsilon).rsqrt_()

    def apply(self, inputs: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        """The normed inputs, in their precision."""
        return (inputs * scales).to(inputs.dtype).mul_(self.weight)

    def backward(self, gradient: torch.Tensor, inputs: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        """The inputs' gradient, in their precision; that of the weight is nobody's."""
        slopes = gradient.float() * self.weight
        straight = inputs * scales
        mean = (slopes * straight).mean(-1, keepdim=True)
        return slopes.sub_(straight.mul_(mean)).mul_(scales).to(inputs.dtype)
