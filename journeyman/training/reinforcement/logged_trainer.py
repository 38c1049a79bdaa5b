"""The loop that learns from captured traffic: batches of logged attempts, importance weights, checkpoints."""

import time
from collections.abc import Callable
from pathlib import Path

import torch

from journeyman.records.reinforcement import LogsConfig
from journeyman.rendering.chat import ChatTokenizer
from journeyman.training.checkpoints import Progress
from journeyman.training.reinforcement.batch import make_batch
from journeyman.training.reinforcement.learner import Learner, Tell
from journeyman.training.reinforcement.logged import Logged
from journeyman.training.reinforcement.step_report import RLStepReport, report_step

_LONGEST_REPLY = 2**20


class LoggedTrainer:
    """One run over logged attempts; it can be stopped after any step and go on exactly where it was."""

    def __init__(
        self, config: LogsConfig, logged: Logged, model_folder: Path, run_folder: Path, *, start: Path | None = None,
        tell: Tell | None = None,
    ) -> None:  # fmt: skip
        plain = ChatTokenizer(model_folder)
        self.tokenizer = plain if start is None else plain.for_adapter(start)
        self.config, self._logged = config, logged
        self._learner = Learner(config, model_folder, run_folder, start, tell)
        self.policy = self._learner.policy

    @property
    def progress(self) -> Progress:
        """Where the run stands."""
        return self._learner.progress

    @property
    def steps(self) -> int:
        """Updates of the whole run."""
        return -(-len(self._logged.groups) // self.config.batch_attempts) * self.config.epochs

    def train(self, log: Callable[[RLStepReport], None]) -> None:
        """Run to the end; a KeyboardInterrupt that `log` raises stops the run between two steps."""
        while self.progress.step < self.steps:
            report = self._step()
            self._learner.save()
            log(report)

    def discard(self) -> None:
        """Give the space back, once the adapter is kept elsewhere."""
        self._learner.discard()

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
        outcome = self._learner.learn(batch, number, None)
        seconds = time.monotonic() - started
        self._learner.count(outcome, seconds)
        return report_step(self.progress, self.steps, batch, outcome, {"learn": seconds}, 0, None, compares=False)
