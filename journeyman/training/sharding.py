"""Weights that several processes share out among them: a layer is whole only while it computes.

PyTorch's fully sharded data parallelism (`fully_shard`) keeps one part of every weight, of its gradient and of what the
optimiser knows of it in each process, which is what DeepSpeed calls ZeRO stage 3. Layers are gathered from all of them
each time they compute, so all must compute equally often: one that has less to do computes passes that count nothing.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard

T = TypeVar("T")

_IDLE, _LOOKS, _LEARNS = 0, 1, 2
"""What a process has to do next: nothing, a pass without a gradient, or one with it."""


class _Root(torch.nn.Module):
    """What whole passes run in, so that weights outside of the layers are at hand from its beginning to its end."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, compute: Callable[[], Any]) -> Any:
        """Whatever `compute` returns."""
        return compute()


class Shards:
    """A network whose weights are shared out; the parts of them that this process keeps; and whose turn it is."""

    def __init__(self, network: torch.nn.Module, layers: set[str], device: torch.device) -> None:
        """Share out the weights of `network`, layer by layer: the modules of the classes called `layers`.

        torch.distributed must be set up, and the network be the same in every process.
        """
        self._rank, self._size = distributed.get_rank(), distributed.get_world_size()
        self._idles = False
        mesh = init_device_mesh(device.type, (self._size,))
        self._root = _Root(network)
        blocks = [module for module in network.modules() if type(module).__name__ in layers]
        for module in (*blocks, self._root):
            # Gradients add up, as those of one process do; they are not averaged.
            shared = fully_shard(module, mesh=mesh)
            shared.set_gradient_divide_factor(1.0)
            shared.set_force_sum_reduction_for_comms(enable=True)
        self._like = {name: value for name, value in network.named_parameters() if value.requires_grad}

    def run(self, compute: Callable[[], T]) -> T:
        """One pass, once every process is ready for one; the gradient's part of it follows before the next pass."""
        if not self._idles:
            self._agree(_LEARNS if torch.is_grad_enabled() else _LOOKS)
        found: T = self._root(compute)
        return found

    def settle(self, idle: Callable[[bool], None]) -> None:
        """While others have passes left, compute idle ones with them; `idle` is told whether with a gradient."""
        self._idles = True
        try:
            while (doing := self._agree(_IDLE)) != _IDLE:
                idle(doing == _LEARNS)
        finally:
            self._idles = False

    def published(self) -> None:
        """The parts have changed: the next pass gathers them anew."""
        self._root.reshard()  # type: ignore[operator]

    def gather(self, parts: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Whole tensors, on the processor, from the parts of all processes; only for the first one, others get none.

        All processes must ask for the same names. Works for anything that has a weight's shape, by the weight's name.
        """
        found = {}
        for name, part in parts.items():
            like = self._like[name]
            assert isinstance(like, DTensor)
            whole = DTensor.from_local(
                part, like.device_mesh, like.placements, shape=like.shape, stride=like.stride()
            ).full_tensor()
            if self._rank == 0:
                found[name] = whole.cpu()
        return found

    def part(self, name: str, whole: torch.Tensor) -> torch.Tensor:
        """This process's part of a whole tensor; empty where there are fewer rows than processes."""
        like = self._like[name]
        assert isinstance(like, DTensor)
        assert like.placements == (Shard(0),)
        chunks = torch.chunk(whole, self._size)
        return chunks[self._rank] if self._rank < len(chunks) else whole[:0]

    def _agree(self, doing: int) -> int:
        """The most that any process has to do."""
        told = torch.tensor([doing])
        distributed.all_reduce(told, distributed.ReduceOp.MAX)
        return int(told)


def local(value: torch.Tensor) -> torch.Tensor:
    """The part of a tensor that this process holds; all of it where nothing is shared out."""
    return value.to_local() if isinstance(value, DTensor) else value
