"""A decoder's layers between embedding and head, built from the modules of a network that transformers loaded.

The weights stay where they are: PEFT's adapters and the frozen layers are looked at, not copied.
"""

from typing import Any

import torch
from peft.tuners.lora import Linear as AdaptedLinear
from transformers import PreTrainedModel

from journeyman.training.batches import Pack
from journeyman.training.fused.blocks import AttentionBlock, ForwardBlock, Setting
from journeyman.training.fused.norms import Norm
from journeyman.training.fused.products import Product

_FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3"})
"""Whose layers are the two blocks and nothing else; every other family is computed by transformers' own code."""


class FusedTrunk:
    """What `network.get_decoder()` computes, for packs."""

    def __init__(self, network: PreTrainedModel) -> None:
        decoder: Any = network.get_decoder()
        self._embedding, self._rotary, self._norm = decoder.embed_tokens, decoder.rotary_emb, decoder.norm
        window = network.config.sliding_window if network.config.model_type == "mistral" else None
        self._layers = [
            (_attention_block(layer, getattr(layer.self_attn, "sliding_window", window)), _forward_block(layer))
            for layer in decoder.layers
        ]

    def __call__(self, pack: Pack, indices: torch.Tensor) -> torch.Tensor:
        """The last hidden states [indices, hidden] at some of the pack's flat indices."""
        device = self._embedding.weight.device
        stream = self._embedding(pack.ids.to(device))
        cosine, sine = self._rotary(stream[None], position_ids=pack.positions[None].to(device))
        half = cosine.shape[-1] // 2
        setting = Setting(pack.layout, cosine[0, :, None, :half].contiguous(), sine[0, :, None, :half].contiguous())
        last = len(self._layers) - 1
        for number, (attention, forward) in enumerate(self._layers):
            stream = attention(stream, setting)
            if number == last:
                # Nobody looks at what the last layer says of the others.
                stream = stream[indices.to(device)]
            stream = forward(stream)
        return self._norm(stream)  # type: ignore[no-any-return]


def fuse(network: PreTrainedModel) -> FusedTrunk | None:
    """The fused trunk of a network whose adapters, if any, are plain LoRA without dropout; None where it has none."""
    config = network.config
    known = config.model_type in _FAMILIES and getattr(config, "hidden_act", "") == "silu"
    partial = getattr(config, "rope_parameters", None) or {}
    if not known or partial.get("partial_rotary_factor", 1.0) != 1.0:
        return None
    adapted = [module for module in network.modules() if isinstance(module, AdaptedLinear)]
    return FusedTrunk(network) if all(map(_is_plain, adapted)) else None


def _is_plain(module: Any) -> bool:
    name = "default"
    dropped = not isinstance(module.lora_dropout[name], torch.nn.Identity)
    return list(module.lora_A) == [name] and not (
        dropped or module.lora_B[name].bias is not None or module.use_dora[name]
    )


def _attention_block(layer: Any, window: int | None) -> AttentionBlock:
    attention = layer.self_attn
    named = hasattr(attention, "q_norm")
    return AttentionBlock(
        _norm(layer.input_layernorm),
        (_product(attention.q_proj), _product(attention.k_proj), _product(attention.v_proj)),
        _product(attention.o_proj),
        (_norm(attention.q_norm), _norm(attention.k_norm)) if named else None,
        attention.head_dim,
        attention.scaling,
        window,
    )


def _forward_block(layer: Any) -> ForwardBlock:
    forward = layer.mlp
    return ForwardBlock(
        _norm(layer.post_attention_layernorm),
        (_product(forward.gate_proj), _product(forward.up_proj)),
        _product(forward.down_proj),
    )


def _norm(module: Any) -> Norm:
    return Norm(module.weight.detach(), module.variance_epsilon)


def _product(module: Any) -> Product:
    if not isinstance(module, AdaptedLinear):
        return Product(module.weight.detach(), _detached(module.bias), None, 1.0)
    base = module.get_base_layer()
    adapter = (module.lora_A["default"].weight, module.lora_B["default"].weight)
    return Product(base.weight.detach(), _detached(base.bias), adapter, module.scaling["default"])


def _detached(bias: torch.Tensor | None) -> torch.Tensor | None:
    return None if bias is None else bias.detach()
