"""The loop of every training run: steps, clipping, validation, early stop, checkpoints, and going on from them."""

import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from journeyman.errors import InvalidInput
from journeyman.records import Row
from journeyman.records.run import TrainingConfig
from journeyman.rendering.chat import ChatTokenizer
from journeyman.rendering.contract import require_contract
from journeyman.training.checkpoints import (
    Checkpoint,
    Progress,
    load_checkpoint,
    load_references,
    save_checkpoint,
    save_references,
)
from journeyman.training.distributed import World, this_world
from journeyman.training.methods import make_objective
from journeyman.training.objective import Objective, references_of, with_references
from journeyman.training.policy import Policy
from journeyman.training.samples import Example
from journeyman.training.schedule import batch_indices, learning_rate, total_steps
from journeyman.training.start import check_start

_BETAS = (0.9, 0.999)


@dataclass(frozen=True, slots=True)
class StepReport:
    """What a live progress line shows. Losses are in the method's unit; `tokens_per_second` counts computed tokens."""

    step: int
    steps: int
    loss: float
    learning_rate: float
    gradient_norm: float
    tokens_per_second: float
    seconds_left: float
    validation_loss: float | None = None
    values: dict[str, float] = field(default_factory=dict)


Log = Callable[[StepReport], None]
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Material:
    """What a run learns from, before any weights are there: checked, rendered and counted."""

    tokenizer: ChatTokenizer
    objective: Objective
    training: list[Example]
    validation: list[Example]


def load_material(
    config: TrainingConfig,
    rows: Sequence[Row],
    model_folder: Path,
    *,
    start: Path | None = None,
    teacher: Path | None = None,
) -> Material:
    """Rows as the examples of the config's method; InvalidInput names what cannot be learned, and a
    chat template that would teach something else than is served.
    """
    plain = ChatTokenizer(model_folder)
    tokenizer = plain if start is None else plain.for_adapter(start)
    check_start(config, start)
    require_contract(tokenizer)
    objective = make_objective(config, tokenizer, teacher)
    training = objective.examples([row for row in rows if row.split == "train"])
    return Material(tokenizer, objective, training, objective.examples([r for r in rows if r.split == "validation"]))


