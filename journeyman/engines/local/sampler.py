"""From logits to one token a row, with the logarithm of its probability as training will compute it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True, slots=True)
class SamplingRule:
    """How one request picks its tokens; temperature 0 is greedy."""

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None


@dataclass(slots=True)
class Sampler:
    """One request's rule with its own random stream: the same seed gives the same reply whatever else is in the batch."""

    rule: SamplingRule
    generator: torch.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.generator = torch.Generator()
        if self.rule.seed is None:
            self.generator.seed()
        else:
            self.generator.manual_seed(self.rule.seed)


def sample(logits: torch.Tensor, samplers: Sequence[Sampler]) -> tuple[list[int], torch.Tensor]:
    """One token id per row of float32 `logits` [rows, vocabulary], and the log-probabilities [rows, vocabulary].

    The log-probabilities are of temperature 1 and of the whole vocabulary, however the token was picked.
    """
    logprobs = torch.log_softmax(logits, dim=-1)
    chosen = logits.argmax(dim=-1)
    for row, sampler in enumerate(samplers):
        if sampler.rule.temperature > 0:
            chosen[row] = _draw(logprobs[row], sampler)
    return chosen.tolist(), logprobs


def _draw(logprobs: torch.Tensor, sampler: Sampler) -> torch.Tensor:
    rule = sampler.rule
    probabilities = torch.softmax(logprobs / rule.temperature, dim=-1)
    uniform = torch.rand(1, generator=sampler.generator)
    if rule.top_p >= 1:
        # Inverting the cumulative distribution is ten times faster than torch.multinomial over a large vocabulary.
        cumulative = probabilities.cumsum(-1)
        return torch.searchsorted(cumulative, uniform * cumulative[-1]).clamp_(max=len(cumulative) - 1)[0]
    ordered, ids = probabilities.sort(descending=True)
    cumulative = ordered.cumsum(-1)
    kept = int(torch.searchsorted(cumulative, torch.tensor(rule.top_p))) + 1
    cumulative = cumulative[:kept]
    return ids[torch.searchsorted(cumulative, uniform * cumulative[-1]).clamp_(max=len(cumulative) - 1)[0]]
