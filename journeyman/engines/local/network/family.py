"""What kind of network a model folder holds, for the families that we compute ourselves."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from journeyman.engines.local.network.ops import Activation

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma3_text")
_ACTIVATIONS: dict[str, Activation] = {"silu": "silu", "gelu_pytorch_tanh": "gelu"}
_ROTATIONS = ("default", "linear", "llama3", "yarn")
"""Those whose angles depend on the position alone, not on how long the sequence becomes."""


class NotNative(Exception):
    """Why a network is left to transformers' layers."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What differs between the layers of one network: `window` is 0 for all that came before, `rotation` the key of its
    angles in `Blueprint.rotations`, None for none."""

    window: int
    rotation: str | None


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A decoder of the Llama kind, and in what it departs from Llama's."""

    layers: tuple[Layer, ...]
    hidden: int
    inner: int
    queries: int
    keys: int
    size: int
    vocabulary: int
    epsilon: float
    scale: float
    activation: Activation
    tied: bool
    rotations: dict[str, tuple[torch.Tensor, float]]
    """Angles per position, float32 [head size / 2], and the factor of their cosines and sines."""
    head_norms: bool = False
    """Queries and keys are normed head by head."""
    outer_norms: bool = False
    """What attention and feed-forward return is normed, too."""
    norm_offset: float = 0.0
    embedding_scale: float = 1.0


def read_blueprint(config: Any) -> Blueprint:
    """The blueprint of a transformers configuration; NotNative says what we do not compute."""
    family = config.model_type
    if family not in FAMILIES:
        raise NotNative(f"{family} networks")
    gemma = family == "gemma3_text"
    activation = getattr(config, "hidden_activation" if gemma else "hidden_act", None)
    if activation not in _ACTIVATIONS:
        raise NotNative(f"the activation {activation}")
    for name in ("final_logit_softcapping", "attn_logit_softcapping", "use_bidirectional_attention"):
        if getattr(config, name, None):
            raise NotNative(name)
    if getattr(config, "quantization_config", None):
        raise NotNative("quantised weights")
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    layers = _layers(config)
    return Blueprint(
        layers=layers,
        hidden=config.hidden_size,
        inner=config.intermediate_size,
        queries=config.num_attention_heads,
        keys=config.num_key_value_heads or config.num_attention_heads,
        size=size,
        vocabulary=config.vocab_size,
        epsilon=config.rms_norm_eps,
        scale=(config.query_pre_attn_scalar if gemma else size) ** -0.5,
        activation=_ACTIVATIONS[activation],
        tied=config.tie_word_embeddings,
        rotations={key: _angles(config, key, size) for layer in layers if (key := layer.rotation) is not None},
        head_norms=gemma or family == "qwen3",
        outer_norms=gemma,
        norm_offset=1.0 if gemma else 0.0,
        embedding_scale=math.sqrt(config.hidden_size) if gemma else 1.0,
    )


def _layers(config: Any) -> tuple[Layer, ...]:
    count = config.num_hidden_layers
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * count
    if unknown := set(kinds) - {"full_attention", "sliding_attention"}:
        raise NotNative(f"layers of type {', '.join(sorted(unknown))}")
    window = getattr(config, "sliding_window", None) or 0
    if config.model_type == "mistral":
        kinds = ["sliding_attention" if window else "full_attention"] * count
    rotated = getattr(config, "no_rope_layers", None) or [1] * count
    by_kind = "rope_theta" not in config.rope_parameters
    return tuple(
        Layer(window if kind == "sliding_attention" else 0, (kind if by_kind else "all") if rotates else None)
        for kind, rotates in zip(kinds, rotated, strict=True)
    )


def _angles(config: Any, key: str, size: int) -> tuple[torch.Tensor, float]:
    parameters = config.rope_parameters if key == "all" else config.rope_parameters[key]
    kind = parameters.get("rope_type", "default")
    if kind not in _ROTATIONS:
        raise NotNative(f"rotary embeddings of type {kind}")
    if parameters.get("partial_rotary_factor", 1.0) != 1.0:
        raise NotNative("rotary embeddings of a part of each head")
    if kind == "default":
        return 1.0 / parameters["rope_theta"] ** (torch.arange(0, size, 2).float() / size), 1.0
    angles, factor = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"), layer_type=None if key == "all" else key)
    return angles.float(), factor


def rotation_tables(blueprint: Blueprint, positions: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Cosines and sines, float32 [positions, head size / 2], for each kind of rotation."""
    tables = {}
    for key, (angles, factor) in blueprint.rotations.items():
        turned = torch.outer(torch.arange(positions).float(), angles)
        tables[key] = ((turned.cos() * factor).contiguous(), (turned.sin() * factor).contiguous())
    return tables
