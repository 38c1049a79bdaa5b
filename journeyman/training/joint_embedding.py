"""LLM-JEPA's second loss beside fine-tuning's: the reply's embedding is to follow from the question's.

Source: Huang, LeCun, Balestriero, "LLM-JEPA: Large Language Models Meet Joint Embedding Predictive Architectures"
(arXiv 2509.14252), with its plain predictor: no predictor tokens, so that a view's embedding is its last token's last
hidden state.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch.nn.functional import cosine_similarity

from journeyman.records import Message, Row, SFTConfig
from journeyman.rendering.chat import ChatTokenizer
from journeyman.training.distributed import World
from journeyman.training.objective import Part, pack_one
from journeyman.training.policy import Policy
from journeyman.training.samples import Example, Sample


class Views(NamedTuple):
    """Two ways to say the same: what was asked last, and what was then replied, each by itself."""

    asked: Sample
    replied: Sample


def views_of(tokenizer: ChatTokenizer, row: Row) -> Views | None:
    """The texts of the last question and of the reply to it; None when one of them has none, such as a bare call."""
    asked, replied = _last(row.messages, "user"), _last(row.messages, "assistant")
    if not asked or not replied:
        return None
    return Views(_sample(tokenizer, asked), _sample(tokenizer, replied))


def embedding_parts(policy: Policy, config: SFTConfig, batch: Sequence[Example], world: World) -> Iterator[Part]:
    """jepa_weight · mean over the batch's views of 1 − cos(question's embedding, reply's), pass by pass.

    An example with views is (conversation, question, reply). Gradients flow into both embeddings, as in the source:
    the other loss keeps them from becoming all alike.
    """
    count = sum(len(example) == 3 for example in batch)
    views = [view for example in world.share(batch) if len(example) == 3 for view in example[1:]]
    # Both views of a row go through one pass: a pack may end between them, and the distance needs the two.
    for first in range(0, len(views), 2):
        pack = pack_one(views[first : first + 2])
        last = torch.tensor(pack.layout.ends)
        asked, replied = policy.hidden(pack, last).float()
        distance = 1 - cosine_similarity(asked, replied, dim=0)
        share = distance / count
        yield Part(config.jepa_weight * share, len(pack.ids), {"embedding distance": float(share.detach())})


def _last(messages: Sequence[Message], role: str) -> str:
    return next((message.text.strip() for message in reversed(messages) if message.role == role), "")


def _sample(tokenizer: ChatTokenizer, text: str) -> Sample:
    # Nothing is learned of it token by token; the mark on the last one keeps its own hidden state apart.
    ids = tuple(tokenizer.encode(text))
    return Sample(ids, (False,) * (len(ids) - 1) + (True,))
