"""Reward models: an adapter and a scalar head on the hidden state of a conversation's last token.

Learned from pairs (Bradley–Terry) or from the scores of a judge (least squares). Beside the adapter lie the head and a
card with the calibration, both fitted on held-out rows: rewards are centred, so that 0 is an average reply.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file, save_file

from journeyman.errors import InvalidInput, ModelFileBroken
from journeyman.records import Frozen, Message, Row, Tool
from journeyman.records.run import RewardConfig
from journeyman.rendering.chat import ChatTokenizer
from journeyman.training import losses
from journeyman.training.batches import Pack, pack_rows
from journeyman.training.calibration import Isotonic, Platt, fit_isotonic, fit_platt
from journeyman.training.distributed import World
from journeyman.training.objective import Objective, Part, check_finite, pack_one
from journeyman.training.policy import Policy
from journeyman.training.samples import BETTER_AND_WORSE, Example, Sample, last_reply, pair
from journeyman.training.start import shape_of

HEAD = "reward_head.safetensors"
CARD = "reward.json"


class RewardCard(Frozen):
    """How to read a reward model's numbers, and how good they are on rows that it did not learn from.

    `centre` is taken off every reward. `platt` and `isotonic` turn the difference of two rewards into the probability
    that the first reply is the better one (`pairs`), or a reward into the judge's score (`scores`: isotonic alone).
    """

    learn_from: str
    centre: float
    rows: int
    accuracy: float | None = None
    mean_squared_error: float | None = None
    platt: Platt | None = None
    isotonic: Isotonic


class _ScalarHead(Objective):
    """What both ways of learning a reward share: the head, and where it reads."""

    def begin(self, policy: Policy, training: Sequence[Example]) -> None:
        """Attach a head that is zero everywhere but for the mean of the scores."""
        size = policy.network.get_input_embeddings().embedding_dim
        self.weight = policy.attach("reward_head.weight", torch.zeros(size))
        mean = sum(sample.score for each in training for sample in each) / sum(len(each) for each in training)
        self.bias = policy.attach("reward_head.bias", torch.tensor([mean]))

    def rewards(self, policy: Policy, pack: Pack) -> torch.Tensor:
        """The reward of each of the pack's conversations [rows], float32."""
        return rewards_of(policy, pack, self.weight, self.bias)

    def write(self, folder: Path, card: RewardCard) -> None:
        """Head and card beside the adapter."""
        tensors = {"weight": self.weight.detach().cpu(), "bias": self.bias.detach().cpu()}
        save_file(tensors, folder / HEAD)
        (folder / CARD).write_text(card.model_dump_json(indent=2))


class PairwiseReward(_ScalarHead):
    """The mean over pairs of `losses.bradley_terry`."""

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
            chosen, rejected = self.rewards(policy, pack)
            loss = losses.bradley_terry(chosen, rejected, centre=self.config.centre)
            values = {"accuracy": float(chosen > rejected) / len(batch)}
            yield Part(loss / len(batch), len(pack.ids), values)

    def finish(self, policy: Policy, validation: Sequence[Example], folder: Path) -> None:
        """Centre and calibrate on the held-out pairs: each counts in both directions."""
        found = [self.rewards(policy, pack_one(example)).tolist() for example in validation]
        gaps = [chosen - rejected for chosen, rejected in found]
        both, labels = [*gaps, *(-gap for gap in gaps)], [True] * len(gaps) + [False] * len(gaps)
        card = RewardCard(
            learn_from="pairs",
            centre=sum(sum(rewards) for rewards in found) / (2 * len(found)),
            rows=len(found),
            accuracy=sum(gap > 0 for gap in gaps) / len(gaps),
            platt=fit_platt(both, labels, shifted=False),
            isotonic=fit_isotonic(both, [float(label) for label in labels]),
        )
        self.write(folder, card)


