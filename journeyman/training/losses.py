"""Losses: pure functions of tensors. Each returns a sum; the caller divides by the whole batch's count."""

import torch
from torch.nn.functional import cross_entropy


def negative_log_likelihood(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Sum over targets of −log p(target), natural logarithm.

    `logits` is [targets, vocabulary] in any precision (computed in float32), `targets` [targets].
    """
    return cross_entropy(logits.float(), targets, reduction="sum")
