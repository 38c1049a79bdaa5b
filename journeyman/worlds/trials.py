"""Tries twins on calls held out: those that replay answer and changes at least 99 times in 100 are let in."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from journeyman.errors import InvalidInput, ProgramFailed
from journeyman.statistics.intervals import proportion
from journeyman.worlds.expressions import Unknown, same
from journeyman.worlds.state import Change, applied, drawn, leaf_changes
from journeyman.worlds.transitions import Transition

Fold = tuple[list[Transition], list[Transition]]
"""Calls to learn from, and calls to be judged on."""
LEAST_REPLAYED = 0.99
_FEWEST_HELD_OUT = 5
_FEWEST_WITNESSES = 3
_MOST_NAMED = 5
_PRIOR_CALLS = 3


@dataclass(frozen=True)
class Trial:
    """How a twin did on calls that it was not made from.

    `answered` of `held_out` calls it had an answer to, `right` of those were the recorded one. `low` is the lower end
    of the 95% interval of right among answered. `wrong` names some that it got wrong. `refused` of those answered it
    said that the tool refuses, and was right about `rightly_refused`.
    """

    tool: str
    held_out: int
    answered: int
    right: int
    low: float
    admitted: bool
    reason: str
    wrong: tuple[str, ...] = ()
    refused: int = 0
    rightly_refused: int = 0

    @property
    def trust(self) -> float:
        """The share of answered calls that it replayed, one more counted as wrong: few calls earn little trust."""
        return self.right / (self.answered + 1)


def shrunk(right: int, answered: int, everywhere: float) -> float:
    """How often something is right, from few calls: its own share, drawn towards that of all of its kind.

    The mean of a beta distribution whose prior is worth three calls at the rate of `everywhere`. A tool on which no
    held-out call could try it earns what its kind earned elsewhere.
    """
    return (right + _PRIOR_CALLS * everywhere) / (answered + _PRIOR_CALLS)


def judged_twin(programs: Sequence[tuple[Any, Sequence[Transition]]], tool: str) -> Trial:
    """How a tool's twin does: each of `programs` comes with calls that it was not made from.

    One written by hand is one program. One found in traces is several, each made without the
    sessions that it is tried on (cross-validation); the program that is admitted is made from all of them.
    """
    found = [_tried(twin, call) for twin, calls in programs for call in calls]
    answered = [(said.right, call) for said, call in found if said is not None]
    right = sum(is_right for is_right, _ in answered)
    refusals = [said.right for said, _ in found if said is not None and said.refuses]
    wrong = tuple(call.name for is_right, call in answered if not is_right)[:_MOST_NAMED]
    low = proportion(right, len(answered)).low if answered else 0.0
    reason = ""
    witnesses = len({_group(call) for _, call in answered})
    if len(answered) < _FEWEST_HELD_OUT or witnesses < _FEWEST_WITNESSES:
        reason = (
            f"answers {len(answered)} held-out calls of {witnesses} sessions that began differently; "
            f"{_FEWEST_HELD_OUT} of {_FEWEST_WITNESSES} are needed to judge it"
        )
    elif right < LEAST_REPLAYED * len(answered):
        reason = f"replays {right} of the {len(answered)} held-out calls that it answers; 99% are needed"
    return Trial(
        tool, len(found), len(answered), right, low, not reason, reason, wrong, len(refusals), sum(refusals)
    )  # fmt: skip


def without_each_session(
    made_of: Callable[[Sequence[Transition]], Any], tool: str, memory: Sequence[Transition]
) -> Trial:
    """Judge a twin on the calls of each session, made of what the other sessions saw."""
    sessions = dict.fromkeys(each.session for each in memory if each.tool == tool)
    trials = [
        (
            made_of([each for each in memory if each.session != session]),
            [each for each in memory if each.session == session and each.tool == tool],
        )
        for session in sessions
    ]
    return judged_twin(trials, tool)


def is_right(observation: Any, changes: Sequence[Change], error: str | None, call: Transition) -> bool:
    """Whether a proposal is what really happened: answer, kind of error and state."""
    try:
        after = applied(call.before or {}, changes)
    except InvalidInput:
        return False
    return same(observation, call.observation) and error == call.error and not leaf_changes(after, call.after)


def folds_of(
    transitions: Sequence[Transition], folds: int, seed: int
) -> list[tuple[list[Transition], list[Transition]]]:
    """`folds` ways to divide the calls into those to learn from and those to be judged on; no family is in both."""
    place = {_group(each): drawn(seed, "fold", _group(each)) % folds for each in transitions}
    return [
        (
            [each for each in transitions if place[_group(each)] != fold],
            [each for each in transitions if place[_group(each)] == fold],
        )
        for fold in range(folds)
    ]


def _group(call: Transition) -> str:
    return call.family or call.session


class _Said(NamedTuple):
    """Whether a twin replayed a call, and whether it said that the tool refuses."""

    right: bool
    refuses: bool


def _tried(twin: Any, call: Transition) -> tuple[_Said | None, Transition]:
    """What a twin said of a call; None when it had no answer."""
    try:
        observation, changes, error = twin.run(call.arguments, call.before)
    except Unknown:
        return None, call
    except (InvalidInput, ProgramFailed):
        return _Said(False, False), call
    return _Said(is_right(observation, changes, error, call), error is not None), call


def by_tool(transitions: Sequence[Transition]) -> Mapping[str, list[Transition]]:
    """The calls of each tool, in order."""
    found: dict[str, list[Transition]] = {}
    for each in transitions:
        found.setdefault(each.tool, []).append(each)
    return found
