"""Attempts as rows to learn from: the very tokens that the engine saw and sampled, nothing rendered again."""

from dataclasses import dataclass

from journeyman.capture.trajectories import token_runs
from journeyman.errors import InvalidInput
from journeyman.records import Trajectory
from journeyman.rendering.masks import MaskedTokens


@dataclass(frozen=True, slots=True)
class AttemptRow(MaskedTokens):
    """Tokens of an attempt in one piece. The mask is True on what was sampled, `logprobs` are the engine's for these.

    An attempt whose prompts always repeat what was said before is one row; a template that rewrites earlier turns, or
    a sub-agent, makes more. `attempt` numbers the attempt within its batch: all its rows share one advantage.
    """

    logprobs: tuple[float, ...]
    attempt: int

    @property
    def learned(self) -> int:
        """How many tokens were sampled."""
        return len(self.logprobs)


def rows_of(trajectory: Trajectory, attempt: int) -> list[AttemptRow]:
    """The attempt's rows, in the order of its calls; InvalidInput when the engine did not tell what it sampled."""
    problem = why_not(trajectory)
    if problem:
        raise InvalidInput(f"attempt {trajectory.id} at scenario {trajectory.scenario_id} cannot be learned: {problem}")
    rows = []
    for run in token_runs(each for each in trajectory.tokens if each.reply):
        logprobs = tuple(value for value in run.logprobs if value is not None)
        rows.append(AttemptRow(run.ids, run.sampled, logprobs, attempt))
    return rows


def why_not(trajectory: Trajectory) -> str | None:
    """Why an attempt cannot be learned from its tokens; None when it can."""
    if trajectory.error is not None and not trajectory.tokens:
        return trajectory.error
    if len(trajectory.tokens) != trajectory.turns or not trajectory.tokens:
        return (
            f"the engine told the tokens of {len(trajectory.tokens)} of its {trajectory.turns} calls; it must return "
            "token ids and log-probabilities (return_token_ids, logprobs)"
        )
    if is_empty(trajectory):
        return "nothing was sampled: every reply is empty"
    for number, each in enumerate(trajectory.tokens, start=1):
        if not each.prompt:
            return f"call {number} has no prompt"
        if len(each.logprobs) != len(each.reply):
            return f"call {number} has {len(each.logprobs)} log-probabilities for {len(each.reply)} tokens"
        if any(not -float("inf") < value <= 0 for value in each.logprobs):
            return f"call {number} has a log-probability that is none"
    return None


def is_empty(trajectory: Trajectory) -> bool:
    """Whether the tokens of every call are known, and none was sampled."""
    told = trajectory.tokens
    return bool(told) and len(told) == trajectory.turns and not any(each.reply for each in told)


def sampled_tokens(trajectory: Trajectory) -> int:
    """How many tokens of an attempt were sampled."""
    return sum(len(each.reply) for each in trajectory.tokens)
