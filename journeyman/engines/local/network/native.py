"""Networks of the Llama kind, computed layer by layer with fused operations; every token of a step at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from journeyman.engines.local.network.attention import attend
from journeyman.engines.local.network.family import Blueprint, NotNative, rotation_tables
from journeyman.engines.local.network.linear import Frozen, Int8Linear
from journeyman.engines.local.network.ops import Heads, Ops, Pages
from journeyman.engines.local.network.sites import Site, site
from journeyman.engines.local.network.step import Step
from journeyman.engines.local.network.weights import WeightFiles

_SITES = 4
"""Adapters act on four products of a layer: into attention, out of it, into the feed-forward, out of it."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """The weights of one layer. Norms are float32; `norm_after_*` are None where the family has none."""

    heads: Heads
    norm_attention: torch.Tensor
    mix: Frozen
    leave: Frozen
    norm_after_attention: torch.Tensor | None
    norm_forward: torch.Tensor
    widen: Frozen
    narrow: Frozen
    norm_after_forward: torch.Tensor | None


class NativeNetwork:
    """A network built from a blueprint and its weights. NotNative when its files hold more than the blueprint knows."""

    path = "native"

    def __init__(
        self, blueprint: Blueprint, files: WeightFiles, ops: Ops, *, positions: int, int8: bool = False
    ) -> None:
        self._ops, self._blueprint = ops, blueprint
        rotations = rotation_tables(blueprint, positions)
        builder = _Builder(blueprint, files, Int8Linear if int8 else ops.freeze)
        self._embedding = files.take("model.embed_tokens.weight")
        self.vocabulary, hidden = self._embedding.shape
        if (self.vocabulary, hidden) != (blueprint.vocabulary, blueprint.hidden):
            raise files.unlike(
                f"there are {self.vocabulary} tokens of {hidden} numbers in its weights, and {blueprint.vocabulary} of "
                f"{blueprint.hidden} in its config.json"
            )
        self._layers = [
            builder.layer(number, Heads(
                blueprint.queries, blueprint.keys, blueprint.size, blueprint.scale,
                rotations[layer.rotation] if layer.rotation else None,
                builder.head_norms(number), blueprint.epsilon, layer.window,
            ))
            for number, layer in enumerate(blueprint.layers)
        ]  # fmt: skip
        self._norm = builder.norm("model.norm")
        files.left -= {"lm_head.weight"} if blueprint.tied else set()
        head = self._embedding if blueprint.tied else files.take("lm_head.weight")
        self._head = builder.freeze(head, None)
        self._dtype = head.dtype
        self._head_weight = None if int8 or head.dtype is torch.float32 else head
        files.left -= {name for name in files.left if name.endswith("rotary_emb.inv_freq")}
        if files.left:
            raise NotNative(f"weights such as {min(files.left)}")
        self.sites = builder.sites

    def hidden(self, step: Step, pages: Sequence[Pages], wanted: torch.Tensor) -> torch.Tensor:
        """Last hidden states [wanted, hidden] of the tokens at the flat indices `wanted`, float32."""
        ops, blueprint, dtype = self._ops, self._blueprint, self._dtype
        stream = self._embedding[torch.tensor(step.ids)]
        if blueprint.embedding_scale != 1.0:
            # Rounded, as the model was trained.
            stream = stream * torch.tensor(blueprint.embedding_scale, dtype=stream.dtype)
        # Sixty outputs add up in it: rounded each time, they would lose half of what bfloat16 can say.
        stream = stream.float()
        added: torch.Tensor | None = None
        for number, (layer, cached) in enumerate(zip(self._layers, pages, strict=True)):
            first = number * _SITES
            inputs = ops.norm(stream, added, layer.norm_attention, blueprint.epsilon, dtype)
            mixed = self._adapted(layer.mix, inputs, step, first)
            ops.rotate_and_keep(mixed, layer.heads, cached, step)
            seen = attend(ops, mixed, layer.heads, cached, step)
            added = self._adapted(layer.leave, seen, step, first + 1)
            if layer.norm_after_attention is not None:
                added = ops.norm(added.float(), None, layer.norm_after_attention, blueprint.epsilon, dtype)
            inputs = ops.norm(stream, added, layer.norm_forward, blueprint.epsilon, dtype)
            both = self._adapted(layer.widen, inputs, step, first + 2)
            added = self._adapted(layer.narrow, ops.gate(both, blueprint.activation), step, first + 3)
            if layer.norm_after_forward is not None:
                added = ops.norm(added.float(), None, layer.norm_after_forward, blueprint.epsilon, dtype)
        assert added is not None
        return ops.norm(stream[wanted] + added[wanted], None, self._norm, blueprint.epsilon, torch.float32)

    def logits(self, step: Step, pages: Sequence[Pages], wanted: torch.Tensor) -> torch.Tensor:
        """[wanted, vocabulary] in float32; with weights of 8 bits in bfloat16."""
        hidden = self.hidden(step, pages, wanted)
        logits = self._head(hidden.to(self._dtype))
        return logits if self._head_weight is None else self._ops.widen_logits(logits, hidden, self._head_weight)

    def _adapted(self, layer: Frozen, inputs: torch.Tensor, step: Step, number: int) -> torch.Tensor:
        outputs = layer(inputs)
        if step.spans:
            self._ops.lora(outputs, inputs, step, number)
        return outputs


class _Builder:
    """Reads layers from the files, and notes where adapters act."""

    def __init__(self, blueprint: Blueprint, files: WeightFiles, freeze: Callable[..., Frozen]) -> None:
        self._blueprint, self._files, self.freeze = blueprint, files, freeze
        self.sites: list[Site] = []

    def layer(self, number: int, heads: Heads) -> _Layer:
        """Everything of one layer; its sites are appended in the order in which the network passes them."""
        name, blueprint = f"model.layers.{number}", self._blueprint
        outer = blueprint.outer_norms
        attention, forward = f"{name}.self_attn", f"{name}.mlp"
        queries, keys = blueprint.queries * blueprint.size, blueprint.keys * blueprint.size
        return _Layer(
            heads,
            self.norm(f"{name}.input_layernorm"),
            self._linear(
                blueprint.hidden,
                (f"{attention}.q_proj", queries), (f"{attention}.k_proj", keys), (f"{attention}.v_proj", keys),
            ),
            self._linear(queries, (f"{attention}.o_proj", blueprint.hidden)),
            self.norm(f"{name}.post_attention_layernorm") if outer else None,
            self.norm(f"{name}.{'pre_feedforward' if outer else 'post_attention'}_layernorm"),
            self._linear(
                blueprint.hidden, (f"{forward}.gate_proj", blueprint.inner), (f"{forward}.up_proj", blueprint.inner)
            ),
            self._linear(blueprint.inner, (f"{forward}.down_proj", blueprint.hidden)),
            self.norm(f"{name}.post_feedforward_layernorm") if outer else None,
        )  # fmt: skip

    def head_norms(self, number: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Norms of the query and key heads."""
        if not self._blueprint.head_norms:
            return None
        name = f"model.layers.{number}.self_attn"
        return self.norm(f"{name}.q_norm"), self.norm(f"{name}.k_norm")

    def norm(self, name: str) -> torch.Tensor:
        """Weights of a norm, float32."""
        return self._files.take(f"{name}.weight", torch.float32) + self._blueprint.norm_offset

    def _linear(self, inputs: int, *members: tuple[str, int]) -> Frozen:
        """Layers with the same input as one."""
        self.sites.append(site(inputs, *members))
        weight = torch.cat([self._files.take(f"{name}.weight") for name, _ in members])
        if weight.shape != (self.sites[-1].outputs, inputs):
            raise NotNative(f"{members[0][0]} of shape {tuple(weight.shape)}")
        biases = [f"{name}.bias" for name, _ in members]
        if not any(bias in self._files for bias in biases):
            return self.freeze(weight, None)
        return self.freeze(weight, torch.cat([self._files.take(bias) for bias in biases]))
