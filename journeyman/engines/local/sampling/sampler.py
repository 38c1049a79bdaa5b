"""From logits to one token a row, with the logarithm of its probability as training will compute it.

Rows that ask for a temperature and no more are drawn together by `draw_plain`. The others are drawn one by one, in
vLLM's order: grammar, `logit_bias`, repetition, frequency and presence penalty, temperature, `min_p`, `top_k`, `top_p`.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from journeyman.engines.local.sampling.constraints import Constraint
from journeyman.engines.local.sampling.narrowing import narrow
from journeyman.engines.local.sampling.plain import draw_plain, invert
from journeyman.engines.local.sampling.rule import Sampled, SamplingRule, TopToken
from journeyman.errors import JourneymanError

Draw = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


@dataclass(slots=True)
class Sampler:
    """One request's rule with its own random stream: a seed gives the same reply whatever else is in the batch.

    The prompt counts for the repetition penalty; the constraint keeps the reply inside a grammar.
    """

    rule: SamplingRule
    prompt: Sequence[int] = ()
    constraint: Constraint | None = None
    stream: random.Random = field(init=False)
    _written: Counter[int] = field(default_factory=Counter, init=False)
    _in_prompt: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        self.stream = random.Random(self.rule.seed)
        self._in_prompt = frozenset(self.prompt if self.rule.repetition_penalty != 1 else ())

    @property
    def is_plain(self) -> bool:
        """Whether `draw_plain` does everything that was asked for."""
        return self.constraint is None and self.rule.is_plain

    @property
    def failure(self) -> JourneymanError | None:
        """Why the reply is not what was promised, when its grammar gave up."""
        return None if self.constraint is None else self.constraint.failure

    def accept(self, token: int) -> None:
        """Remember the token that was picked: penalties and grammars go by what was said."""
        if not self.rule.is_plain:
            self._written[token] += 1
        if self.constraint is not None:
            self.constraint.accept(token)

    def draw(self) -> float:
        """The next number of the stream, above 0 and up to 1."""
        return 1.0 - self.stream.random()

    def adjust(self, scores: torch.Tensor) -> None:
        """Change one row's logits [vocabulary] in place, by everything that comes before the temperature."""
        if self.constraint is not None:
            self.constraint.mask(scores)
        if self.rule.logit_bias:
            scores[torch.tensor(list(self.rule.logit_bias))] += torch.tensor(list(self.rule.logit_bias.values()))
        if self.rule.repetition_penalty != 1:
            seen = self._seen()
            values = scores[seen]
            penalty = self.rule.repetition_penalty
            scores[seen] = torch.where(values > 0, values / penalty, values * penalty)
        if self.rule.punishes_the_reply and self._written:
            ids = torch.tensor(list(self._written))
            counts = torch.tensor(list(self._written.values()), dtype=scores.dtype)
            scores[ids] -= counts * self.rule.frequency_penalty + self.rule.presence_penalty

    def _seen(self) -> torch.Tensor:
        return torch.tensor(list(self._in_prompt.union(self._written)), dtype=torch.long)


def sample(logits: torch.Tensor, samplers: Sequence[Sampler], tops: Sequence[int], draw: Draw = draw_plain) -> Sampled:
    """One token per row of `logits` [rows, vocabulary], and its `tops[row]` likeliest rivals.

    `draw` draws the rows that need nothing but a temperature.
    """
    if not samplers:
        return Sampled([], [], [])
    uniforms = torch.tensor([sampler.draw() for sampler in samplers])
    temperatures = torch.tensor([sampler.rule.temperature for sampler in samplers])
    ruled = [row for row, sampler in enumerate(samplers) if not sampler.is_plain]
    if len(ruled) < len(samplers):
        # Rows with rules go along and are put right below: that is cheaper than copying the others out.
        tokens, logprobs = draw(logits, temperatures, uniforms)
    else:
        tokens, logprobs = torch.zeros(len(samplers), dtype=torch.long), torch.zeros(len(samplers))
    for row in ruled:
        scores = logits[row].float()
        picked = draw_ruled(scores, samplers[row], uniforms[row])
        tokens[row], logprobs[row] = picked, scores[picked] - scores.logsumexp(-1)
    alternatives = [likeliest(logits[row].float(), count) if count else [] for row, count in enumerate(tops)]
    return Sampled(tokens.tolist(), logprobs.tolist(), alternatives)


def draw_ruled(logits: torch.Tensor, sampler: Sampler, uniform: torch.Tensor) -> int:
    """One row's token [vocabulary logits, which stay as they are] under everything that its rule asks for."""
    scores = logits.clone()
    sampler.adjust(scores)
    greatest, token = scores.max(dim=-1)
    # The tiniest ones are 0 in the numbers of the logits, and nothing may be divided by them.
    if sampler.rule.temperature < torch.finfo(scores.dtype).tiny:
        return int(token)
    probabilities = narrow(scores.sub_(greatest).div_(sampler.rule.temperature), sampler.rule)
    return int(invert(probabilities.cumsum_(-1)[None], uniform[None])[0])


def likeliest(logits: torch.Tensor, count: int) -> list[TopToken]:
    """The `count` likeliest tokens of one row of logits [vocabulary], likeliest first."""
    values, ids = (logits - logits.logsumexp(-1)).topk(min(count, len(logits)))
    return [TopToken(id, value) for id, value in zip(ids.tolist(), values.tolist(), strict=True)]
