"""Supervised fine-tuning: rows of a dataset in, a LoRA adapter out.

The loss is the mean over every target token of an optimiser step, however its rows are packed.
"""

import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from journeyman.errors import InvalidInput
from journeyman.records import Row, SFTConfig
from journeyman.rendering.chat import ChatTokenizer
from journeyman.rendering.masks import MaskedTokens, mask_conversation
from journeyman.training.batches import Pack, pack_rows
from journeyman.training.checkpoints import Checkpoint, Progress, load_checkpoint, save_checkpoint
from journeyman.training.policy import Policy
from journeyman.training.schedule import batch_indices, learning_rate, total_steps

_BETAS = (0.9, 0.999)


@dataclass(frozen=True, slots=True)
class StepReport:
    """What a live progress line shows. Losses are nats per target token; `tokens_per_second` counts computed tokens."""

    step: int
    steps: int
    loss: float
    learning_rate: float
    gradient_norm: float
    tokens_per_second: float
    seconds_left: float
    validation_loss: float | None = None


Log = Callable[[StepReport], None]


class Trainer:
    """One run: it can be stopped after any step and go on in another process exactly where it was."""

    def __init__(self, config: SFTConfig, rows: Sequence[Row], model_folder: Path, run_folder: Path) -> None:
        self.config = config
        self.tokenizer = ChatTokenizer(model_folder)
        self._training = self._mask([row for row in rows if row.split == "train"])
        self._validation = pack_rows(self._mask([r for r in rows if r.split == "validation"]), config.pack_tokens)
        self.steps = total_steps(config, len(self._training))
        self.policy = Policy(model_folder, config)
        self._optimizer = torch.optim.AdamW(
            self.policy.masters.values(), lr=config.learning_rate, betas=_BETAS, weight_decay=config.weight_decay
        )
        self._checkpoints = run_folder / "checkpoints"
        self._best = self.policy.state()
        self.progress = Progress()
        self._resume()

    def train(self, log: Log) -> None:
        """Run to the end, or until validation stops improving. Afterwards the policy holds its best weights.

        A KeyboardInterrupt that `log` raises stops the run between two steps and leaves a checkpoint of where it
        stands. One that strikes inside a step leaves the last checkpoint: half a step must never be saved.
        """
        while not self._is_finished():
            report = self._step()
            try:
                log(report)
            except KeyboardInterrupt:
                self.save()
                raise
            if self.progress.step % self.config.checkpoint_every == 0:
                self.save()
        self.save()
        self.policy.restore(self._best)

    def save(self) -> None:
        """Write a checkpoint of where the run stands."""
        state = Checkpoint(
            self.progress, self.policy.state(), self._best, self._optimizer.state_dict(), torch.get_rng_state()
        )
        save_checkpoint(self._checkpoints, state)

    def discard_checkpoints(self) -> None:
        """Give the space back, once the adapter is kept elsewhere."""
        shutil.rmtree(self._checkpoints, ignore_errors=True)

    def _step(self) -> StepReport:
        started = time.monotonic()
        step = self.progress.step
        rate = learning_rate(self.config, step, self.steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        rows = [self._training[index] for index in batch_indices(self.config, step, len(self._training))]
        packs = pack_rows(rows, self.config.pack_tokens)
        loss = self._backward(packs)
        norm = float(torch.nn.utils.clip_grad_norm_(self.policy.masters.values(), self.config.clip_norm))
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise InvalidInput(
                f"step {step + 1}: the loss is {loss} and the gradient's norm {norm}; lower --learning-rate. "
                "The last checkpoint is unharmed"
            )
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.policy.publish()

        progress = self.progress
        progress.step += 1
        tokens = sum(len(pack.ids) for pack in packs)
        elapsed = time.monotonic() - started
        progress.tokens_seen += tokens
        progress.seconds += elapsed
        validated = self._validate() if self._is_due() else None
        left = (self.steps - progress.step) * progress.seconds / progress.step
        return StepReport(progress.step, self.steps, loss, rate, norm, tokens / elapsed, left, validated)

    def _backward(self, packs: Sequence[Pack]) -> float:
        count = sum(len(pack.targets) for pack in packs)
        total = 0.0
        for pack in packs:
            loss = -self.policy.token_logprobs(pack).sum() / count
            self.policy.backward(loss)
            total += loss.item()
        return total

    def _validate(self) -> float:
        """Mean loss per target token over the validation rows; keeps the weights when they are the best so far."""
        total = sum(float(-self.policy.logprobs(pack).sum()) for pack in self._validation)
        loss = total / sum(len(pack.targets) for pack in self._validation)
        progress = self.progress
        progress.validations[str(progress.step)] = loss
        if progress.best_loss is None or loss < progress.best_loss:
            progress.best_loss, progress.best_step = loss, progress.step
            progress.validations_without_gain = 0
            self._best = self.policy.state()
        else:
            progress.validations_without_gain += 1
        return loss

    def _is_due(self) -> bool:
        return self.progress.step % self.config.validate_every == 0 or self.progress.step == self.steps

    def _is_finished(self) -> bool:
        stale = self.progress.validations_without_gain >= self.config.patience
        return stale or self.progress.step >= self.steps

    def _resume(self) -> None:
        saved = load_checkpoint(self._checkpoints)
        if saved is None:
            return
        self.progress, self._best = saved.progress, saved.best_weights
        self.policy.restore(saved.weights)
        self._optimizer.load_state_dict(saved.optimizer)
        torch.set_rng_state(saved.random_state)

    def _mask(self, rows: Sequence[Row]) -> list[MaskedTokens]:
        masked = [mask_conversation(self.tokenizer, row.messages, row.tools) for row in rows]
        if not masked:
            raise InvalidInput("the dataset has no rows in one of its splits; build it from more than one conversation")
        for row, tokens in zip(rows, masked, strict=True):
            if len(tokens.ids) > self.config.max_length:
                raise InvalidInput(
                    f"conversation {row.conversation} is {len(tokens.ids)} tokens, longer than max_length "
                    f"{self.config.max_length}: raise --max-length, or leave it out of the dataset"
                )
        return masked
