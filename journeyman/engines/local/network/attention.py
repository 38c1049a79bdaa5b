"""Attention of a flat batch over the slot cache, registered with transformers under the name `journeyman-slots`.

Every architecture that takes transformers' attention interface runs through it unchanged.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from journeyman.engines.local.network.cache import SlotCache
from journeyman.engines.local.network.step import Part, Step

NAME = "journeyman-slots"
_UNSUPPORTED = ("softcap", "s_aux")


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    step: Step,
    cache: SlotCache,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Write the new keys and values to their slots, and attend to what each request may see.

    `query` is [1, heads, tokens, size], `key` and `value` [1, key heads, tokens, size];
    returns [1, tokens, heads, size].
    """
    for name in _UNSUPPORTED:
        if options.get(name) is not None:
            raise NotImplementedError(f"attention with {name}")
    keys, values = cache.keys[module.layer_idx], cache.values[module.layer_idx]  # type: ignore[index]
    output = torch.empty_like(query.transpose(1, 2))
    if step.decoding:
        rows = _rows(step, sliding_window, query.dtype)
        last = len(step.decoding)
        _decode(query[0, :, :last], key[0, :, :last], value[0, :, :last], keys, values, rows, scaling, output[0, :last])
    for part in step.chunks:
        tokens = slice(part.offset, part.offset + part.length)
        keys[part.slot, :, part.start : part.end] = key[0, :, tokens]
        values[part.slot, :, part.start : part.end] = value[0, :, tokens]
        seen = scaled_dot_product_attention(
            query[:, :, tokens],
            keys[part.slot : part.slot + 1, :, : part.end],
            values[part.slot : part.slot + 1, :, : part.end],
            attn_mask=_causal(step, part, sliding_window, query.dtype),
            scale=scaling,
            enable_gqa=True,
        )
        output[:, tokens] = seen.transpose(1, 2)
    return output, None


@dataclass(frozen=True, slots=True)
class _Rows:
    """The decoding requests of a step, as every layer needs them: `slots` and `starts` of their new tokens, the span
    of slots from the first to the last of them, their places in it, and what each slot may see of its positions."""

    slots: torch.Tensor
    starts: torch.Tensor
    span: slice
    places: torch.Tensor
    longest: int
    bias: torch.Tensor


def _rows(step: Step, sliding_window: int | None, dtype: torch.dtype) -> _Rows:
    known: _Rows | None = step.memo.get((sliding_window, "rows"))
    if known is not None:
        return known
    slots = torch.tensor([part.slot for part in step.decoding])
    starts = torch.tensor([part.start for part in step.decoding])
    first, last = int(slots.min()), int(slots.max()) + 1
    longest = int(starts.max()) + 1
    # An idle slot in between sees one position, so that its softmax, which nobody reads, stays finite.
    ends = torch.ones(last - first, dtype=torch.long)
    ends[slots - first] = starts + 1
    position = torch.arange(longest)
    visible = position < ends[:, None]
    if sliding_window is not None:
        visible &= position >= ends[:, None] - sliding_window
    rows = _Rows(slots, starts, slice(first, last), slots - first, longest, _bias(visible, dtype)[:, None, None])
    step.memo[sliding_window, "rows"] = rows
    return rows


def _decode(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    rows: _Rows,
    scaling: float,
    output: torch.Tensor,
) -> None:
    # The query heads that share a key head stand as a short sequence: one-token queries would be several times
    # slower. Computing idle slots in between costs less than gathering the busy ones into a copy.
    keys[rows.slots, :, rows.starts] = key.transpose(0, 1)
    values[rows.slots, :, rows.starts] = value.transpose(0, 1)
    heads, count, size = query.shape
    key_heads = keys.shape[1]
    asked = query.new_zeros(rows.bias.shape[0], key_heads, heads // key_heads, size)
    asked[rows.places] = query.transpose(0, 1).reshape(count, key_heads, -1, size)
    seen = scaled_dot_product_attention(
        asked,
        keys[rows.span, :, : rows.longest],
        values[rows.span, :, : rows.longest],
        attn_mask=rows.bias.expand(-1, 1, heads // key_heads, -1),
        scale=scaling,
    )
    output.copy_(seen.flatten(1, 2)[rows.places])


def _causal(step: Step, part: Part, sliding_window: int | None, dtype: torch.dtype) -> torch.Tensor:
    known: torch.Tensor | None = step.memo.get((sliding_window, part))
    if known is not None:
        return known
    rows = torch.arange(part.start, part.end)[:, None]
    columns = torch.arange(part.end)
    visible = columns <= rows
    if sliding_window is not None:
        visible &= columns > rows - sliding_window
    bias = _bias(visible, dtype)
    step.memo[sliding_window, part] = bias
    return bias


def _bias(visible: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """0 where a position may be seen and minus infinity elsewhere: in this form no layer has to convert it."""
    return torch.zeros(visible.shape, dtype=dtype).masked_fill_(~visible, float("-inf"))


AttentionInterface.register(NAME, attend)
