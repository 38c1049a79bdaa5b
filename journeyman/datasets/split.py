"""Decides which conversations are held out, so that nothing that is measured was ever trained on.

What must stay together is a *case*: all rows of one conversation, all conversations that open with the same user
message, because the second time a request comes it is no longer unseen, and conversations that say almost the same.
Cases are found by joining conversations over their openings and such ties. A case is held out when the hash of seed
and opening falls below the share, so it stays on its side as the data grows. Two exceptions keep the split useful:

- a case with more than the share of all conversations ("Hi") is trained on, or it would eat the training data;
- if all conversations are one case, that tells nothing apart and each conversation is a case of its own.
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import NamedTuple

from journeyman.errors import InvalidInput
from journeyman.records import Row, Split


class Case(NamedTuple):
    """Conversations that must be on the same side, and the text that names them."""

    key: str
    conversations: tuple[str, ...]


def assign_splits(
    rows: Sequence[Row], validation_share: float, seed: int, ties: Collection[tuple[str, str]] = ()
) -> list[Row]:
    """The rows with their splits; a split that a row was given stays. At least one row on each side.

    `ties` are pairs of conversations that must be on the same side, too.

    InvalidInput when the share is not between 0 and 1, or there are no two conversations to tell apart.
    """
    if not 0 < validation_share < 1:
        raise InvalidInput(f"the validation share is {validation_share:g}; it must lie between 0 and 1, such as 0.1")
    given = {row.conversation: row.split for row in rows if "split" in row.model_fields_set}
    sides: dict[str, Split] = {}
    undecided = []
    for case in _cases(rows, ties):
        said = {given[conversation] for conversation in case.conversations if conversation in given}
        sides.update(dict.fromkeys(case.conversations, "validation" if said == {"validation"} else "train"))
        if not said:
            undecided.append(case)
    for case in _held_out(undecided, validation_share, seed, set(given.values())):
        sides.update(dict.fromkeys(case.conversations, "validation"))
    sides |= given
    missing = {"train", "validation"} - set(sides.values())
    if missing:
        raise InvalidInput(
            f"no conversation is left for {missing.pop()}: at least two are needed, to train on and to measure. "
            "Add conversations, or leave `split` out of the rows that name it"
        )
    return [row.model_copy(update={"split": sides[row.conversation]}) for row in rows]


def opening(row: Row) -> str:
    """What the conversation begins with: its first user message, whatever the spacing."""
    first = next((message for message in row.messages if message.role == "user"), row.messages[0])
    return " ".join(first.text.split())


def _cases(rows: Sequence[Row], ties: Collection[tuple[str, str]]) -> list[Case]:
    openings: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        openings[row.conversation].add(opening(row))
    cases = _joined(openings, ties)
    if len(cases) > 1:
        return cases
    return [Case(conversation, (conversation,)) for conversation in openings]


def _joined(openings: dict[str, set[str]], ties: Collection[tuple[str, str]]) -> list[Case]:
    """Connected components of conversations over shared openings and ties, each named by its first opening."""
    conversations: dict[str, set[str]] = defaultdict(set)
    tied: dict[str, set[str]] = defaultdict(set)
    for one, other in ties:
        tied[one].add(other)
        tied[other].add(one)
    for conversation, texts in openings.items():
        for text in texts:
            conversations[text].add(conversation)
    cases, seen = [], set()
    for start in openings:
        if start in seen:
            continue
        members, texts, ahead = {start}, set(openings[start]), [start]
        while ahead:
            texts |= openings[ahead[-1]]
            here = ahead.pop()
            near = ({other for text in openings[here] for other in conversations[text]} | tied[here]) - members
            members |= near
            ahead += near
        seen |= members
        cases.append(Case(min(texts), tuple(sorted(members))))
    return cases


def _held_out(cases: Sequence[Case], share: float, seed: int, given: Collection[Split]) -> list[Case]:
    if not cases:
        return []
    place = {case: _place(seed, case.key) for case in cases}
    most = max(1.0, share * sum(len(case.conversations) for case in cases))
    chosen = [case for case in cases if place[case] < share and len(case.conversations) <= most]
    if not chosen and "validation" not in given:
        chosen = [min(cases, key=lambda case: (len(case.conversations), place[case]))]
    if len(chosen) == len(cases) and "train" not in given:
        chosen.remove(max(chosen, key=lambda case: place[case]))
    return chosen


def _place(seed: int, key: str) -> float:
    """A number in [0, 1) that depends on nothing but seed and key."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{key}".encode("utf-8", "replace")).digest()[:8]) / 2**64
