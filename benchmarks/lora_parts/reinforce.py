"""Policy gradient in miniature: answer a spelled word with its first letter. One token is sampled and rewarded."""

from pathlib import Path

import torch
from torch.nn.functional import log_softmax

from journeyman.records import Row, SFTConfig
from journeyman.records.message import assistant, user
from journeyman.rendering.chat import ChatTokenizer
from journeyman.training.advantages import advantages
from journeyman.training.batches import Pack, pack_rows
from journeyman.training.losses import reinforce
from journeyman.training.policy import Policy
from journeyman.training.samples import Sample, question
from lora_parts.material import words
from lora_parts.runs import Spec

GROUP = 16


def learn_letters(base: Path, spec: Spec) -> float:
    """REINFORCE with the group's mean as baseline; the expected reward on words that were not learned on, exactly."""
    tokenizer = ChatTokenizer(base)
    policy = Policy(base, SFTConfig(**spec.config))
    learned, asked = ([(word, _question(tokenizer, word)) for word in part] for part in words(spec.seed))
    right = _right_tokens(tokenizer)
    optimizer = torch.optim.AdamW(policy.masters.values(), lr=spec.rate, weight_decay=0.0)
    draw = torch.Generator().manual_seed(spec.seed)
    for _ in range(spec.steps):
        batch = [learned[at] for at in torch.randint(len(learned), (spec.batch,), generator=draw).tolist()]
        logprobs = log_softmax(policy.logits(_pack(batch)), dim=-1)
        sampled = torch.multinomial(logprobs.detach().exp(), GROUP, replacement=True, generator=draw)
        rewards = torch.stack([right[word[0]][tokens] for (word, _), tokens in zip(batch, sampled, strict=True)])
        groups = [group for group in range(len(batch)) for _ in range(GROUP)]
        found = advantages(rewards.flatten().tolist(), groups, "dr_grpo")
        weights = torch.tensor(found.values, dtype=torch.float32).view_as(rewards)
        policy.backward(reinforce(logprobs.gather(1, sampled), weights).mean())
        torch.nn.utils.clip_grad_norm_(policy.masters.values(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        policy.publish()
    with policy.evaluating():
        chances = policy.logits(_pack(asked)).softmax(dim=-1)
    expected = [float(each @ right[word[0]]) for (word, _), each in zip(asked, chances, strict=True)]
    return sum(expected) / len(expected)


def _question(tokenizer: ChatTokenizer, word: str) -> Sample:
    """The word as a question, and behind it the one token that is predicted."""
    ids = question(tokenizer, Row(messages=(user(word), assistant("-")), conversation=word, source="benchmark"))
    return Sample((*ids, 0), (*(False for _ in ids), True))


def _pack(asked: list[tuple[str, Sample]]) -> Pack:
    (pack,) = pack_rows([sample for _, sample in asked], 10**6)
    return pack


def _right_tokens(tokenizer: ChatTokenizer) -> dict[str, torch.Tensor]:
    """For each letter the reward of every token [vocabulary]: 1 for that letter alone, 0 for all others."""
    size = len(tokenizer.tokenizer.get_vocab())
    found = {}
    for letter in "abcdefghijklmnopqrstuvwxyz":
        (id,) = tokenizer.encode(letter)
        found[letter] = torch.zeros(size)
        found[letter][id] = 1.0
    return found
