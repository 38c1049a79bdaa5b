"""Conversations packed into one flat forward pass: what they begin alike with once, and no row sees another.

The rows of a pack stand as a tree of segments: a system prompt, the scenarios behind it, the attempts at each, the
turns where attempts part. Every distinct token passes through the network once, forward and backward. The loss of a
pack is exactly the sum of its rows' losses computed alone; only the arithmetic is saved.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from journeyman.rendering.masks import MaskedTokens

LEAST_SHARED = 16
"""Fewer tokens than these are computed again rather than shared: another segment costs more than they do."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens [first, last) of a flat pass; they continue those of the segment `parent`, None where they begin."""

    first: int
    last: int
    parent: int | None


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie in a flat pass: segments, each behind the one that it continues, and each row's last token."""

    segments: tuple[Segment, ...]
    ends: tuple[int, ...]

    def path(self, number: int) -> list[Segment]:
        """The segments from the beginning up to this one: what its tokens may see."""
        found = [self.segments[number]]
        while found[-1].parent is not None:
            found.append(self.segments[found[-1].parent])
        return found[::-1]


@dataclass(frozen=True, slots=True)
class Pack:
    """One forward pass: ids and positions [tokens], and for each target the index whose logits predict it.

    Targets stand row by row; rows that share sampled tokens have the same predictors.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    layout: Layout
    predictors: torch.Tensor
    targets: torch.Tensor


def pack_rows(rows: Sequence[MaskedTokens], most_tokens: int) -> list[Pack]:
    """Rows in their order, as many to a pack as fit in `most_tokens`; a longer row has a pack of its own."""
    packs: list[Pack] = []
    tree = _Tree()
    for row in rows:
        if tree.rows and tree.tokens + len(row.ids) - tree.known(row.ids) > most_tokens:
            packs.append(tree.pack())
            tree = _Tree()
        tree.add(row)
    return [*packs, tree.pack()] if tree.rows else packs


@dataclass(slots=True, eq=False)
class _Node:
    """Tokens from position `start` on, and what continues them."""

    ids: tuple[int, ...]
    start: int
    parent: "_Node | None" = None
    children: "list[_Node]" = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.start + len(self.ids)


class _Tree:
    """Rows as a tree of what they begin alike with."""

    def __init__(self) -> None:
        self.rows: list[tuple[MaskedTokens, _Node]] = []
        self.tokens = 0
        self._root = _Node((), 0)

    def known(self, ids: tuple[int, ...]) -> int:
        """How many first tokens of a row need not be computed again."""
        node, same = self._follow(ids)
        return node.start + (same if self._is_shared(node, same, ids) else 0)

    def add(self, row: MaskedTokens) -> None:
        ids = row.ids
        node, same = self._follow(ids)
        if not self._is_shared(node, same, ids):
            assert node.parent is not None
            node = node.parent
            same = len(node.ids)
        if node.start + same < len(ids):
            if same < len(node.ids):
                node = _split(node, same)
            rest = ids[node.end :]
            new = _Node(rest, node.end, node)
            node.children.append(new)
            self.tokens += len(rest)
            node = new
        self.rows.append((row, node))

    def pack(self) -> Pack:
        """The rows' one pass."""
        ids: list[int] = []
        positions: list[int] = []
        segments: list[Segment] = []
        numbers: dict[int, int] = {}
        for node in _walk(self._root):
            numbers[id(node)] = len(segments)
            parent = None if node.parent is self._root else numbers[id(node.parent)]
            segments.append(Segment(len(ids), len(ids) + len(node.ids), parent))
            ids += node.ids
            positions += range(node.start, node.end)
        places = [self._places(row, node, numbers, segments) for row, node in self.rows]
        targets = [
            (places[number][at - 1], row.ids[at])
            for number, (row, _) in enumerate(self.rows)
            for at in range(1, len(row.ids))
            if row.mask[at]
        ]
        return Pack(
            torch.tensor(ids),
            torch.tensor(positions),
            Layout(tuple(segments), tuple(each[-1] for each in places)),
            torch.tensor([index for index, _ in targets], dtype=torch.long),
            torch.tensor([token for _, token in targets], dtype=torch.long),
        )

    def _follow(self, ids: tuple[int, ...]) -> tuple[_Node, int]:
        """The node where a row leaves the tree, and how many of its tokens are the row's."""
        node, same = self._root, 0
        while same == len(node.ids) and node.end < len(ids):
            found = [(_common(child.ids, ids, node.end), child) for child in node.children]
            longest, child = max(found, key=lambda each: each[0], default=(0, node))
            if longest == 0:
                break
            node, same = child, longest
        return node, same

    def _is_shared(self, node: _Node, same: int, ids: tuple[int, ...]) -> bool:
        """Whether what a row has in common with a node is worth a segment, or one already."""
        return same == len(node.ids) or node.start + same == len(ids) or same >= LEAST_SHARED

    def _places(
        self, row: MaskedTokens, node: _Node, numbers: dict[int, int], segments: Sequence[Segment]
    ) -> list[int]:
        """Where each of a row's tokens lies in the flat pass."""
        found: list[int] = []
        left: _Node | None = node
        while left is not None and left is not self._root:
            # A node that was split after the row came may begin behind the row's end.
            first = segments[numbers[id(left)]].first
            found[:0] = range(first, first + min(left.end, len(row.ids)) - left.start)
            left = left.parent
        return found


def _split(node: _Node, at: int) -> _Node:
    """Cut a node in two; returns the upper part. The lower one stays what the rows know."""
    assert node.parent is not None
    upper = _Node(node.ids[:at], node.start, node.parent, [node])
    siblings = node.parent.children
    siblings[siblings.index(node)] = upper
    node.ids, node.start, node.parent = node.ids[at:], node.start + at, upper
    return upper


def _walk(root: _Node) -> Iterator[_Node]:
    """Every node but the root, parents before their children and families together."""
    waiting = root.children[::-1]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += node.children[::-1]


def _common(ours: tuple[int, ...], ids: tuple[int, ...], start: int) -> int:
    """How many tokens of `ours` stand in `ids` from `start` on."""
    most = min(len(ours), len(ids) - start)
    if ours[:most] == ids[start : start + most]:
        return most
    return next(at for at in range(most) if ours[at] != ids[start + at])
