"""Log-probabilities where the head itself is trained: logits of a few tokens at a time, computed again for backward."""

import torch
from torch.nn.functional import log_softmax
from torch.utils.checkpoint import checkpoint

from journeyman.training.head import CHUNK


def trainable_token_logprobs(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Natural log-probability of each target, float32 [tokens], differentiable in `hidden` and in `weight`.

    `hidden` is [tokens, size], `weight` [vocabulary, size], `targets` [tokens].
    """
    parts = [
        checkpoint(_chosen, hidden[first : first + CHUNK], weight, targets[first : first + CHUNK], use_reentrant=False)
        for first in range(0, len(hidden), CHUNK)
    ]
    return torch.cat(parts)


def _chosen(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    logprobs = log_softmax((hidden @ weight.T).float(), dim=-1)
    return logprobs.gather(1, targets[:, None])[:, 0]
