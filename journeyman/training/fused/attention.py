"""Attention within a pack, block by block: no mask over the whole pack, and no weights kept for the backward pass."""

from collections.abc import Iterator
from functools import lru_cache

import torch

from journeyman.training.attention import seen_by_segments
from journeyman.training.batches import Layout, Segment

BLOCK = 128
"""Queries whose weights exist at the same time; what lies after a block's last query is not computed at all."""


def rotated(heads: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor, *, back: bool = False) -> torch.Tensor:
    """Rotary positions: `heads` [tokens, key heads, group, size] as [key heads, tokens, group, size].

    `cosine` and `sine` are [tokens, 1, size / 2]. `back` is the backward pass: the inverse rotation, from the second
    order of dimensions to the first.
    """
    turned = heads.permute(1, 0, 2, 3)
    found = torch.empty(turned.shape, dtype=heads.dtype, device=heads.device)
    half = heads.shape[-1] // 2
    # Tokens are the second dimension before the rotation, the first one behind the inverse.
    cosine, sine = (each[:, None] if back else each for each in (cosine, sine))
    sign = -1.0 if back else 1.0
    first, second = turned[..., :half], turned[..., half:]
    torch.mul(first, cosine, out=found[..., :half]).addcmul_(second, sine, value=-sign)
    torch.mul(second, cosine, out=found[..., half:]).addcmul_(first, sine, value=sign)
    return found


def attend(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, layout: Layout, window: int | None
) -> torch.Tensor:
    """Each segment sees what it continues and its own past.

    `queries` is [key heads, tokens, group, size] and scaled, `keys` and `values` [key heads, tokens, size]; returns
    what `queries` is shaped like.
    """
    found = torch.empty_like(queries)
    for path, seen_keys, seen_values in seen_by_segments(keys, values, layout):
        for at, end, seen in _blocks(path[-1], seen_keys):
            weights = _weights(queries[:, at:end], seen_keys[:, :seen], window)
            torch.bmm(weights, seen_values[:, :seen], out=found[:, at:end].flatten(1, 2))
    return found


def attend_backward(
    gradient: torch.Tensor,
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    layout: Layout,
    window: int | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of the scaled queries, of keys and of values."""
    of_queries, of_keys, of_values = torch.empty_like(queries), torch.zeros_like(keys), torch.zeros_like(values)
    for path, seen_keys, seen_values in seen_by_segments(keys, values, layout):
        path_keys, path_values = torch.zeros_like(seen_keys), torch.zeros_like(seen_values)
        for at, end, seen in _blocks(path[-1], seen_keys):
            weights = _weights(queries[:, at:end], seen_keys[:, :seen], window)
            asked, wanted = queries[:, at:end].flatten(1, 2), gradient[:, at:end].flatten(1, 2)
            path_values[:, :seen].baddbmm_(weights.transpose(1, 2), wanted)
            slopes = torch.bmm(wanted, seen_values[:, :seen].transpose(1, 2))
            slopes = torch._softmax_backward_data(slopes, weights, -1, weights.dtype)
            torch.bmm(slopes, seen_keys[:, :seen], out=of_queries[:, at:end].flatten(1, 2))
            path_keys[:, :seen].baddbmm_(slopes.transpose(1, 2), asked)
        lengths = [each.last - each.first for each in path]
        for total, parts in (
            (of_keys, torch.split(path_keys, lengths, dim=1)),
            (of_values, torch.split(path_values, lengths, dim=1)),
        ):
            for each, part in zip(path, parts, strict=True):
                total[:, each.first : each.last] += part
    return of_queries, of_keys, of_values


def _blocks(own: Segment, seen_keys: torch.Tensor) -> Iterator[tuple[int, int, int]]:
    """First and last + 1 of some queries, and how many keys the last of them sees."""
    before = seen_keys.shape[1] - (own.last - own.first)
    for at in range(own.first, own.last, BLOCK):
        end = min(at + BLOCK, own.last)
        yield at, end, before + end - own.first


def _weights(queries: torch.Tensor, keys: torch.Tensor, window: int | None) -> torch.Tensor:
    """Softmax weights [key heads, queries · group, seen]."""
    heads, count, group, _ = queries.shape
    seen = keys.shape[1]
    scores = torch.bmm(queries.flatten(1, 2), keys.transpose(1, 2))
    # Without a window, all that a query may not see lies among the block's own keys.
    own = seen if window is not None else count
    scores.view(heads, count, group, seen)[..., seen - own :].add_(
        _hidden(count, own, window, scores.dtype, scores.device)
    )
    return torch.softmax(scores, dim=-1)


@lru_cache(maxsize=32)
def _hidden(count: int, own: int, window: int | None, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """−∞ where a key comes after a query, or too long before it [queries, 1, keys]."""
    asked = torch.arange(own - count, own, device=device)[:, None]
    keys = torch.arange(own, device=device)
    hidden = keys > asked
    if window is not None:
        hidden |= keys <= asked - window
    return torch.zeros(count, own, dtype=dtype, device=device).masked_fill_(hidden, float("-inf"))[:, None]
