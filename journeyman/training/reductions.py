"""How the losses of single tokens become one number: a weight for each token, fixed before anything is computed.

The weights are taken over the whole batch of an optimiser step, all ranks and micro-batches together, so that no way
of splitting it changes the gradient. Tokens that were not sampled are not here at all.
"""

from collections.abc import Sequence

import torch

from journeyman.errors import InvalidInput
from journeyman.records.algorithm import Reduction

EQUATIONS: dict[Reduction, str] = {
    "token": "Σ loss / tokens of the batch",
    "sequence": "mean over sequences of their tokens' mean",
    "sequence_sum": "Σ loss / sequences",
    "constant": "Σ loss / (sequences · {length:g})",
    "prompt": "mean over prompts of their tokens' mean",
    "rollout": "mean over rollouts of their tokens' mean, all rows of a rollout together",
    "sum": "Σ loss",
}


def token_weights(
    lengths: Sequence[int],
    reduction: Reduction = "token",
    *,
    prompts: Sequence[int] | None = None,
    rollouts: Sequence[int] | None = None,
    length: float | None = None,
) -> torch.Tensor:
    """What each token of each sequence counts, as [sequences]: Σ weight·(sum of a sequence's losses) is the loss.

    `lengths` are sampled tokens; `prompts` and `rollouts` name those of each sequence; `length` is Dr. GRPO's
    constant. A sequence without sampled tokens counts nothing; a batch without any is InvalidInput.
    """
    counts = torch.tensor(lengths, dtype=torch.float64)
    real = counts > 0
    if not bool(real.any()):
        raise InvalidInput("no token of the batch was sampled by the policy, so there is nothing to learn from")
    if reduction == "sum":
        weights = torch.ones_like(counts)
    elif reduction == "token":
        weights = torch.ones_like(counts) / counts.sum()
    elif reduction == "sequence":
        weights = 1 / (counts.clamp(min=1) * real.sum())
    elif reduction in ("sequence_sum", "constant"):
        if (reduction == "constant") == (length is None):
            raise InvalidInput("`constant`, and nothing else, needs the constant `length`")
        weights = torch.ones_like(counts) / (real.sum() * (length or 1.0))
    else:
        weights = _by_member(counts, prompts if reduction == "prompt" else rollouts, reduction)
    return torch.where(real, weights, torch.zeros_like(weights))


def _by_member(counts: torch.Tensor, members: Sequence[int] | None, reduction: Reduction) -> torch.Tensor:
    if members is None:
        raise InvalidInput(f"`{reduction}` needs to know the {reduction} of each sequence")
    _, index = torch.unique(torch.tensor(members), return_inverse=True)
    totals = torch.zeros(int(index.max()) + 1, dtype=counts.dtype).index_add(0, index, counts)
    return 1 / (totals[index].clamp(min=1) * (totals > 0).sum())
