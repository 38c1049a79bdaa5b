"""The policy loss that an `Algorithm` asks for, token by token, and the equation that says what it is."""

from dataclasses import dataclass

import torch

from journeyman.errors import InvalidInput
from journeyman.records.algorithm import Algorithm
from journeyman.training import advantages, losses, reductions

_RATIOS = {"trainer": "ρ = exp(ℓ − ℓ_old)", "engine": "ρ = exp(ℓ − ℓ_old), ℓ_old what the engine reported"}
_EQUATIONS = {
    "reinforce": "−A·ℓ",
    "ppo": "−min(ρ·A, clip(ρ, 1 − {clip_low:g}, 1 + {clip_high:g})·A)",
    "cispo": "−min(ρ, {cap:g})·A·ℓ, the weight held constant",
    "gspo": "−min(s·A, clip(s, 1 − {clip_low:g}, 1 + {clip_high:g})·A), s = exp(mean of ℓ − ℓ_old over the row)",
    "gspo_token": "as gspo with s = constant(s)·exp(ℓ − constant(ℓ))",
    "sapo": "−(4/τ)·σ(τ(ρ − 1))·A, τ = 1 where A > 0, else 1.05",
    "dppo_tv": (
        "−A·exp(ℓ − ℓ_μ), 0 where A > 0 and p − p_μ > {clip_high:g}, or A < 0 and p_μ − p > {clip_low:g}; "
        "+ 0.001·(ℓ − ℓ_μ)²"
    ),
}
_KL = {
    "reward": "A ← A − ({kl_weight:g}·Σ (ℓ_old − ℓ_ref) − its batch mean); with a critic off each token's reward",
    "k2": "+ {kl_weight:g}·½(ℓ_ref − ℓ)², whose gradient is KL(policy ‖ reference)'s",
    "k3": "+ {kl_weight:g}·(exp(ℓ_ref − ℓ) − (ℓ_ref − ℓ) − 1), whose gradient is KL(reference ‖ policy)'s",
    "k3_weighted": "+ {kl_weight:g}·ρ·(exp(ℓ_ref − ℓ) − (ℓ_ref − ℓ) − 1), whose gradient is KL(policy ‖ reference)'s",
}


@dataclass(frozen=True, slots=True)
class TokenTerms:
    """What a loss reads of the sampled tokens of one pass, all [tokens]; gradients flow through `logprobs` and
    `entropies` alone. `sequences` numbers the row of each token, of which there are `count`."""

    logprobs: torch.Tensor
    old: torch.Tensor
    sampler: torch.Tensor
    advantages: torch.Tensor
    entropies: torch.Tensor
    reference: torch.Tensor | None
    sequences: torch.Tensor
    count: int


def token_losses(algorithm: Algorithm, terms: TokenTerms) -> torch.Tensor:
    """The loss of each token [tokens], KL and entropy terms included, before any reduction."""
    loss = _policy_loss(algorithm, terms)
    if algorithm.mismatch_most is not None:
        loss = loss * losses.mismatch_weights(
            terms.old, terms.sampler, most=algorithm.mismatch_most, least=algorithm.mismatch_least
        )
    if algorithm.kl_weight and algorithm.kl_term != "reward":
        if terms.reference is None:
            raise InvalidInput("the divergence needs the reference's log-probabilities")
        loss = loss + algorithm.kl_weight * losses.divergence(
            terms.logprobs, terms.reference, algorithm.kl_term, terms.old
        )
    if algorithm.entropy_weight:
        loss = loss - algorithm.entropy_weight * terms.entropies
    return loss


