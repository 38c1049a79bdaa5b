"""The two blocks of a decoder's layer as functions with a backward pass of their own.

Kept are a block's input, the attention's rotated heads and result, the feed-forward's two products, and the adapters'
inner products; norms, attention weights and activations are computed again.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import silu

from journeyman.training.batches import Layout
from journeyman.training.fused.attention import attend, attend_backward, rotated
from journeyman.training.fused.norms import Norm
from journeyman.training.fused.products import Product, products, products_backward


@dataclass(frozen=True, slots=True)
class Setting:
    """Where the tokens of a pass stand; `cosine` and `sine` are [tokens, 1, size / 2]."""

    layout: Layout
    cosine: torch.Tensor
    sine: torch.Tensor


@dataclass(frozen=True, slots=True)
class AttentionBlock:
    """x + attention(norm(x)); `head_norms` are those of queries and keys, where a family has them."""

    norm: Norm
    into: tuple[Product, Product, Product]
    leave: Product
    head_norms: tuple[Norm, Norm] | None
    size: int
    scaling: float
    window: int | None

    def __call__(self, stream: torch.Tensor, setting: Setting) -> torch.Tensor:
        """[tokens, hidden] → [tokens, hidden]."""
        learned = [value for layer in (*self.into, self.leave) for value in layer.learned]
        found: torch.Tensor = _Attention.apply(stream, self, setting, *learned)  # type: ignore[no-untyped-call]
        return found


@dataclass(frozen=True, slots=True)
class ForwardBlock:
    """x + down(silu(gate(norm(x))) · up(norm(x)))."""

    norm: Norm
    widen: tuple[Product, Product]
    narrow: Product

    def __call__(self, stream: torch.Tensor) -> torch.Tensor:
        """[tokens, hidden] → [tokens, hidden]."""
        learned = [value for layer in (*self.widen, self.narrow) for value in layer.learned]
        found: torch.Tensor = _Forward.apply(stream, self, *learned)  # type: ignore[no-untyped-call]
        return found


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, stream: torch.Tensor, block: AttentionBlock, setting: Setting, *learned: torch.Tensor
    ) -> torch.Tensor:
        scales = block.norm.scales(stream)
        heads, inner = products(block.norm.apply(stream, scales), block.into)
        key_heads = heads[1].shape[1] // block.size
        queries, keys, values = (each.view(len(stream), key_heads, -1, block.size) for each in heads)
        plain: list[torch.Tensor] = []
        if block.head_norms is not None:
            plain = [queries, keys]
            queries, keys = (
                norm.apply(each, norm.scales(each)) for norm, each in zip(block.head_norms, plain, strict=True)
            )
        queries = rotated(queries, setting.cosine * block.scaling, setting.sine * block.scaling)
        keys = rotated(keys, setting.cosine, setting.sine)[:, :, 0]
        values = values[:, :, 0].transpose(0, 1).contiguous()
        seen = attend(queries, keys, values, setting.layout, block.window)
        seen = seen.permute(1, 0, 2, 3).reshape(len(stream), -1)
        (found,), left = products(seen, (block.leave,), added=stream)
        context.save_for_backward(stream, scales, queries, keys, values, seen, inner, left, *plain)
        context.block, context.setting = block, setting
        return found

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        block, setting = context.block, context.setting
        stream, scales, queries, keys, values, seen, inner, left, *plain = context.saved_tensors
        gradient = gradient.contiguous()
        of_seen, of_leave = products_backward((gradient,), seen, left, (block.leave,))
        assert of_seen is not None
        heads, tokens, group, size = queries.shape
        of_seen = of_seen.view(tokens, heads, group, size).permute(1, 0, 2, 3).contiguous()
        of_queries, of_keys, of_values = attend_backward(of_seen, queries, keys, values, setting.layout, block.window)
        of_queries = rotated(of_queries, setting.cosine * block.scaling, setting.sine * block.scaling, back=True)
        of_keys = rotated(of_keys[:, :, None], setting.cosine, setting.sine, back=True)
        if block.head_norms is not None:
            of_queries, of_keys = (
                norm.backward(each, inputs, norm.scales(inputs))
                for norm, each, inputs in zip(block.head_norms, (of_queries, of_keys), plain, strict=True)
            )
        slopes = [each.reshape(tokens, -1) for each in (of_queries, of_keys, of_values.transpose(0, 1))]
        wanted = context.needs_input_grad[0]
        inputs = block.norm.apply(stream, scales)
        of_inputs, of_into = products_backward(slopes, inputs, inner, block.into, wanted=wanted)
        return _stream_gradient(block.norm, of_inputs, stream, scales, gradient), None, None, *of_into, *of_leave


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, stream: torch.Tensor, block: ForwardBlock, *learned: torch.Tensor) -> torch.Tensor:
        scales = block.norm.scales(stream)
        (gate, up), inner = products(block.norm.apply(stream, scales), block.widen)
        (found,), narrowed = products(silu(gate).mul_(up), (block.narrow,), added=stream)
        context.save_for_backward(stream, scales, gate, up, inner, narrowed)
        context.block = block
        return found

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        block = context.block
        stream, scales, gate, up, inner, narrowed = context.saved_tensors
        gradient = gradient.contiguous()
        opened = silu(gate)
        of_active, of_narrow = products_backward((gradient,), opened * up, narrowed, (block.narrow,))
        assert of_active is not None
        of_up = opened.mul_(of_active)
        of_gate = torch.ops.aten.silu_backward(of_active.mul_(up), gate)
        inputs = block.norm.apply(stream, scales)
        of_inputs, of_widen = products_backward(
            (of_gate, of_up), inputs, inner, block.widen, wanted=context.needs_input_grad[0]
        )
        return _stream_gradient(block.norm, of_inputs, stream, scales, gradient), None, *of_widen, *of_narrow


def _stream_gradient(
    norm: Norm, of_inputs: torch.Tensor | None, stream: torch.Tensor, scales: torch.Tensor, gradient: torch.Tensor
) -> torch.Tensor | None:
    """What flows on below a block: through its norm, and past it."""
    return None if of_inputs is None else norm.backward(of_inputs, stream, scales).add_(gradient)
