"""How many threads training computes on: sums are split among them, so that another number rounds differently."""

import torch


def use_threads(count: int | None) -> int:
    """Compute on `count` threads, or on PyTorch's own choice; returns how many these are."""
    if count is not None:
        torch.set_num_threads(count)
    return torch.get_num_threads()
