"""Attention within a pack, registered with transformers under the name `journeyman-packed`."""

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from journeyman.training.batches import Layout

NAME = "journeyman-packed"
_UNSUPPORTED = ("softcap", "s_aux")


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    layout: Layout,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Each row sees the shared prefix and its own past.

    `query` is [1, heads, tokens, size], `key` and `value` [1, key heads, tokens, size]; returns [1, tokens, heads, size].
    """
    for name in _UNSUPPORTED:
        if options.get(name) is not None:
            raise NotImplementedError(f"attention with {name}")
    prefix = layout.prefix
    seen: list[torch.Tensor] = []
    for first, last in ((0, prefix), *layout.rows):
        if first == last:
            continue
        before = 0 if first < prefix else prefix
        keys, values = key[:, :, first:last], value[:, :, first:last]
        if before:
            keys = torch.cat((key[:, :, :prefix], keys), dim=2)
            values = torch.cat((value[:, :, :prefix], values), dim=2)
        seen.append(
            scaled_dot_product_attention(
                query[:, :, first:last],
                keys,
                values,
                attn_mask=_visible(before, last - first, sliding_window, query.device),
                scale=scaling,
                enable_gqa=True,
            )
        )
    return torch.cat(seen, dim=2).transpose(1, 2), None


def _visible(before: int, length: int, sliding_window: int | None, device: torch.device) -> torch.Tensor:
    rows = torch.arange(before, before + length, device=device)[:, None]
    columns = torch.arange(before + length, device=device)
    visible = columns <= rows
    if sliding_window is not None:
        visible &= columns > rows - sliding_window
    return visible


AttentionInterface.register(NAME, attend)
