"""The next forward pass: whose tokens take part, and whose logits are wanted."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from journeyman.engines.local.network.step import Step
from journeyman.engines.local.request import Request, Update
from journeyman.engines.local.sampling.sampler import Draw, likeliest, sample
from journeyman.errors import JourneymanError

PROMPT_TOKENS_PER_STEP = 256
"""Of all prompts together, so that a long one does not stall everybody's next token."""


@dataclass(slots=True)
class Batch:
    """A step, and what is to be done with its logits.

    `asking` are requests whose next token is sampled, at `places` of the logits; `scoring` requests whose prompt is
    scored, from the position and at the place of the logits given.
    """

    step: Step = field(default_factory=Step)
    parts: list[tuple[Request, int]] = field(default_factory=list)
    wanted: list[int] = field(default_factory=list)
    asking: list[Request] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    scoring: list[tuple[Request, int, int, int]] = field(default_factory=list)
    prompt_tokens: int = 0

    def add(self, request: Request, length: int) -> None:
        """The next `length` tokens of a request."""
        assert request.lease is not None
        start = request.computed
        end = start + length
        last = self.step.add(request.ids[start:end], start, request.lease.pages, request.weights)
        self.parts.append((request, length))
        self.prompt_tokens += max(0, min(end, len(request.prompt)) - start)
        if request.prompt_tops is not None and start < len(request.prompt):
            self.scoring.append((request, start, len(self.wanted), length))
            self.wanted += range(last - length + 1, last + 1)
        elif end == len(request.ids):
            self.wanted.append(last)
        if end == len(request.ids):
            self.asking.append(request)
            self.places.append(len(self.wanted) - 1)

    def score_prompts(self, logits: torch.Tensor) -> None:
        """Give the requests that asked for it the log-probabilities of their prompt's tokens."""
        for request, start, place, length in self.scoring:
            following = request.prompt[start + 1 : start + 1 + length]
            rows = logits[place : place + len(following)].float()
            known = len(request.prompt_logprobs) - start
            for row, token in list(zip(rows, following, strict=True))[max(0, known) :]:
                chosen = float(row[token] - row.logsumexp(-1))
                tops = likeliest(row, request.prompt_tops) if request.prompt_tops else []
                request.prompt_logprobs.append((chosen, tops))

    def pick(self, logits: torch.Tensor, draw: Draw) -> Iterator[tuple[Request, Update | Exception]]:
        """Sample the next token of every request that is due; what each has to say, or why it cannot go on."""
        writing, places = list[Request](), list[int]()
        for request, place in zip(self.asking, self.places, strict=True):
            if not all(math.isfinite(logprob) for logprob, _ in request.prompt_logprobs):
                yield request, _not_finite(request)
            elif request.max_tokens:
                writing.append(request)
                places.append(place)
            else:
                request.finish_reason = "length"
                yield request, Update("", "length")
        if writing:
            yield from _written(writing, logits if len(places) == len(logits) else logits[places], draw)


def _written(
    requests: Sequence[Request], logits: torch.Tensor, draw: Draw
) -> Iterator[tuple[Request, Update | Exception]]:
    samplers, tops = [request.sampler for request in requests], [request.top_logprobs for request in requests]
    try:
        sampled = sample(logits, samplers, tops, draw)
    except Exception as error:
        if len(requests) == 1:
            yield requests[0], JourneymanError(f"its next token cannot be chosen ({error}); check what it asks for")
            return
        # One of them asks for something impossible: the others shall not suffer.
        for row, request in enumerate(requests):
            yield from _written([request], logits[row : row + 1], draw)
        return
    for request, token, logprob, alternatives in zip(
        requests, sampled.tokens, sampled.logprobs, sampled.alternatives, strict=True
    ):
        finite = math.isfinite(logprob)
        yield request, request.accept(token, logprob, alternatives) if finite else _not_finite(request)


def plan(requests: Iterable[Request]) -> Batch:
    """The next pass over running requests: a token of each that is writing, and as much of the prompts as fits."""
    left = PROMPT_TOKENS_PER_STEP
    taking: list[tuple[Request, int]] = []
    for request in requests:
        pending = len(request.ids) - request.computed
        length = pending if pending == 1 else min(pending, left)
        if length:
            left -= length if pending > 1 else 0
            taking.append((request, length))
    batch = Batch()
    for request, length in sorted(taking, key=_order):
        batch.add(request, length)
    return batch


def _order(taking: tuple[Request, int]) -> tuple[int, str]:
    """Single tokens first, then longer parts; within each those of one adapter side by side."""
    request, length = taking
    return length, request.weights.digest if request.weights is not None else ""


def _not_finite(request: Request) -> JourneymanError:
    culprit = "the base model" if request.adapter is None else f"adapter {request.adapter!r}"
    return JourneymanError(f"{culprit} computes numbers that are not finite here: its weights are unusable")
