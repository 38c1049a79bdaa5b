"""What a client asked for about the choice of tokens."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SamplingRule:
    """How one request picks its tokens; temperature 0 is greedy. `seed` may be any text.

    Names, ranges and meanings are vLLM's. A field at its default changes nothing.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: str | None = None
    top_k: int = 0
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)

    @property
    def narrows(self) -> bool:
        """Only some of the tokens can be drawn."""
        return self.top_p < 1 or self.top_k > 0 or self.min_p > 0

    @property
    def punishes_the_reply(self) -> bool:
        """What was written already becomes less likely."""
        return self.frequency_penalty != 0 or self.presence_penalty != 0

    @property
    def is_plain(self) -> bool:
        """Temperature is all there is."""
        return not (self.narrows or self.punishes_the_reply or self.repetition_penalty != 1 or self.logit_bias)


@dataclass(frozen=True, slots=True)
class TopToken:
    """A token that could have been chosen, and its log-probability."""

    id: int
    logprob: float


@dataclass(frozen=True, slots=True)
class Sampled:
    """One token for each row, its log-probability, and the likeliest tokens where a row asked for them.

    Log-probabilities are of temperature 1 and of the whole vocabulary, however the token was picked.
    """

    tokens: list[int]
    logprobs: list[float]
    alternatives: list[list[TopToken]]
