"""Scores that can be given again: a pure function of the scenario, the state it ended in, and what happened.

An environment that keeps an `Outcome` is judged from it alone, by its suite's verifier, and every score says by which
version. So a stored attempt is scored again without its environment, and a verifier that was wrong is put right later.
"""

from collections.abc import Sequence
from typing import Protocol, cast, runtime_checkable

from journeyman.environments.environment import Environment, Suite
from journeyman.errors import InvalidInput
from journeyman.records import Outcome, Scenario, Score, Trajectory


@runtime_checkable
class Recorded(Protocol):
    """What an environment may have besides: an account of the episode so far."""

    def outcome(self) -> Outcome | None:
        """The state as it stands and what happened so far, as JSON; looking at it changes nothing.

        None only where it stands for another one that keeps no such account.
        """
        ...


@runtime_checkable
class Composed(Protocol):
    """A suite that is made of others. Each scenario belongs to one, whose verifier judges it under its own version."""

    members: Sequence[Suite]

    def member_of(self, scenario: Scenario) -> Suite:
        """The one that the scenario belongs to; InvalidInput where it is none of theirs."""
        ...


@runtime_checkable
class Verifier(Protocol):
    """What a suite may have besides. `version` changes whenever a verdict could."""

    version: str

    def verify(self, scenario: Scenario, outcome: Outcome) -> tuple[Score, ...]:
        """The scores, `success` among them, which follow from the arguments and from nothing else."""
        ...


def outcome_of(environment: Environment) -> Outcome | None:
    """What the episode came to, where its environment keeps that."""
    return environment.outcome() if isinstance(environment, Recorded) else None


def stamped(scores: Sequence[Score], version: str) -> tuple[Score, ...]:
    """The scores with the version of the verifier that gave them."""
    return tuple(score.model_copy(update={"version": version}) for score in scores)


def verifier_of(suite: Suite) -> Verifier | None:
    """The suite's verifier, where its scores are a pure function."""
    return cast(Verifier, suite) if isinstance(suite, Verifier) else None


def judge_of(suite: Suite, scenario: Scenario) -> Suite:
    """The suite whose verifier judges the scenario: a member's, where a suite is made of several."""
    return suite.member_of(scenario) if isinstance(suite, Composed) else suite


def names_of(suite: Suite) -> set[str]:
    """Whose scenarios are the suite's."""
    return {each.name for each in suite.members} if isinstance(suite, Composed) else {suite.name}


def scored_again(suite: Suite, trajectory: Trajectory) -> tuple[Score, ...]:
    """What the suite's verifier says today of a stored attempt; the scores of others (`by`) stay as they were.

    InvalidInput where the suite has no such verifier, or the attempt was stored without its outcome.
    """
    scenario = trajectory.scenario
    if trajectory.outcome is None or scenario is None:
        raise InvalidInput(
            f"the attempt {trajectory.id} was stored without its outcome, and cannot be scored again; play it anew"
        )
    if scenario.environment not in names_of(suite):
        raise InvalidInput(f"the attempt {trajectory.id} is one of {scenario.environment}, not of {suite.name}")
    verifier = verifier_of(judge_of(suite, scenario))
    if verifier is None:
        raise InvalidInput(f"suite {suite.name} cannot score a stored attempt: it has no `version` and `verify(…)`")
    fresh = stamped(verifier.verify(scenario, trajectory.outcome), verifier.version)
    names = {score.name for score in fresh}
    return fresh + tuple(score for score in trajectory.scores if score.name not in names)
