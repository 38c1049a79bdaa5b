"""Proof at every step that what was sampled is what is trained: the engine's log-probabilities against the trainer's.

Stale weights, another template, a temperature or truncation that the trainer does not know, another precision: each
lets a run go on without an error and learn nothing, or worse. The difference is measured before anything moves.
"""

from collections.abc import Callable, Mapping, Sequence

import torch

from journeyman.errors import JourneymanError
from journeyman.training.batches import Pack
from journeyman.training.policy import Policy

LIMITS = {torch.float32: 1e-3, torch.bfloat16: 0.1}
"""Largest mean |ℓ − ℓ_μ| in nats; ten times, and three times, what engine and trainer differ by in that precision."""
TEMPERATURES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.2, 1.3, 1.5)


class SamplerDisagrees(JourneymanError):
    """The engine did not sample what the trainer would have: nothing was learned from its attempts."""

    code = "sampler_disagrees"
    status = 500


def limit_of(policy: Policy) -> float:
    """The largest mean difference that precision alone explains."""
    dtype = policy.network.get_input_embeddings().weight.dtype
    return LIMITS.get(dtype, LIMITS[torch.bfloat16])


def explain(
    policy: Policy,
    passes: Sequence[tuple[Pack, torch.Tensor]],
    suspects: Mapping[str, dict[str, torch.Tensor]],
    gap: float,
) -> str:
    """Which cause the difference has, found by trying them: each pass is a pack and the engine's values [targets].

    `suspects` are weights that the engine may have sampled under instead, by what they are called in the sentence.
    """
    limit = limit_of(policy)

    def difference(compute: Callable[[Pack], torch.Tensor]) -> float:
        found = [(compute(pack) - sampler.to(policy.device)).abs() for pack, sampler in passes]
        return float(torch.cat(found).mean())

    tried = {}
    for name, state in suspects.items():
        with policy.as_of(state):
            tried[f"stale weights: the engine sampled under {name}"] = difference(policy.logprobs)
    for temperature in TEMPERATURES:
        tried[f"temperature: the engine sampled at {temperature:g}, and what it reports is not at 1"] = difference(
            lambda pack, temperature=temperature: policy.logprobs_at(pack, temperature)  # type: ignore[misc]
        )
    cause, least = min(tried.items(), key=lambda each: each[1])
    if least <= max(limit, gap / 20):
        return f"{cause} (the difference is {least:.2g} then)"
    spread = torch.cat([(policy.logprobs(pack) - sampler.to(policy.device)).abs() for pack, sampler in passes])
    if float(spread.median()) > gap / 3 and gap < 20 * limit:
        return "precision: all tokens differ about alike; start engine and trainer in the same precision (float32)"
    few = float((spread > limit * 10).float().mean())
    return (
        f"{few:.0%} of the tokens differ clearly and none of the usual causes explains them: see whether the engine "
        "changes logits (top-p, top-k, penalties), renders with another template, or serves another base model"
    )


def disagreement(step: int, gap: float, limit: float, cause: str) -> SamplerDisagrees:
    """The error that stops a run."""
    return SamplerDisagrees(
        f"step {step}: the engine's log-probabilities differ from the trainer's by {gap:.2g} nats on average, and "
        f"{limit:g} is the most that precision explains. {cause}. Nothing was learned from this step; the last "
        "checkpoint is unharmed"
    )