def is_clipped(algorithm: Algorithm, terms: TokenTerms) -> torch.Tensor:
    """Which tokens the loss keeps from learning further, or weighs less than their ratio, [tokens]."""
    ratio = losses.ratios(terms.logprobs.detach(), terms.old)
    if algorithm.loss in ("ppo", "gspo", "gspo_token"):
        if algorithm.loss != "ppo":
            ratio = losses.sequence_ratios(terms.logprobs.detach(), terms.old, terms.sequences, terms.count)[
                terms.sequences
            ]
        high = (terms.advantages > 0) & (ratio > 1 + algorithm.clip_high)
        return high | ((terms.advantages < 0) & (ratio < 1 - algorithm.clip_low))
    if algorithm.loss == "cispo":
        return ratio > algorithm.cap
    return torch.zeros_like(ratio, dtype=torch.bool)


def equation(algorithm: Algorithm) -> str:
    """What an update computes, with every number in its place: printed and stored with the run."""
    values = algorithm.model_dump()
    if algorithm.critic is None:
        advantage = advantages.EQUATIONS[algorithm.estimator].format(ddof=algorithm.ddof, epsilon=1e-6)
        if algorithm.unit_scale:
            advantage += "; A ← A / mean of |A| over the batch"
    else:
        critic = algorithm.critic
        advantage = (
            f"A = Σ ({critic.discount:g}·{critic.smoothing:g})ᵏ·δ, δ = r + {critic.discount:g}·V' − V over sampled "
            "tokens, the outcome r on the last one; whitened over the batch"
        )
    loss = _EQUATIONS[algorithm.loss].format(**values)
    if algorithm.dual_clip is not None:
        loss += f", at most {algorithm.dual_clip:g}·|A| where A < 0"
    if algorithm.mismatch_most is not None:
        loss = (
            f"w·({loss}), w = min(exp(ℓ_old − ℓ_μ), {algorithm.mismatch_most:g}), 0 below {algorithm.mismatch_least:g}"
        )
    if algorithm.kl_weight and algorithm.kl_term != "reward":
        loss += " " + _KL[algorithm.kl_term].format(**values)
    if algorithm.entropy_weight:
        loss += f" − {algorithm.entropy_weight:g}·H"
    lines = [f"advantage  {advantage}", f"token      {loss}; {_RATIOS[algorithm.old]}"]
    lines.append(
        f"batch      {reductions.EQUATIONS[algorithm.reduction].format(length=algorithm.constant_length or 0)}"
    )
    if algorithm.kl_weight and algorithm.kl_term == "reward":
        lines.append(f"divergence {_KL['reward'].format(**values)}")
    if algorithm.critic is not None:
        clip = algorithm.critic.value_clip
        clipped = "" if clip is None else f", (clip(V, V_old ± {clip:g}) − G)²"
        lines.append(f"critic     ½·max((V − G)²{clipped}), G = A + V_old before whitening")
    return "\n".join(lines)


def _policy_loss(algorithm: Algorithm, terms: TokenTerms) -> torch.Tensor:
    logprobs, old, weights = terms.logprobs, terms.old, terms.advantages
    low, high = algorithm.clip_low, algorithm.clip_high
    if algorithm.loss == "reinforce":
        return losses.reinforce(logprobs, weights)
    if algorithm.loss == "dppo_tv":
        return losses.dppo_tv(logprobs, terms.sampler, weights, low, high)
    if algorithm.loss == "gspo":
        ratio = losses.sequence_ratios(logprobs, old, terms.sequences, terms.count)[terms.sequences]
        return losses.clipped(ratio, weights, low, high)
    if algorithm.loss == "gspo_token":
        constant = losses.sequence_ratios(logprobs, old, terms.sequences, terms.count).detach()[terms.sequences]
        return losses.clipped(constant * (logprobs - logprobs.detach()).exp(), weights, low, high)
    ratio = losses.ratios(logprobs, old)
    if algorithm.loss == "cispo":
        return losses.cispo(logprobs, ratio, weights, algorithm.cap)
    if algorithm.loss == "sapo":
        return losses.sapo(ratio, weights)
    return losses.clipped(ratio, weights, low, high, dual=algorithm.dual_clip)
