"""Attempts that were captured in production, with what people or programs said of them: no environment is needed.

They were sampled by some earlier policy, whose log-probabilities came with them. Whatever lacks its tokens, its
log-probabilities or its feedback is left out and counted by the reason: nothing is imputed.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from journeyman.capture.on_policy import on_policy_problem
from journeyman.capture.trajectories import Branch, join
from journeyman.datasets.formats import write_whole
from journeyman.datasets.judgements import newest_value
from journeyman.datasets.sources import complete_only, matching
from journeyman.errors import InvalidInput
from journeyman.records import Filter, Scenario, Score, TrajectoryGroup
from journeyman.store.store import Store


class Logged(NamedTuple):
    """Each conversation as a group of one, with its score; how many calls matched, and what was left out and why."""

    groups: tuple[TrajectoryGroup, ...]
    scores: tuple[tuple[Score, ...], ...]
    matched: int
    left_out: Counter[str]


def logged_attempts(store: Store, where: Filter, feedback: str, served: Sequence[str]) -> Logged:
    """Captured conversations with a value of the feedback named so, newest value first.

    `served` are the names under which the base model and adapters of it answer: tokens of another model's tokenizer
    mean something else. InvalidInput, with the reasons, when nothing can be learned from.
    """
    exchanges = list(matching(store, complete_only(where)))
    groups, scores, left_out = list[TrajectoryGroup](), list[tuple[Score, ...]](), Counter[str]()
    for conversation in join(exchanges):
        for branch in conversation.branches:
            problem = _problem(branch, served)
            score = None if problem else _score(store, branch, feedback)
            if problem is None and score is None:
                problem = f"it has no feedback named {feedback} with a value"
            if problem is not None:
                left_out[problem] += 1
                continue
            assert score is not None
            trajectory = branch.trajectory(branch.turn.exchange.id, (score,))
            scenario = Scenario(id=trajectory.scenario_id, environment="logged", kind="logged")
            groups.append(TrajectoryGroup(scenario=scenario, trajectories=(trajectory,)))
            scores.append((score,))
    if not groups:
        reasons = "; ".join(f"{count}: {reason}" for reason, count in left_out.most_common(5)) or "no call matches"
        raise InvalidInput(f"no captured conversation can be learned from on its own tokens. {reasons}")
    return Logged(tuple(groups), tuple(scores), len(exchanges), left_out)


def keep_attempts(logged: Logged, file: Path) -> None:
    """Write what is learned from, whole or not at all: a line for each conversation, then one of what was left out."""
    lines = [
        f'{{"group": {group.model_dump_json()}, "score": {score.model_dump_json()}}}'
        for group, (score,) in zip(logged.groups, logged.scores, strict=True)
    ]
    lines.append(json.dumps({"matched": logged.matched, "left_out": logged.left_out}))
    write_whole(file, "\n".join(lines).encode())


def kept_attempts(file: Path) -> Logged:
    """What `keep_attempts` wrote."""
    *lines, last = [json.loads(line) for line in file.read_text().splitlines()]
    groups = tuple(TrajectoryGroup.model_validate(each["group"]) for each in lines)
    scores = tuple((Score.model_validate(each["score"]),) for each in lines)
    return Logged(groups, scores, last["matched"], Counter(last["left_out"]))


def _problem(branch: Branch, served: Sequence[str]) -> str | None:
    for exchange in branch.exchanges:
        if exchange.served not in served and exchange.model not in served:
            return f"it was answered by {exchange.served or exchange.model}, which is not this base or an adapter of it"
        problem = on_policy_problem(exchange)
        if problem is not None:
            return problem
        if exchange.sampling.temperature not in (None, 1.0) or exchange.sampling.top_p not in (None, 1.0):
            return (
                "it was sampled at another temperature than 1, or cut by top_p: its probabilities are not the policy's"
            )
    return None


def _score(store: Store, branch: Branch, name: str) -> Score | None:
    """The newest value given to the branch's last exchange, or to its session."""
    found = newest_value(store, branch.turn.exchange, name)
    return (
        None
        if found is None or found.value is None
        else Score(name=name, value=found.value, reason=found.reason, by=found.by)
    )
