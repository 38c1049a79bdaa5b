"""Which questions are learned, which stop the training early, and which are asked in the end: whole groups each."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from bfcl_parts.questions import Question, groups

MOST = 30
"""A group of more questions is learned: held out, one function would be a great part of what is measured."""


class Divided(NamedTuple):
    """No function of one part is offered in another; `group_of` says which held-out questions share one."""

    train: list[Question]
    validation: list[Question]
    held_out: list[Question]
    group_of: dict[str, int]


def divide(questions: Sequence[Question], train: int, validation: int, held_out: int, seed: int) -> Divided:
    """Whole groups, in an order drawn from `seed`, until `held_out` and then `validation` questions are reached.

    Of all others at most `train` are learned, drawn one by one.
    """
    members: dict[int, list[Question]] = defaultdict(list)
    group_of = {}
    for question, group in zip(questions, groups(questions), strict=True):
        members[group].append(question)
        group_of[question.id] = group
    parts: dict[str, list[Question]] = {"train": [], "validation": [], "held_out": []}
    for group in sorted(members, key=lambda one: _place(seed, members[one][0].id)):
        part = "train"
        if len(members[group]) <= MOST and len(parts["held_out"]) < held_out:
            part = "held_out"
        elif len(members[group]) <= MOST and len(parts["validation"]) < validation:
            part = "validation"
        parts[part] += members[group]
    parts["train"] = sorted(parts["train"], key=lambda each: _place(seed, each.id))[:train]
    return Divided(**parts, group_of=group_of)


def _place(seed: int, id: str) -> bytes:
    return hashlib.sha256(f"{seed}:{id}".encode()).digest()