class ScoreRegression(_ScalarHead):
    """Half the mean squared difference between the reward and a judge's score: the judge, distilled."""

    unit: ClassVar[str] = "half squared score"

    def example(self, row: Row) -> Example:
        """The whole conversation, as the judge saw it."""
        if row.score is None:
            raise InvalidInput(
                f"conversation {row.conversation} has no `score`, and --learn-from scores learns nothing else: add it "
                "(`dataset build NAME --score FEEDBACK` takes it from what was said of the calls), or leave the row out"
            )
        check_finite([row.score], f"conversation {row.conversation}: the score")
        return (replace(last_reply(self.tokenizer, row), score=row.score),)

    def parts(self, policy: Policy, batch: Sequence[Example], world: World) -> Iterator[Part]:
        """Conversations are packed together, as many as memory allows."""
        for pack, scores in self._packs(world.share(batch)):
            errors = self.rewards(policy, pack) - torch.tensor(scores, device=policy.device)
            yield Part((errors**2).sum() / (2 * len(batch)), len(pack.ids))

    def finish(self, policy: Policy, validation: Sequence[Example], folder: Path) -> None:
        """Fit the judge's scale on the held-out rows."""
        found, scores = list[float](), list[float]()
        for pack, wanted in self._packs(validation):
            found += self.rewards(policy, pack).tolist()
            scores += wanted
        centre = sum(found) / len(found)
        errors = [(reward - score) ** 2 for reward, score in zip(found, scores, strict=True)]
        card = RewardCard(
            learn_from="scores",
            centre=centre,
            rows=len(found),
            mean_squared_error=sum(errors) / len(errors),
            isotonic=fit_isotonic([reward - centre for reward in found], scores),
        )
        self.write(folder, card)

    def _packs(self, examples: Sequence[Example]) -> Iterator[tuple[Pack, list[float]]]:
        samples = [sample for (sample,) in examples]
        done = 0
        for pack in pack_rows(samples, self.config.pack_tokens):
            rows = len(pack.layout.ends)
            yield pack, [sample.score for sample in samples[done : done + rows]]
            done += rows


class RewardModel:
    """A trained reward model, for use: rewards of conversations, and what they mean."""

    def __init__(self, model_folder: Path, adapter_folder: Path) -> None:
        """Load base, adapter, head and card; ModelFileBroken when the folder holds no reward model."""
        try:
            head = load_file(adapter_folder / HEAD)
            self.card = RewardCard.model_validate(json.loads((adapter_folder / CARD).read_text()))
        except (OSError, ValueError) as error:
            raise ModelFileBroken(f"{adapter_folder.name} holds no reward model ({error})") from error
        shape: dict[str, Any] = shape_of(adapter_folder)
        config = RewardConfig(base=model_folder.name, dataset="-", name=adapter_folder.name, **shape)
        self._policy = Policy(model_folder, config, adapter_folder)
        self._tokenizer = ChatTokenizer(model_folder).for_adapter(adapter_folder)
        self._weight, self._bias = (head[name].to(self._policy.device) for name in ("weight", "bias"))

    def reward(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> float:
        """The centred reward of a conversation that ends with an assistant's message."""
        row = Row(messages=tuple(messages), tools=tuple(tools), conversation="-", source="-")
        sample: Sample = last_reply(self._tokenizer, row)
        with self._policy.evaluating():
            found = rewards_of(self._policy, pack_one([sample]), self._weight, self._bias)
        return float(found) - self.card.centre

    def probability(self, better: Sequence[Message], worse: Sequence[Message], tools: Sequence[Tool] = ()) -> float:
        """How probably the first conversation is the better one; InvalidInput for a model of scores."""
        if self.card.platt is None:
            raise InvalidInput("this reward model was fitted to scores; compare its rewards instead")
        return self.card.platt(self.reward(better, tools) - self.reward(worse, tools))


def rewards_of(policy: Policy, pack: Pack, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """weight·h + bias for the last token of each of the pack's rows [rows]; `weight` is [size], float32."""
    last = torch.tensor(pack.layout.ends)
    return policy.hidden(pack, last).float() @ weight + bias
