"""From hidden states to log-probabilities of single tokens, a few at a time: whole logits would not fit into caches.

A token's log-probability depends on its own hidden state alone, so its gradient is one vector of the hidden size. That
vector is made while the logits are at hand, and backward is a product with a number: no logits are kept, none are
computed twice, and any loss of the tokens' log-probabilities may follow.
"""

from typing import Any

import torch

CHUNK = 128
"""Tokens whose logits exist at the same time."""
NEAR = 32
"""How many of a token's greatest logits are computed in float32 where the model is in bfloat16."""


def token_logprobs(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, *, temperature: float = 1.0
) -> torch.Tensor:
    """Natural log-probability of each target, float32 [tokens], differentiable in `hidden`, not in `weight`.

    `hidden` is [tokens, size] and `weight` [vocabulary, size], in the same precision; `targets` [tokens].
    """
    found: torch.Tensor
    found, _ = _FrozenHead.apply(hidden, weight, targets, temperature, False)  # type: ignore[no-untyped-call]
    return found


def seen_token_statistics(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """`token_logprobs`, and the entropy in nats of each token's distribution [tokens], which is a constant."""
    return _FrozenHead.apply(hidden, weight, targets, 1.0, True)  # type: ignore[no-any-return, no-untyped-call]


class _FrozenHead(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, temperature: float, look: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        wanted = context.needs_input_grad[0]
        logprobs = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        entropies = torch.empty_like(logprobs) if look else logprobs.new_empty(0)
        slopes = torch.empty_like(hidden) if wanted else None
        # One buffer for all chunks: memory this large is given back to the system, and clearing it again is not free.
        room = hidden.new_empty((min(CHUNK, len(hidden)), len(weight)))
        for first in range(0, len(hidden), CHUNK):
            part = slice(first, first + CHUNK)
            logits = torch.mm(hidden[part], weight.T, out=room[: len(hidden[part])]).float()
            if hidden.dtype is not torch.float32:
                _sharpen(logits, hidden[part], weight, targets[part])
            if temperature != 1.0:
                logits /= temperature
            chosen = logits.gather(1, targets[part, None])[:, 0]
            most = logits.amax(dim=1)
            spread = logits.sub_(most[:, None]).exp_()
            total = spread.sum(dim=1)
            logprobs[part] = chosen - most - total.log()
            if look:
                # H = −Σ p·log p with p = spread / total; entr(x) is −x·log x.
                entropies[part] = total.log() + torch.special.entr(spread).sum(dim=1) / total
            if slopes is not None:
                # d log p(target) / d hidden = (row of the target − expected row) / temperature
                expected = torch.mm(spread.to(weight.dtype), weight).div_(total[:, None])
                torch.sub(weight[targets[part]], expected, out=slopes[part])
        if slopes is not None:
            context.save_for_backward(slopes if temperature == 1.0 else slopes / temperature)
        context.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (slopes,) = context.saved_tensors
        return slopes * gradient[:, None].to(slopes.dtype), None, None, None, None


def _sharpen(logits: torch.Tensor, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> None:
    """Put right, in place, the logits [tokens, vocabulary] that decide: the targets' own and the greatest ones.

    Rounded to the eight bits of bfloat16 a logit of 20 is off by up to 0.06, and its log-probability with it. The many
    small ones lose as much, but hardly count in a sum. The engine does alike.
    """
    ids = torch.cat([logits.topk(min(NEAR, logits.shape[1]), dim=1).indices, targets[:, None]], dim=1)
    exact = torch.bmm(weight[ids].float(), hidden.float()[:, :, None])[:, :, 0]
    logits.scatter_(1, ids, exact)
