"""Looks at a run before it spends anything: would its attempts teach, and is what would be trained what is sampled?"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from journeyman.records.reinforcement import RLConfig
from journeyman.statistics.intervals import clustered_mean
from journeyman.training.advantages import EQUAL
from journeyman.training.reinforcement.batch import Batch
from journeyman.training.reinforcement.rows import AttemptRow

Level = Literal["fine", "look", "stop"]
MOST_BATCH = 128
"""LoRA pays more than full fine-tuning for larger batches (Schulman et al., 2025)."""
_RATES = (1e-5, 1e-3)


class Finding(NamedTuple):
    """One thing that was looked at: `stop` is refused, `look` is worth changing."""

    level: Level
    what: str


class Preflight(NamedTuple):
    """What was found, and one attempt to show token by token."""

    findings: tuple[Finding, ...]
    shown: AttemptRow | None

    @property
    def is_clear(self) -> bool:
        """Whether nothing forbids the run."""
        return all(finding.level != "stop" for finding in self.findings)

    def beside(self, finding: Finding) -> "Preflight":
        """These findings and another one."""
        return self._replace(findings=(*self.findings, finding))


def preflight(config: RLConfig, batch: Batch, context: int) -> Preflight:
    """Findings about a first batch of attempts, sampled under the weights that the run would begin with.

    `context` is the longest sequence of tokens that the model can hold.
    """
    findings = [_signal(config, batch), *_dropped(batch), *_rows(batch), _context(batch, context), *_settings(config)]
    shown = next((row for each in batch.attempts for row in each.rows), None)
    return Preflight(tuple(findings), shown)


def advice_for(rewards: Sequence[Sequence[float]]) -> str | None:
    """What to try when no group of a batch has two different rewards; None when one has."""
    every = [value for group in rewards for value in group]
    if not every or any(max(group) - min(group) > EQUAL for group in rewards if group):
        return None
    if max(every) - min(every) > EQUAL:
        return (
            "attempts at one scenario are all rewarded alike, though scenarios differ: raise --attempts, or take a "
            "reward that grades (part of the task, RULER)"
        )
    if every[0] > EQUAL:
        return (
            "every attempt earns the same, and it is not nothing: the task is solved already, or the reward is constant"
        )
    return (
        "every attempt earns nothing: take easier scenarios, show examples in the prompt, fine-tune on some good "
        "attempts first (--from), or reward parts of the task"
    )


def _signal(config: RLConfig, batch: Batch) -> Finding:
    by_group = batch.rewards_by_group()
    if not by_group:
        return Finding("stop", "no attempt could be rewarded, so there is nothing to learn from")
    mean = clustered_mean(by_group)
    mixed = sum(max(group) - min(group) > EQUAL for group in by_group)
    said = (
        f"reward {mean.estimate:.2f} [{mean.low:.2f}, {mean.high:.2f}] over {len(by_group)} scenarios; attempts differ "
        f"in {mixed} of {len(by_group)} groups"
    )
    advice = advice_for(by_group)
    if advice is not None and config.algorithm.compares_groups:
        return Finding("stop", f"{said}: {advice}")
    if config.algorithm.compares_groups and mixed < len(by_group) / 5:
        return Finding("look", f"{said}: most of what is sampled teaches nothing; take scenarios nearer to its ability")
    return Finding("fine", said)


def _dropped(batch: Batch) -> list[Finding]:
    return [
        Finding(
            "look" if count < len(batch.attempts) / 2 else "stop", f"{count} attempts are not learned from: {reason}"
        )
        for reason, count in batch.dropped.items()
    ]


def _rows(batch: Batch) -> list[Finding]:
    """An attempt that is more than one row was not repeated exactly by its later prompts."""
    several = [each for each in batch.attempts if len(each.rows) > 1]
    learned = [each for each in batch.attempts if each.rows]
    if not several:
        return [
            Finding("fine", f"every attempt is one row: its later prompts repeat its tokens exactly ({len(learned)})")
        ]
    return [
        Finding(
            "look",
            f"{len(several)} of {len(learned)} attempts are more than one row, because a later prompt does not repeat "
            "what was sampled token by token: correct, but each row passes through the network by itself. "
            "`journeyman template check` names the line of a template that rewrites earlier turns",
        )
    ]


def _context(batch: Batch, context: int) -> Finding:
    longest = max((len(row.ids) for each in batch.attempts for row in each.rows), default=0)
    if longest > context:
        return Finding("stop", f"the longest attempt has {longest} tokens, and the model holds {context}")
    return Finding(
        "fine" if longest < 0.8 * context else "look", f"the longest attempt has {longest} of {context} tokens"
    )


def _settings(config: RLConfig) -> list[Finding]:
    found = []
    low, high = _RATES
    if not low <= config.learning_rate <= high:
        found.append(
            Finding(
                "look",
                f"--learning-rate {config.learning_rate:g} is unusual: 1e-4 to 3e-4 suit adapters of small models",
            )
        )
    if config.algorithm.compares_groups and config.attempts < 4:
        found.append(Finding("look", f"--attempts {config.attempts}: groups of fewer than 4 compare with much noise"))
    if config.scenarios * config.attempts > MOST_BATCH:
        found.append(
            Finding(
                "look", f"{config.scenarios * config.attempts} attempts a step: adapters learn less from large batches"
            )
        )
    return found
