"""Looks for conversations that are held out, but were learned all the same: exactly, or almost."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from journeyman.datasets.duplicates import essence
from journeyman.datasets.near import Pair
from journeyman.errors import InvalidInput
from journeyman.records import Row

NEAR_LEAK = "almost a conversation that is held out"
"""Why rows were left out, where near leaks are dropped."""


def refuse_leaks(rows: Sequence[Row], title: str) -> None:
    """InvalidInput when rows that came with a split put a held-out conversation into train.

    That is a conversation named on both sides, or one that is, or begins, a conversation of the other side.
    """
    given = [row for row in rows if "split" in row.model_fields_set]
    sides = defaultdict(set)
    for row in given:
        sides[row.conversation].add(row.split)
    torn = sorted(conversation for conversation, found in sides.items() if len(found) > 1)
    if torn:
        raise InvalidInput(f"{title}: conversations in both train and validation: {_few(torn)}; choose one side")
    said = {
        side: [(row, essence(row.messages)) for row in given if row.split == side] for side in ("train", "validation")
    }
    for side, other in (("train", "validation"), ("validation", "train")):
        begun = {each for _, hashes in said[other] for each in hashes}
        leaked = [row.conversation for row, hashes in said[side] if hashes[-1] in begun]
        if leaked:
            raise InvalidInput(
                f"{title}: what these {side} conversations say is in {other}, too: {_few(leaked)}; a model would be "
                "measured on what it has learned. Leave them out of one side"
            )


def near_leaks(rows: Sequence[Row], pairs: Iterable[Pair]) -> list[int]:
    """The places of rows to train on that are near to a row that is held out."""
    found = set()
    for pair in pairs:
        sides = {rows[place].split: place for place in (pair.first, pair.second)}
        if len(sides) == 2:
            found.add(sides["train"])
    return sorted(found)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
