"""On-policy distillation: the student answers, and learns how the teacher would have weighed each of its tokens.

The loss is the per-token reverse Kullback–Leibler divergence KL(student ‖ teacher) on replies that the student sampled
itself, so that it learns where it goes wrong (arXiv 2306.13649).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch.utils.checkpoint import checkpoint

from journeyman.engines.local.network.borrowed import load_weights
from journeyman.engines.local.network.precision import choose_dtype
from journeyman.errors import InvalidInput
from journeyman.records import Row
from journeyman.records.run import DistillConfig
from journeyman.rendering.chat import ChatTokenizer
from journeyman.training import attention, losses
from journeyman.training.batches import Pack, pack_rows
from journeyman.training.distributed import World
from journeyman.training.objective import Objective, Part
from journeyman.training.policy import Policy
from journeyman.training.samples import Example, Sample, question

CHUNK = 256
"""Tokens whose logits over the whole vocabulary exist at the same time."""


class OnPolicyDistillation(Objective):
    """The mean of `losses.reverse_kl` over the tokens that the student sampled for a batch."""

    unit: ClassVar[str] = "nats per sampled token"

    def __init__(self, config: DistillConfig, tokenizer: ChatTokenizer, teacher_folder: Path) -> None:
        super().__init__(config, tokenizer)
        check_same_vocabulary(tokenizer, ChatTokenizer(teacher_folder))
        self._teacher_folder = teacher_folder
        self._teacher: Any = None

    def example(self, row: Row) -> Example:
        """The question; what was answered then is not looked at."""
        ids = question(self.tokenizer, row)
        return (Sample(ids, (False,) * len(ids)),)

    def begin(self, policy: Policy, training: Sequence[Example]) -> None:
        """Load the teacher, in the student's precision."""
        teacher = load_weights(self._teacher_folder, choose_dtype(self.config.precision))
        teacher.set_attn_implementation(attention.NAME)
        self._teacher = teacher.to(policy.device).eval().requires_grad_(requires_grad=False)

    def parts(self, policy: Policy, batch: Sequence[Example], world: World) -> Iterator[Part]:
        """The student answers the batch's questions, then one pass for as many replies as memory allows."""
        share = world.share(batch)
        samples = self.sample(policy, [sample.ids for (sample,) in share]) if share else []
        (count,) = world.total(sum(sample.learned for sample in samples))
        for pack in pack_rows(samples, self.config.pack_tokens) if samples else []:
            yield Part(self.divergences(policy, pack).sum() / count, len(pack.ids))

    def divergences(self, policy: Policy, pack: Pack) -> torch.Tensor:
        """KL(student ‖ teacher) at each of the pack's targets [targets], over the student's likeliest candidates."""
        indices = pack.predictors
        inputs = {"input_ids": pack.ids[None].to(policy.device), "position_ids": pack.positions[None].to(policy.device)}
        with torch.no_grad():
            taught = self._teacher.get_decoder()(**inputs, use_cache=False, layout=pack.layout).last_hidden_state
        taught = taught[0, indices.to(policy.device)]
        if policy.head is None:
            return self._compared(policy.logits(pack), self._teacher_logits(taught))
        student, head = policy.hidden(pack, indices), policy.head
        parts = [
            checkpoint(self._chunk, student[at : at + CHUNK], head, taught[at : at + CHUNK], use_reentrant=False)
            for at in range(0, len(student), CHUNK)
        ]
        return torch.cat(parts)

    @torch.no_grad()
    def sample(self, policy: Policy, questions: Sequence[tuple[int, ...]]) -> list[Sample]:
        """A reply of the student to each question, at the config's temperature, up to its stop token."""
        longest = max(len(each) for each in questions)
        pad = min(self.tokenizer.stop_ids)
        ids = torch.tensor([[pad] * (longest - len(each)) + list(each) for each in questions], device=policy.device)
        seen = torch.tensor([[0] * (longest - len(each)) + [1] * len(each) for each in questions], device=policy.device)
        with policy.generating() as network:
            written = network.generate(
                input_ids=ids,
                attention_mask=seen,
                do_sample=True,
                temperature=self.config.temperature,
                top_k=0,
                top_p=1.0,
                repetition_penalty=1.0,
                max_new_tokens=self.config.new_tokens,
                eos_token_id=sorted(self.tokenizer.stop_ids),
                pad_token_id=pad,
            )
        return [
            _answered(each, reply, self.tokenizer.stop_ids)
            for each, reply in zip(questions, written[:, longest:].tolist(), strict=True)
        ]

    def _chunk(self, student: torch.Tensor, head: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
        return self._compared((student @ head.T).float(), self._teacher_logits(taught))

    def _compared(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        if self.config.candidates:
            likeliest = student.detach().topk(min(self.config.candidates, student.shape[-1]), dim=-1).indices
            student, teacher = student.gather(-1, likeliest), teacher.gather(-1, likeliest)
        return losses.reverse_kl(student, teacher)

    @torch.no_grad()
    def _teacher_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self._teacher.get_output_embeddings()(hidden)
        config = self._teacher.config.get_text_config()
        cap = getattr(config, "final_logit_softcapping", None)
        if cap:
            logits = torch.tanh(logits / cap) * cap
        return logits.float()


def check_same_vocabulary(student: ChatTokenizer, teacher: ChatTokenizer) -> None:
    """InvalidInput unless the same ids mean the same text to both, which every comparison of tokens rests on."""
    ours, theirs = student.tokenizer.get_vocab(), teacher.tokenizer.get_vocab()
    if ours == theirs:
        return
    different = [text for text, number in ours.items() if theirs.get(text) != number]
    example = f", such as {different[0]!r}" if different else ""
    raise InvalidInput(
        f"the teacher's tokenizer is not the student's: {len(different) or abs(len(ours) - len(theirs))} tokens differ"
        f"{example}. On-policy distillation compares token by token; relabel the dataset with the teacher and use "
        "`journeyman train sft` instead"
    )


def _answered(question_ids: tuple[int, ...], reply: list[int], stops: frozenset[int]) -> Sample:
    end = next((at + 1 for at, token in enumerate(reply) if token in stops), len(reply))
    return Sample(question_ids + tuple(reply[:end]), (False,) * len(question_ids) + (True,) * end)
