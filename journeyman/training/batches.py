"""Conversations packed into one flat forward pass: their shared prefix once, and no row sees another.

The loss of a pack is exactly the sum of its rows' losses computed alone; only the arithmetic is saved.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from journeyman.rendering.masks import MaskedTokens


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie in a flat pass: `prefix` tokens that every row continues, then the rows' own tokens."""

    prefix: int
    rows: tuple[tuple[int, int], ...]
    """(first, last + 1) of each row's own tokens."""


@dataclass(frozen=True, slots=True)
class Pack:
    """One forward pass: ids and positions [tokens], and for each target the index whose logits predict it."""

    ids: torch.Tensor
    positions: torch.Tensor
    layout: Layout
    predictors: torch.Tensor
    targets: torch.Tensor


def pack_rows(rows: Sequence[MaskedTokens], most_tokens: int) -> list[Pack]:
    """Rows in their order, as many to a pack as fit in `most_tokens`; a longer row has a pack of its own."""
    packs: list[list[MaskedTokens]] = []
    size = 0
    for row in rows:
        if packs:
            prefix = shared_prefix([*packs[-1], row])
            size = prefix + sum(len(member.ids) - prefix for member in [*packs[-1], row])
        if packs and size <= most_tokens:
            packs[-1].append(row)
        else:
            packs.append([row])
    return [_pack(members) for members in packs]


def shared_prefix(rows: Sequence[MaskedTokens]) -> int:
    """How many first tokens all rows have in common, short of anything that predicts a target."""
    length = min(row.mask.index(True) - 1 for row in rows)
    first = rows[0].ids
    for row in rows[1:]:
        same = 0
        while same < length and row.ids[same] == first[same]:
            same += 1
        length = same
    return max(length, 0) if len(rows) > 1 else 0


def _pack(rows: Sequence[MaskedTokens]) -> Pack:
    prefix = shared_prefix(rows)
    ids = list(rows[0].ids[:prefix])
    positions = list(range(prefix))
    bounds: list[tuple[int, int]] = []
    predictors: list[int] = []
    targets: list[int] = []
    for row in rows:
        start = len(ids)
        ids += row.ids[prefix:]
        positions += range(prefix, len(row.ids))
        bounds.append((start, len(ids)))
        for position in range(prefix + 1, len(row.ids)):
            if row.mask[position]:
                predictors.append(start + position - prefix - 1)
                targets.append(row.ids[position])
    return Pack(
        torch.tensor(ids),
        torch.tensor(positions),
        Layout(prefix, tuple(bounds)),
        torch.tensor(predictors),
        torch.tensor(targets),
    )
