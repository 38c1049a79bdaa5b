"""The request body of a plain completion: each field is used, or refused."""

from typing import Literal

from pydantic import Field, model_validator

from journeyman.engines.local.api.body import SamplingBody, read_as
from journeyman.engines.local.api.prompts import Prompts
from journeyman.errors import InvalidInput

MOST_CHOICES = 128
"""Of one prompt, and of one call all prompts together."""


class CompletionBody(SamplingBody):
    """`POST /v1/completions`."""

    prompt: Prompts
    add_special_tokens: bool = True
    """Whether a prompt given as text gets what the tokenizer itself puts around a text, as at vLLM."""
    suffix: Literal[""] = ""
    """Text to fill in before: these models only continue."""
    echo: bool = False
    best_of: int | None = Field(None, ge=1, le=MOST_CHOICES)
    max_tokens: int = Field(16, ge=0)
    logprobs: int | None = Field(None, ge=0, le=5)

    @model_validator(mode="after")
    def _agrees(self) -> "CompletionBody":
        if self.best_of is not None and self.best_of < self.n:
            raise InvalidInput(f"best_of: {self.best_of} candidates cannot yield n={self.n} choices")
        if self.stream and self.candidates > self.n:
            raise InvalidInput("best_of: the best are known only at the end; leave out stream")
        if self.stream_options is not None and not self.stream:
            raise InvalidInput("stream_options: only together with stream=true")
        if self.max_tokens == 0 and not self.echo:
            raise InvalidInput("max_tokens: 0 writes nothing; give echo=true as well to score the prompt")
        if self.max_tokens == 0 and self.candidates > 1:
            raise InvalidInput("max_tokens: with 0 every choice is the prompt; leave out n and best_of")
        return self

    @property
    def candidates(self) -> int:
        """How many replies are written to each prompt."""
        return self.best_of or self.n


def read_completion_body(parsed: object) -> CompletionBody:
    """The body of a plain completion; InvalidInput says what is wrong with it."""
    if isinstance(parsed, dict):
        # Clients send null for "not given".
        parsed = {name: value for name, value in parsed.items() if value is not None}
    return read_as(CompletionBody, parsed)
