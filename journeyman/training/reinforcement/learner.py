"""What a run of reinforcement learning moves: the policy, its critic and its optimiser, and the checkpoint of them.

In a run of several processes each of them has one. The leading process tells the others what to learn; all compute
their share of the update, and make the same step.
"""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from journeyman.errors import InvalidInput
from journeyman.records.reinforcement import LogsConfig, RLConfig
from journeyman.training.checkpoints import Checkpoint, Progress, load_checkpoint, save_checkpoint
from journeyman.training.distributed import this_world
from journeyman.training.policy import Policy
from journeyman.training.reinforcement.batch import Batch
from journeyman.training.reinforcement.critic import ValueHead
from journeyman.training.reinforcement.lesson import Lesson
from journeyman.training.reinforcement.update import Outcome, Update, make_optimizer

_BEFORE = "the weights of the step before"
_BASE = "the base model, without the adapter"

Tell = Callable[[str], None]
"""Given to the process that leads: reaches all others, one line at a time."""


class Learner:
    """Weights that learn batch after batch, going on from the last checkpoint in `run_folder`."""

    def __init__(
        self,
        config: RLConfig | LogsConfig,
        model_folder: Path,
        run_folder: Path,
        start: Path | None = None,
        tell: Tell | None = None,
    ) -> None:
        self.config, self._tell = config, tell
        self.policy = Policy(model_folder, config, start)
        algorithm = config.algorithm
        head = ValueHead(self.policy) if algorithm.critic is not None else None
        self._optimizer = make_optimizer(self.policy, config)
        began = self.policy.state()
        self._update = Update(
            self.policy, self._optimizer, algorithm, config.pack_tokens, config.clip_norm, head,
            began if algorithm.kl_reference == "start" else self.policy.base_state(),
            {_BASE: self.policy.base_state()}, this_world(),
        )  # fmt: skip
        self._checkpoints = run_folder / "checkpoints"
        self.progress = Progress()
        self._resume()
        self._require_same_weights()

    def learn(self, batch: Batch, number: int, weights: int | None) -> Outcome:
        """Step `number` from a batch that was sampled under the weights of step `weights`; None: by somebody else.

        InvalidInput, with the reasons, when no attempt can be learned from.
        """
        if not any(each.rows for each in batch.attempts):
            raise InvalidInput(
                f"step {number + 1}: none of the {len(batch.attempts)} attempts can be learned from: "
                + "; ".join(f"{count} {reason}" for reason, count in batch.dropped.items())
            )
        if self._tell is not None:
            self._tell(Lesson.of(batch, number, weights).model_dump_json())
        critic = self.config.algorithm.critic
        torch.manual_seed((self.config.seed * 1_000_003 + number + 1) % 2**63)
        before, on_policy = self.policy.state(), weights == number
        outcome = self._update.run(
            batch,
            number + 1,
            on_policy=on_policy,
            sampled_under=None if on_policy or weights is None else self._update.suspects.get(_BEFORE),
            only_critic=critic is not None and number < critic.warm_up,
        )
        self._update.suspects[_BEFORE] = before
        return outcome

    def follow(self, lines: Iterable[str]) -> None:
        """Learn what the leading process tells, until it says no more."""
        for line in lines:
            lesson = Lesson.model_validate_json(line)
            self.learn(lesson.batch(), lesson.number, lesson.weights)

    def count(self, outcome: Outcome, seconds: float) -> None:
        """The step is done; it took so long, all in all."""
        self.progress.step += 1
        self.progress.tokens_seen += outcome.tokens
        self.progress.seconds += seconds

    def save(self) -> None:
        """Write a checkpoint of where the run stands."""
        state = Checkpoint(self.progress, self.policy.state(), {}, self._optimizer.state_dict(), torch.get_rng_state())
        save_checkpoint(self._checkpoints, state)

    def discard(self) -> None:
        """Give the checkpoints' space back, once the adapter is kept elsewhere."""
        shutil.rmtree(self._checkpoints, ignore_errors=True)

    def _resume(self) -> None:
        saved = load_checkpoint(self._checkpoints)
        if saved is None:
            return
        self.progress = saved.progress
        self.policy.restore(saved.weights)
        self._optimizer.load_state_dict(saved.optimizer)
        torch.set_rng_state(saved.random_state)

    def _require_same_weights(self) -> None:
        """Processes that begin differently would learn different models, without a word."""
        world = self._update.world
        if world.size == 1:
            return
        mine = (float(self.progress.step), *(float(each.double().sum()) for each in self.policy.masters.values()))
        everyone = world.total(*mine)
        if any(abs(total - world.size * own) > 1e-9 * abs(total) for total, own in zip(everyone, mine, strict=True)):
            raise InvalidInput("the run's processes do not begin with the same weights; nothing was learned")
