"""Attention of a flat batch over the pages of the cache."""

import torch
from torch.nn.functional import scaled_dot_product_attention

from journeyman.engines.local.network.ops import Heads, Ops, Pages
from journeyman.engines.local.network.step import PAGE, Part, Step


def attend(ops: Ops, mixed: torch.Tensor, heads: Heads, pages: Pages, step: Step) -> torch.Tensor:
    """What each token sees, [tokens, queries × size]; `mixed` is as `Ops.rotate_and_keep` leaves it."""
    out = mixed.new_empty(len(mixed), heads.queries * heads.size)
    if step.rows:
        ops.attend(mixed, heads, pages, step, out)
    for part in step.chunks:
        _attend_chunk(mixed, heads, pages, step, part, out)
    return out


def _attend_chunk(mixed: torch.Tensor, heads: Heads, pages: Pages, step: Step, part: Part, out: torch.Tensor) -> None:
    """Many tokens of one request: its pages are laid out in order once, for all of them."""
    rows = slice(part.offset, part.offset + part.length)
    used = torch.tensor(part.pages[: -(-part.end // PAGE)])
    keys = pages.keys[used].permute(1, 0, 3, 2).reshape(1, heads.keys, -1, heads.size)[:, :, : part.end]
    values = pages.values[used].permute(1, 0, 2, 3).reshape(1, heads.keys, -1, heads.size)[:, :, : part.end]
    query = mixed[rows, : heads.queries * heads.size].view(1, part.length, heads.queries, heads.size).transpose(1, 2)
    whole = part.start == 0 and not heads.window
    seen = scaled_dot_product_attention(
        query, keys, values, attn_mask=None if whole else _bias(step, part, heads.window, mixed.dtype),
        is_causal=whole, scale=heads.scale, enable_gqa=True,
    )  # fmt: skip
    out[rows] = seen[0].transpose(0, 1).flatten(1)


def _bias(step: Step, part: Part, window: int, dtype: torch.dtype) -> torch.Tensor:
    """0 where a position may be seen and minus infinity elsewhere: in this form no layer has to convert it."""
    known: torch.Tensor | None = step.memo.get((window, part.offset))
    if known is not None:
        return known
    rows = torch.arange(part.start, part.end)[:, None]
    columns = torch.arange(part.end)
    visible = columns <= rows
    if window:
        visible &= columns > rows - window
    bias = torch.zeros(visible.shape, dtype=dtype).masked_fill_(~visible, float("-inf"))
    step.memo[window, part.offset] = bias
    return bias
