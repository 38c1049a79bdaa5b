"""Supervised fine-tuning: the assistant's messages are what should have been said.

The loss is the mean over every target token of a batch, however its rows are packed. LLM-JEPA's may be added.
"""

from collections.abc import Iterator, Sequence

from journeyman.records import Row
from journeyman.training.batches import pack_rows
from journeyman.training.distributed import World
from journeyman.training.joint_embedding import embedding_parts, views_of
from journeyman.training.objective import Objective, Part
from journeyman.training.policy import Policy
from journeyman.training.samples import Example, whole


class Supervised(Objective):
    """−log p of each target token (cross-entropy)."""

    def examples_of(self, row: Row) -> list[Example]:
        """The conversation in as few pieces as show every reply behind what serving shows before it."""
        pieces: list[Example] = [(sample,) for sample in whole(self.tokenizer, row)]
        views = views_of(self.tokenizer, row) if self.config.jepa_weight else None
        return pieces if views is None else [*pieces[:-1], (*pieces[-1], *views)]

    def parts(self, policy: Policy, batch: Sequence[Example], world: World) -> Iterator[Part]:
        """Conversations are packed together, as many as memory allows."""
        count = sum(example[0].learned for example in batch)
        for pack in pack_rows([example[0] for example in world.share(batch)], self.config.pack_tokens):
            yield Part(-policy.token_logprobs(pack).sum() / count, len(pack.ids))
        if self.config.jepa_weight:
            yield from embedding_parts(policy, self.config, batch, world)
