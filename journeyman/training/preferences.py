"""Learning from preferences: DPO and ORPO from pairs of replies, KTO from single ones that were good or bad."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

import torch

from journeyman.errors import InvalidInput
from journeyman.records import Row
from journeyman.training import losses
from journeyman.training.distributed import World
from journeyman.training.objective import Objective, Part, pack_one, sums_of
from journeyman.training.policy import Policy
from journeyman.training.samples import BETTER_AND_WORSE, Example, Sample, last_reply, pair


class DirectPreference(Objective):
    """DPO: the mean over pairs of `losses.dpo`; the reference is the policy that the run began with."""

    unit: ClassVar[str] = "nats per pair"
    packs: ClassVar[bool] = False
    needs_reference: ClassVar[bool] = True

    def example(self, row: Row) -> Example:
        """The better and the worse reply."""
        return pair(self.tokenizer, row)

    def titles(self, example: Example) -> Sequence[str]:
        """Which is which."""
        return BETTER_AND_WORSE

    def parts(self, policy: Policy, batch: Sequence[Example], world: World) -> Iterator[Part]:
        """A pass for each pair."""
        for example in world.share(batch):
            pack = pack_one(example)
            sums = sums_of(policy.token_logprobs(pack), example)
            references = sums.new_tensor([sample.reference for sample in example])
            loss = losses.dpo(
                *sums, *references, beta=self.config.beta, smoothing=self.config.smoothing
            )  # the better one first, both times
            margin = float(((sums - references) @ sums.new_tensor([1.0, -1.0])).detach())
            values = {"accuracy": (margin > 0) / len(batch), "margin": self.config.beta * margin / len(batch)}
            yield Part(loss / len(batch), len(pack.ids), values)


class OddsRatio(Objective):
    """ORPO: the mean over pairs of the better reply's −log p for each token and of `losses.orpo`."""

    unit: ClassVar[str] = "nats per pair"
    packs: ClassVar[bool] = False

    def example(self, row: Row) -> Example:
        """The better and the worse reply."""
        return pair(self.tokenizer, row)

    def titles(self, example: Example) -> Sequence[str]:
        """Which is which."""
        return BETTER_AND_WORSE

    def parts(self, policy: Policy, batch: Sequence[Example], world: World) -> Iterator[Part]:
        """A pass for each pair."""
        for example in world.share(batch):
            pack = pack_one(example)
            sums = sums_of(policy.token_logprobs(pack), example)
            chosen, rejected = sums / sums.new_tensor([sample.learned for sample in example])
            loss = losses.orpo(chosen, rejected, weight=self.config.odds_weight) - chosen
            values = {"accuracy": float(chosen > rejected) / len(batch)}
            yield Part(loss / len(batch), len(pack.ids), values)


class KahnemanTversky(Objective):
    """KTO: the mean over replies of `losses.kto`.

    An example is a reply and, as a measure of how far the policy has moved, another row's reply to its question.
    """

    unit: ClassVar[str] = "per reply"
    packs: ClassVar[bool] = False
    needs_reference: ClassVar[bool] = True

    def example(self, row: Row) -> Example:
        """The reply alone; its partner is found among the others."""
        if row.label is None:
            raise InvalidInput(
                f"conversation {row.conversation} does not say whether its reply was good, and KTO learns from that: "
                "add `label`, true or false (`dataset build NAME --label FEEDBACK` takes it from what was said)"
            )
        return (replace(last_reply(self.tokenizer, row), good=row.label),)

    def examples(self, rows: Sequence[Row]) -> list[Example]:
        """Replies, each with the next row's reply to its question (the first that fits into max_length)."""
        samples = [sample for (sample,) in super().examples(rows)]
        return [(sample, *self._mismatched(samples, number)) for number, sample in enumerate(samples)]

    def titles(self, example: Example) -> Sequence[str]:
        """Whether the reply was good; its partner is never learned."""
        return ["good" if example[0].good else "bad", "another reply, to see how far the policy has moved"]

    def parts(self, policy: Policy, batch: Sequence[Example], world: World) -> Iterator[Part]:
        """First, without gradient, how far the policy has moved; then a pass for each reply."""
        others = [example[1] for example in world.share(batch) if len(example) > 1]
        moved, tokens = 0.0, 0
        for other in others:
            pack = pack_one([other])
            moved += float(policy.logprobs(pack).sum()) - other.reference
            tokens += len(pack.ids)
        moved, count = world.total(moved, len(others))
        baseline = torch.tensor(max(moved / count, 0.0) if count else 0.0, device=policy.device)
        for sample, *_ in world.share(batch):
            pack = pack_one([sample])
            loss = losses.kto(
                policy.token_logprobs(pack).sum(),
                torch.tensor(sample.reference, device=policy.device),
                torch.tensor(sample.good, device=policy.device),
                baseline,
                beta=self.config.beta,
                desirable_weight=self.config.desirable_weight,
                undesirable_weight=self.config.undesirable_weight,
            )
            yield Part(loss / len(batch), len(pack.ids) + tokens)
            tokens = 0

    def _mismatched(self, samples: Sequence[Sample], number: int) -> Iterator[Sample]:
        asked = samples[number]
        first = asked.mask.index(True)
        for step in range(1, len(samples)):
            other = samples[(number + step) % len(samples)]
            start = other.mask.index(True)
            ids, mask = asked.ids[:first] + other.ids[start:], asked.mask[:first] + other.mask[start:]
            if len(ids) <= self.config.max_length:
                yield Sample(ids, mask)
                return
