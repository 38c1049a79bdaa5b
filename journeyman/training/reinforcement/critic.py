"""PPO's critic: one number for each sampled token, how good what comes is expected to be."""

from collections.abc import Sequence

import torch

from journeyman.records.algorithm import Critic
from journeyman.training.advantages import generalised_advantages
from journeyman.training.policy import Policy

PREFIX = "value_head."


class ValueHead:
    """A linear head on the policy's last hidden states, which do not learn from it; it begins as V = 0.

    States are scaled to length 1, so that the head's learning rate means the same for every model.
    """

    def __init__(self, policy: Policy) -> None:
        size = policy.network.get_input_embeddings().embedding_dim
        self._weight = policy.attach(f"{PREFIX}weight", torch.zeros(size))
        self._bias = policy.attach(f"{PREFIX}bias", torch.zeros(1))

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """Values [tokens], float32, of hidden states [tokens, size]."""
        states = torch.nn.functional.normalize(hidden.detach().float(), dim=-1)
        return states @ self._weight + self._bias


def token_advantages(
    critic: Critic,
    rewards: Sequence[float],
    values: Sequence[torch.Tensor],
    costs: Sequence[torch.Tensor] | None,
    is_cut: Sequence[bool],
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Whitened advantages and returns of each attempt's sampled tokens, from the values of these [attempts][tokens].

    `rewards` are the attempts', given for the last token; `costs` are taken off each token's reward (the divergence
    from a reference). An attempt that `is_cut` off, and did not end, is worth behind its end what its last token was.
    """
    found, returns = [], []
    for number, (reward, known) in enumerate(zip(rewards, values, strict=True)):
        paid = torch.zeros_like(known) if costs is None else -costs[number]
        paid[-1] += reward
        each, owed = generalised_advantages(
            paid,
            known,
            torch.ones_like(known, dtype=torch.bool),
            discount=critic.discount,
            smoothing=critic.smoothing,
            after=float(known[-1]) if is_cut[number] else 0.0,
        )
        found.append(each)
        returns.append(owed)
    every = torch.cat(found)
    mean, spread = every.mean(), every.std(correction=0)
    return [(each - mean) / (spread + 1e-8) for each in found], returns