class Trainer:
    """One run: it can be stopped after any step and go on in another process exactly where it was.

    `start` is the folder of an adapter to go on from, `teacher` that of the model to distill from.
    """

    def __init__(
        self,
        config: TrainingConfig,
        rows: Sequence[Row],
        model_folder: Path,
        run_folder: Path,
        *,
        start: Path | None = None,
        teacher: Path | None = None,
    ) -> None:
        self.config = config
        self.world: World = this_world()
        material = load_material(config, rows, model_folder, start=start, teacher=teacher)
        self.tokenizer, self.objective = material.tokenizer, material.objective
        self._training, self._validation = material.training, material.validation
        self.steps = total_steps(config, len(self._training))
        self.policy = Policy(model_folder, config, start)
        self.world = replace(self.world, settle=self.policy.settle)
        self._checkpoints = run_folder / "checkpoints"
        self._know_references(run_folder)
        self.objective.begin(self.policy, self._training)
        self._optimizer = torch.optim.AdamW(
            self.policy.masters.values(), lr=config.learning_rate, betas=_BETAS, weight_decay=config.weight_decay
        )
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
            self._tell(log, report)
            if self.progress.step % self.config.checkpoint_every == 0:
                self.save()
        self.save()
        self.policy.restore(self._best)
        self.policy.collect()

    def save(self) -> None:
        """Write a checkpoint of where the run stands. Every process must call it: each may hold a part of it."""
        if not (self.world.leads or self.policy.shards):
            return
        weights, best = self.policy.whole(self.policy.state()), self.policy.whole(self._best)
        optimizer = self._each_moment(self._optimizer.state_dict(), self.policy.whole)
        if self.world.leads:
            state = Checkpoint(self.progress, weights, best, optimizer, torch.get_rng_state())
            save_checkpoint(self._checkpoints, state)

    def discard_checkpoints(self) -> None:
        """Give the space back, once the adapter is kept elsewhere."""
        shutil.rmtree(self._checkpoints, ignore_errors=True)

    def finish(self, folder: Path) -> None:
        """Write what belongs beside the adapter."""
        with self.policy.evaluating():
            self.objective.finish(self.policy, self._validation, folder)

    def _step(self) -> StepReport:
        started = time.monotonic()
        step = self.progress.step
        rate = learning_rate(self.config, step, self.steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._seed(step)
        batch = [self._training[index] for index in batch_indices(self.config, step, len(self._training))]
        with self._explaining_memory(batch):
            loss, tokens, values = self._backward(batch)
        norm = self.policy.clip(self.config.clip_norm, self.world)
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
        elapsed = time.monotonic() - started
        progress.tokens_seen += tokens
        progress.seconds += elapsed
        validated = self._validate() if self._is_due() else None
        left = (self.steps - progress.step) * progress.seconds / progress.step
        return StepReport(progress.step, self.steps, loss, rate, norm, tokens / elapsed, left, validated, values)

    def _backward(self, batch: Sequence[Example]) -> tuple[float, int, dict[str, float]]:
        """Gradients of the whole batch in the masters of every process; its loss, tokens and other values."""
        loss, tokens, values = self._computed(batch, learn=True)
        if self.world.size > 1:
            self.policy.add_up_gradients(self.world)
        return loss, tokens, values

    def _computed(self, batch: Sequence[Example], *, learn: bool) -> tuple[float, int, dict[str, float]]:
        loss, tokens, values = 0.0, 0, dict[str, float]()
        for part in self.objective.parts(self.policy, batch, self.world):
            if learn:
                self.policy.backward(part.loss)
            loss += part.loss.item()
            tokens += part.tokens
            for name, value in part.values.items():
                values[name] = values.get(name, 0.0) + value
        if self.world.size == 1:
            return loss, tokens, values
        # A process without a share knows no names of values: only what all of them have is summed.
        loss, computed = self.world.total(loss, tokens)
        return loss, int(computed), {}

    def _validate(self) -> float:
        """Mean loss over the validation rows; keeps the weights when they are the best so far."""
        self._seed(-1)
        with self.policy.evaluating():
            loss, _, _ = self._computed(self._validation, learn=False)
        progress = self.progress
        progress.validations[str(progress.step)] = loss
        if progress.best_loss is None or loss < progress.best_loss:
            progress.best_loss, progress.best_step = loss, progress.step
            progress.validations_without_gain = 0
            self._best = self.policy.state()
        else:
            progress.validations_without_gain += 1
        return loss

    def _seed(self, step: int) -> None:
        """What a step draws (dropout, sampled replies) depends on the step alone, not on how the run came to it."""
        torch.manual_seed(((self.config.seed * 1_000_003 + step + 1) * 4099 + self.world.rank) % 2**63)

    def _is_due(self) -> bool:
        return self.progress.step % self.config.validate_every == 0 or self.progress.step == self.steps

    def _is_finished(self) -> bool:
        stale = self.progress.validations_without_gain >= self.config.patience
        return stale or self.progress.step >= self.steps

    def _know_references(self, run_folder: Path) -> None:
        """Computed once, before anything is learned; a run that goes on reads what it computed then."""
        if not self.objective.needs_reference:
            return
        known = load_references(run_folder)
        both = [*self._training, *self._validation]
        with self._explaining_memory(both):
            both = with_references(self.policy, both, known)
        if known is None and self.world.leads:
            save_references(run_folder, references_of(both))
        self._training, self._validation = both[: len(self._training)], both[len(self._training) :]

    def _resume(self) -> None:
        saved = load_checkpoint(self._checkpoints)
        if saved is None:
            return
        self.progress, self._best = saved.progress, self.policy.parts(saved.best_weights)
        self.policy.restore(self.policy.parts(saved.weights))
        self._optimizer.load_state_dict(self._each_moment(saved.optimizer, self.policy.parts))
        torch.set_rng_state(saved.random_state)

    def _tell(self, log: Log, report: StepReport) -> None:
        """Tell of a step. A KeyboardInterrupt in any process stops all of them, with a checkpoint."""
        stopped = None
        try:
            log(report)
        except KeyboardInterrupt as interruption:
            stopped = interruption
        if self.world.size > 1:
            (others,) = self.world.total(float(stopped is not None))
            stopped = stopped or (KeyboardInterrupt("another process was stopped") if others else None)
        if stopped is not None:
            self.save()
            raise stopped

    def _each_moment(self, optimizer: dict[str, Any], change: Callable[[Tensors], Tensors]) -> dict[str, Any]:
        """The optimiser's state with what has a weight's shape changed, by the weight's name."""
        names, state = list(self.policy.masters), dict(optimizer["state"])
        for moment in ("exp_avg", "exp_avg_sq"):
            changed = change({names[index]: values[moment] for index, values in state.items()})
            # Processes that do not lead are given nothing, and write nothing.
            state = {index: values | {moment: changed.get(names[index])} for index, values in state.items()}
        return optimizer | {"state": state}

    @contextmanager
    def _explaining_memory(self, batch: Sequence[Example]) -> Iterator[None]:
        """Memory that ran out is told with the setting that needs less of it."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            lacking = isinstance(error, (MemoryError, torch.OutOfMemoryError))
            if not lacking and "memory" not in str(error):
                raise
            longest = max(len(sample.ids) for example in batch for sample in example)
            packed = self.config.pack_tokens
            advice = (
                f"--pack-tokens {max(64, packed // 2)} (it is {packed})"
                if self.objective.packs and packed > max(longest, 64)
                else f"--max-length {longest // 2}, without the conversations that are longer"
            )
            raise InvalidInput(
                f"step {self.progress.step + 1}: memory ran out; the batch has {len(batch)} rows, the longest of "
                f"{longest} tokens. Start the run again with {advice}, or with --precision bfloat16. "
                "The last checkpoint is unharmed"
            ) from error
