"""Losses: pure functions of tensors, one value for each token or pair; `reductions` says how they are summed.

Logarithms are natural. ℓ is the policy's log-probability of a sampled token, ℓ_old the trainer's at the start of the
update, ℓ_μ the sampler's; ρ = exp(ℓ − ℓ_old) and w = exp(ℓ_old − ℓ_μ). Gradients flow through ℓ alone. All losses are
minimised. The same names mean different mathematics in different libraries:
`reinforcement.policy_loss.equation` prints ours.
"""

from typing import Literal

import torch
from torch.nn.functional import logsigmoid

Divergence = Literal["k1", "k2", "k3", "k3_weighted"]
_MOST_LOG_RATIO = 20.0


def ratios(logprobs: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
    """exp(ℓ − ℓ_old), the exponent kept within ±20."""
    return (logprobs - old).clamp(-_MOST_LOG_RATIO, _MOST_LOG_RATIO).exp()


def sequence_ratios(logprobs: torch.Tensor, old: torch.Tensor, sequences: torch.Tensor, count: int) -> torch.Tensor:
    """Each sequence's exp(mean of ℓ − ℓ_old), [count]; `sequences` [tokens] names the sequence of each token."""
    gap = logprobs - old
    sums = gap.new_zeros(count).index_add(0, sequences, gap)
    tokens = gap.new_zeros(count).index_add(0, sequences, torch.ones_like(gap))
    return (sums / tokens.clamp(min=1)).clamp(-_MOST_LOG_RATIO, _MOST_LOG_RATIO).exp()


def reinforce(logprobs: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
    """−A·ℓ for each token."""
    return -advantages * logprobs


def clipped(
    ratio: torch.Tensor,
    advantages: torch.Tensor,
    low: float = 0.2,
    high: float = 0.2,
    *,
    dual: float | None = None,
    ceiling: float | None = None,
) -> torch.Tensor:
    """PPO's −min(ρA, clip(ρ, 1 − low, 1 + high)A) (arXiv 1707.06347); DAPO clips higher than it clips low.

    `dual` bounds the loss at −dual·A where A < 0 (1912.09729); `ceiling` bounds ρ in the unclipped branch (2505.07291).
    """
    free = ratio if ceiling is None else ratio.clamp(max=ceiling)
    loss = -torch.minimum(free * advantages, ratio.clamp(1 - low, 1 + high) * advantages)
    if dual is not None:
        loss = torch.where(advantages < 0, torch.minimum(loss, -dual * advantages), loss)
    return loss


def cispo(logprobs: torch.Tensor, ratio: torch.Tensor, advantages: torch.Tensor, cap: float = 5.0) -> torch.Tensor:
    """−min(ρ, cap)·A·ℓ with the weight held constant (arXiv 2506.13585); `cap` is the largest weight itself."""
    return -ratio.detach().clamp(max=cap) * advantages * logprobs


def sapo(ratio: torch.Tensor, advantages: torch.Tensor, positive: float = 1.0, negative: float = 1.05) -> torch.Tensor:
    """−(4/τ)·σ(τ(ρ − 1))·A, τ by the sign of A (arXiv 2511.20347): a soft gate in the place of the clip."""
    temperature = torch.where(advantages > 0, positive, negative).to(ratio.dtype)
    return -(4 / temperature) * torch.sigmoid(temperature * (ratio - 1)) * advantages


def dppo_tv(
    logprobs: torch.Tensor,
    sampler: torch.Tensor,
    advantages: torch.Tensor,
    low: float = 0.2,
    high: float = 0.2,
    pull: float = 1e-3,
) -> torch.Tensor:
    """−A·exp(ℓ − ℓ_μ) where the probability itself has not moved too far, plus pull·(ℓ − ℓ_μ)² (arXiv 2602.04879)."""
    moved = (logprobs.exp() - sampler.exp()).detach()
    far = ((advantages > 0) & (moved > high)) | ((advantages < 0) & (moved < -low))
    loss = -ratios(logprobs, sampler) * advantages
    return torch.where(far, torch.zeros_like(loss), loss) + pull * (logprobs - sampler) ** 2


def divergence(logprobs: torch.Tensor, reference: torch.Tensor, kind: Divergence, old: torch.Tensor) -> torch.Tensor:
    """An estimate of the policy's divergence from a reference, for each token.

    As a loss term k2 has the gradient of KL(policy ‖ reference), k3 that of KL(reference ‖ policy), k3_weighted (k3
    times ρ) of the first again; k1 has none on average and belongs into the reward.
    """
    gap = (reference - logprobs).clamp(-_MOST_LOG_RATIO, _MOST_LOG_RATIO)
    if kind == "k1":
        return -gap
    if kind == "k2":
        return gap**2 / 2
    k3 = gap.exp() - gap - 1
    return k3 if kind == "k3" else ratios(logprobs, old) * k3


def mismatch_weights(
    old: torch.Tensor, sampler: torch.Tensor, *, most: float = 2.0, least: float = 0.0
) -> torch.Tensor:
    """w = exp(ℓ_old − ℓ_μ) for each token, a constant: at most `most`, and 0 where it is below `least`.

    Truncated importance sampling; with `least` above 0 also a mask, as IcePop's.
    """
    weight = ratios(old, sampler).detach()
    return torch.where(weight < least, torch.zeros_like(weight), weight.clamp(max=most))


def clipped_value_loss(
    values: torch.Tensor, old: torch.Tensor, returns: torch.Tensor, clip: float | None = 0.2
) -> torch.Tensor:
    """½·max((V − R)², (clip(V, V_old ± clip) − R)²) for each token; plain ½(V − R)² without `clip`."""
    loss = (values - returns) ** 2
    if clip is not None:
        bounded = torch.minimum(torch.maximum(values, old - clip), old + clip)
        loss = torch.maximum(loss, (bounded - returns) ** 2)
    return loss / 2


def dpo(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    reference_chosen: torch.Tensor,
    reference_rejected: torch.Tensor,
    *,
    beta: float = 0.1,
    smoothing: float = 0.0,
) -> torch.Tensor:
    """Direct preference optimisation (arXiv 2305.18290), for each pair, from the replies' summed log-probabilities.

    `smoothing` is the share of labels taken to be wrong (cDPO).
    """
    margin = beta * ((chosen - rejected) - (reference_chosen - reference_rejected))
    return -(1 - smoothing) * logsigmoid(margin) - smoothing * logsigmoid(-margin)


def kto(
    logprobs: torch.Tensor,
    reference: torch.Tensor,
    desirable: torch.Tensor,
    baseline: torch.Tensor,
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> torch.Tensor:
    """Kahneman–Tversky optimisation (arXiv 2402.01306), for each reply, from summed log-probabilities.

    `desirable` is boolean; `baseline` is the batch's KL estimate, a constant ≥ 0 (`kto_baseline`).
    """
    reward = beta * (logprobs - reference)
    zero = beta * baseline
    good = desirable_weight * (1 - torch.sigmoid(reward - zero))
    bad = undesirable_weight * (1 - torch.sigmoid(zero - reward))
    return torch.where(desirable, good, bad)


def kto_baseline(logprobs: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """KTO's reference point: how far the policy is from the reference on replies that belong to other prompts."""
    return (logprobs - reference).mean().clamp(min=0).detach()


def orpo(chosen: torch.Tensor, rejected: torch.Tensor, *, weight: float = 0.1) -> torch.Tensor:
    """The odds-ratio term of ORPO (arXiv 2403.07691), for each pair, from the replies' *mean* log-probabilities.

    The whole loss adds the chosen reply's negative log-likelihood.
    """
    odds = (chosen - rejected) - (_log1mexp(chosen) - _log1mexp(rejected))
    return -weight * logsigmoid(odds)


def bradley_terry(
    chosen: torch.Tensor, rejected: torch.Tensor, *, margin: torch.Tensor | float = 0.0, centre: float = 0.0
) -> torch.Tensor:
    """−log σ(r⁺ − r⁻ − margin) for each pair of rewards; `centre`·(r⁺ + r⁻)² keeps rewards around zero."""
    return -logsigmoid(chosen - rejected - margin) + centre * (chosen + rejected) ** 2


def reverse_kl(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Σ_k p_k·(log p_k − log q_k) for each token over its candidates [tokens, candidates], p the student's.

    With fewer candidates than the vocabulary has, both are normalised over them first: the top-k form.
    """
    student, teacher = student.log_softmax(dim=-1), teacher.log_softmax(dim=-1)
    return (student.exp() * (student - teacher)).sum(dim=-1)


def _log1mexp(logprob: torch.Tensor) -> torch.Tensor:
    """log(1 − eˣ) for x < 0 without loss of digits."""
    near = logprob > -0.6931471805599453
    return torch.where(near, torch.log(-torch.expm1(logprob)), torch.log1p(-logprob.exp()))
