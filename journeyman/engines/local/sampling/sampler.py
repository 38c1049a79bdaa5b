"""From logits to one token a row, with the logarithm of its probability as training will compute it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from journeyman.engines.local.sampling.rule import Sampled, SamplingRule, TopToken


@dataclass(slots=True)
class Sampler:
    """One request's rule with its own random stream: a seed gives the same reply whatever else is in the batch."""

    rule: SamplingRule
    stream: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.stream = random.Random(self.rule.seed)

    def accept(self, token: int) -> None:
        """Remember the token that was picked: penalties and grammars go by what was said."""

    def draw(self) -> float:
        """The next number of the stream, above 0 and up to 1."""
        return 1.0 - self.stream.random()


def sample(logits: torch.Tensor, samplers: Sequence[Sampler], tops: Sequence[int]) -> Sampled:
    """One token per row of float32 `logits` [rows, vocabulary], and its `tops[row]` likeliest rivals."""
    logprobs = torch.log_softmax(logits, dim=-1)
    tokens = _pick(logits, samplers)
    chosen = logprobs.gather(1, torch.tensor(tokens, dtype=torch.long)[:, None])[:, 0].tolist()
    return Sampled(tokens, chosen, [_likeliest(logprobs[row], count) for row, count in enumerate(tops)])


def _pick(logits: torch.Tensor, samplers: Sequence[Sampler]) -> list[int]:
    likeliest = logits.argmax(dim=-1)
    temperatures = torch.tensor([sampler.rule.temperature for sampler in samplers])
    if not temperatures.any():
        return likeliest.tolist()
    # 0 at their greatest, so that no temperature is too small; greedy rows are drawn like the rest and put right below.
    cooled = (logits - logits.gather(1, likeliest[:, None])).div_(temperatures.where(temperatures > 0, 1)[:, None])
    probabilities = torch.softmax(cooled, dim=-1)
    for row, sampler in enumerate(samplers):
        if sampler.rule.top_p < 1:
            probabilities[row] = _nucleus(probabilities[row], sampler.rule.top_p)
    drawn = _draw(probabilities, torch.tensor([sampler.draw() for sampler in samplers]))
    return likeliest.where(temperatures == 0, drawn).tolist()


def _likeliest(logprobs: torch.Tensor, count: int) -> list[TopToken]:
    if count == 0:
        return []
    values, ids = logprobs.topk(count)
    return [TopToken(id, value) for id, value in zip(ids.tolist(), values.tolist(), strict=True)]


def _draw(probabilities: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """One id per row by inverting the cumulative distribution: far faster than torch.multinomial here."""
    cumulative = probabilities.cumsum(-1)
    found = torch.searchsorted(cumulative, (uniform * cumulative[:, -1])[:, None])[:, 0]
    return found.clamp_(max=probabilities.shape[1] - 1)  # Beyond the end only where the logits are not numbers.


def _nucleus(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    """Zero outside the smallest set of likeliest tokens whose probabilities reach `top_p` together."""
    # Nearly always a thousand tokens are enough, and sorting a whole vocabulary takes longer than computing its logits.
    for count in (1000, len(probabilities)):
        ordered, ids = probabilities.topk(min(count, len(probabilities)))
        reached = ordered.cumsum(-1)
        if reached[-1] >= top_p:
            break
    kept = int(torch.searchsorted(reached, torch.tensor(top_p))) + 1
    return torch.zeros_like(probabilities).index_copy_(0, ids[:kept], ordered[:kept])
