"""What a run minimises: how rows become examples, and what a batch of examples costs."""

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch

from journeyman.errors import InvalidInput
from journeyman.records import Row
from journeyman.rendering.chat import ChatTokenizer
from journeyman.training.batches import Pack, pack_rows
from journeyman.training.distributed import World
from journeyman.training.policy import Policy
from journeyman.training.samples import Example, Sample, check_lengths


class Part(NamedTuple):
    """One forward pass's share of the batch's loss, and how many tokens it computed.

    `values` are shares of what else is worth seeing, such as how often the better reply was the likelier one.
    """

    loss: torch.Tensor
    tokens: int
    values: dict[str, float] = {}  # noqa: RUF012


class Objective(ABC):
    """One method of training. The parts' losses add up to the loss of the whole batch, however it is cut."""

    unit: ClassVar[str] = "nats per target token"
    """What a loss is measured in, for people."""
    packs: ClassVar[bool] = True
    """Whether several examples go through one pass, as far as `pack_tokens` allows; else each has its own."""
    needs_reference: ClassVar[bool] = False
    """Whether samples must know their log-probability under the policy that the run began with."""

    def __init__(self, config: Any, tokenizer: ChatTokenizer) -> None:
        self.config = config
        self.tokenizer = tokenizer

    def examples(self, rows: Sequence[Row]) -> list[Example]:
        """Those of all rows; InvalidInput names the row that cannot be learned. Nothing is ever cut."""
        if not rows:
            raise InvalidInput("the dataset has no rows in one of its splits; build it from more than one conversation")
        found = []
        for row in rows:
            examples = self.examples_of(row)
            check_lengths(examples, row, self.config.max_length)
            found += examples
        return found

    def examples_of(self, row: Row) -> list[Example]:
        """What the loss sees of one row; one example, but for conversations that are served in several ways."""
        return [self.example(row)]

    def example(self, row: Row) -> Example:
        """What the loss sees of a row that is one example."""
        raise NotImplementedError

    def titles(self, example: Example) -> Sequence[str]:
        """What each of an example's samples is, for people; empty where all are of one kind."""
        return [""] * len(example)

    @abstractmethod
    def parts(self, policy: Policy, batch: Sequence[Example], world: World) -> Iterator[Part]:
        """This process's share of the batch, pass by pass; what they are divided by is taken of the whole batch."""

    def begin(self, policy: Policy, training: Sequence[Example]) -> None:  # noqa: B027, most have nothing to add
        """Before the first step, and before weights are put back: give the policy what else is trained."""

    def finish(self, policy: Policy, validation: Sequence[Example], folder: Path) -> None:  # noqa: B027
        """After the last step: write what belongs beside the adapter."""


def pack_one(example: Sequence[Sample]) -> Pack:
    """Samples of one example in a pass of their own: the question that they share is computed once."""
    return pack_rows(example, sys.maxsize)[0]


def sums_of(logprobs: torch.Tensor, samples: Sequence[Sample]) -> torch.Tensor:
    """Each sample's summed log-probability [samples], from those of their pack's targets."""
    return torch.stack([part.sum() for part in torch.split(logprobs, [sample.learned for sample in samples])])


def with_references(policy: Policy, examples: Sequence[Example], sums: Sequence[float] | None = None) -> list[Example]:
    """The examples whose samples know their log-probability under the policy as it is now, or under the one that was
    asked before: `sums` in the order of the samples."""
    if sums is None:
        sums = [float(value) for each in examples for value in sums_of(policy.logprobs(pack_one(each)), each)]
    known = iter(sums)
    return [tuple(replace(sample, reference=next(known)) for sample in example) for example in examples]


def references_of(examples: Sequence[Example]) -> list[float]:
    """What `with_references` wrote into the examples."""
    return [sample.reference for example in examples for sample in example]


def check_finite(values: Sequence[float], what: str) -> None:
    """InvalidInput when a number that is learned from is none."""
    for value in values:
        if not math.isfinite(value):
            raise InvalidInput(f"{what} is {value}; nothing was trained on. Correct the dataset")
