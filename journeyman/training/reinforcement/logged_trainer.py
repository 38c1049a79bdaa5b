"""The loop that learns from captured traffic: batches of logged attempts, importance weights, checkpoints."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch

from journeyman.records.reinforcement import LogsConfig
from journeyman.rendering.chat import ChatTokenizer
from journeyman.training.checkpoints import Checkpoint, Progress, load_checkpoint, save_checkpoint
from journeyman.training.policy import Policy
from journeyman.training.reinforcement.batch import make_batch
from journeyman.training.reinforcement.critic import ValueHead
from journeyman.training.reinforcement.logged import Logged
from journeyman.training.reinforcement.step_report import RLStepReport, report_step
from journeyman.training.reinforcement.update import Update, make_optimizer

_LONGEST_REPLY = 2**20


class LoggedTrainer:
    """One run over logged attempts; it can be stopped after any step and go on exactly where it was."""

    def __init__(
        self, config: LogsConfig, logged: Logged, model_folder: Path, run_folder: Path, *, start: Path | None = None
    ) -> None:
        plain = ChatTokenizer(model_folder)
        self.tokenizer = plain if start is None else plain.for_adapter(start)
        self.config, self._logged = config, logged
        self.policy = Policy(model_folder, config, start)
        head = ValueHead(self.policy) if config.algorithm.critic is not None else None
        self._optimizer = make_optimizer(self.policy, config)
        reference = self.policy.state() if config.algorithm.kl_reference == "start" else self.policy.base_state()
        self._update = Update(
            self.policy, self._optimizer, config.algorithm, config.pack_tokens, config.clip_norm, head, reference
        )
        self._checkpoints = run_folder / "checkpoints"
        self.progress = Progress()
        saved = load_checkpoint(self._checkpoints)
        if saved is not None:
            self.progress = saved.progress
            self.policy.restore(saved.weights)
            self._optimizer.load_state_dict(saved.optimizer)
            torch.set_rng_state(saved.random_state)

    @property
    def steps(self) -> int:
        """Updates of the whole run."""
        return -(-len(self._logged.groups) // self.config.batch_attempts) * self.config.epochs

    def train(self, log: Callable[[RLStepReport], None]) -> None:
        """Run to the end; a KeyboardInterrupt that `log` raises stops the run between two steps."""
        while self.progress.step < self.steps:
            report = self._step()
            save_checkpoint(
                self._checkpoints,
                Checkpoint(self.progress, self.policy.state(), {}, self._optimizer.state_dict(), torch.get_rng_state()),
            )
            log(report)

    def discard(self) -> None:
        """Give the space back, once the adapter is kept elsewhere."""
        shutil.rmtree(self._checkpoints, ignore_errors=True)

    def _step(self) -> RLStepReport:
        started, number, config = time.monotonic(), self.progress.step, self.config
        per_epoch = self.steps // config.epochs
        order = torch.randperm(
            len(self._logged.groups), generator=torch.Generator().manual_seed(config.seed * 4099 + number // per_epoch)
        ).tolist()
        at = number % per_epoch * config.batch_attempts
        chosen = order[at : at + config.batch_attempts]
        groups = [self._logged.groups[index] for index in chosen]
        scores = [self._logged.scores[index] for index in chosen]
        batch = make_batch(config.algorithm, groups, scores, _LONGEST_REPLY)
        torch.manual_seed((config.seed * 1_000_003 + number + 1) % 2**63)
        critic = config.algorithm.critic
        only_critic = critic is not None and number < critic.warm_up
        outcome = self._update.run(batch, number + 1, on_policy=False, only_critic=only_critic)
        seconds = time.monotonic() - started
        self.progress.step += 1
        self.progress.tokens_seen += outcome.tokens
        self.progress.seconds += seconds
        return report_step(self.progress, self.steps, batch, outcome, {"learn": seconds}, 0, None, compares=False)
