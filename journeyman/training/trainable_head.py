"""Log-probabilities where the head or the entropy is trained: logits of a few tokens, computed again for backward."""

from collections.abc import Callable

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


def token_logprobs_and_entropies(
    hidden: torch.Tensor, logits_of: Callable[[torch.Tensor], torch.Tensor], targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each target, and the entropy in nats at its place: float32 [tokens], differentiable.

    `logits_of` takes hidden states [tokens, size] to float32 logits [tokens, vocabulary].
    """

    def both(states: torch.Tensor, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logprobs = log_softmax(logits_of(states), dim=-1)
        return logprobs.gather(1, chosen[:, None])[:, 0], -(logprobs.exp() * logprobs).sum(dim=-1)

    parts = [
        checkpoint(both, hidden[first : first + CHUNK], targets[first : first + CHUNK], use_reentrant=False)
        for first in range(0, len(hidden), CHUNK)
    ]
    logprobs, entropies = zip(*parts, strict=True)
    return torch.cat(logprobs), torch.cat(entropies)
