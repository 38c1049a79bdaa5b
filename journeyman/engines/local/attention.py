"""Attention of a flat batch over the slot cache, registered with transformers under the name `journeyman-slots`.

Every architecture that takes transformers' attention interface runs through it unchanged.
"""

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from journeyman.engines.local.cache import SlotCache
from journeyman.engines.local.step import Part, Step

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
        rows = len(step.decoding)
        _decode(query[0, :, :rows], key[0, :, :rows], value[0, :, :rows], keys, values, step.decoding,
                scaling, sliding_window, output[0, :rows])  # fmt: skip
    for part in step.chunks:
        tokens = slice(part.offset, part.offset + part.length)
        keys[part.slot, :, part.start : part.end] = key[0, :, tokens]
        values[part.slot, :, part.start : part.end] = value[0, :, tokens]
        seen = scaled_dot_product_attention(
            query[:, :, tokens],
            keys[part.slot : part.slot + 1, :, : part.end],
            values[part.slot : part.slot + 1, :, : part.end],
            attn_mask=_causal(part, sliding_window, query.device),
            scale=scaling,
            enable_gqa=True,
        )
        output[:, tokens] = seen.transpose(1, 2)
    return output, None


def _decode(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    parts: list[Part],
    scaling: float,
    sliding_window: int | None,
    output: torch.Tensor,
) -> None:
    # The query heads that share a key head stand as a short sequence: one-token queries would be several times
    # slower. Computing idle slots in between costs less than gathering the busy ones into a copy.
    slots = torch.tensor([part.slot for part in parts])
    starts = torch.tensor([part.start for part in parts])
    keys[slots, :, starts] = key.transpose(0, 1)
    values[slots, :, starts] = value.transpose(0, 1)
    first, last = min(part.slot for part in parts), max(part.slot for part in parts) + 1
    longest = max(part.end for part in parts)
    heads, size = query.shape[0], query.shape[2]
    key_heads = keys.shape[1]
    asked = query.new_zeros(last - first, key_heads, heads // key_heads, size)
    asked[slots - first] = query.transpose(0, 1).reshape(len(parts), key_heads, -1, size)

    ends = torch.ones(last - first, dtype=torch.long)
    ends[slots - first] = starts + 1
    position = torch.arange(longest)
    visible = position < ends[:, None]
    if sliding_window is not None:
        visible &= position >= ends[:, None] - sliding_window
    seen = scaled_dot_product_attention(
        asked,
        keys[first:last, :, :longest],
        values[first:last, :, :longest],
        attn_mask=visible[:, None, None].expand(-1, 1, heads // key_heads, -1),
        scale=scaling,
    )
    output.copy_(seen.flatten(1, 2)[slots - first])


def _causal(part: Part, sliding_window: int | None, device: torch.device) -> torch.Tensor | None:
    if part.start == 0 and part.length == 1:
        return None
    rows = torch.arange(part.start, part.end, device=device)[:, None]
    columns = torch.arange(part.end, device=device)
    visible = columns <= rows
    if sliding_window is not None:
        visible &= columns > rows - sliding_window
    return visible


AttentionInterface.register(NAME, attend)
