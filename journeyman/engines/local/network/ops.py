"""The operations of a forward pass that PyTorch has no fused operator for.

`TorchOps` is their definition, in plain PyTorch; `KernelOps` computes the same in C, several times as fast. Activations
are [tokens, width] in the model's precision.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch.nn.functional import gelu, scaled_dot_product_attention, silu

from journeyman.engines.local.network.linear import Frozen, freeze
from journeyman.engines.local.network.step import PAGE, Span, Step
from journeyman.engines.local.sampling.plain import draw_plain

Activation = Literal["silu", "gelu"]
NEAR = 12.0
"""Below a row's greatest logit; all the tokens further down have next to no share in what is drawn."""


@dataclass(frozen=True, slots=True)
class Pages:
    """One layer of the cache: keys [pages, key heads, head size, PAGE], values [pages, key heads, PAGE, head size].

    Keys lie across, so that one key's neighbours in a page are scored together.
    """

    keys: torch.Tensor
    values: torch.Tensor


@dataclass(frozen=True, slots=True)
class Heads:
    """How a layer's attention is cut, and what happens to its heads: `norms` are float32 weights for queries and keys,
    `rotation` float32 (cosines, sines) [positions, head size / 2]. `window` is 0 where a token sees all before it."""

    queries: int
    keys: int
    size: int
    scale: float
    rotation: tuple[torch.Tensor, torch.Tensor] | None = None
    norms: tuple[torch.Tensor, torch.Tensor] | None = None
    epsilon: float = 1e-6
    window: int = 0


class Ops(Protocol):
    """What both implementations offer."""

    name: str

    def freeze(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Frozen:
        """The product with `weight` [outputs, inputs], laid out for whoever computes it fastest here."""
        ...

    def norm(
        self, stream: torch.Tensor, added: torch.Tensor | None, weight: torch.Tensor, epsilon: float, dtype: torch.dtype
    ) -> torch.Tensor:
        """RMS norm of float32 `stream` times float32 `weight` in `dtype`, after `added`, of that type, is added to
        `stream` in place."""
        ...

    def rotate_and_keep(self, mixed: torch.Tensor, heads: Heads, pages: Pages, step: Step) -> None:
        """Norm and rotate the queries and keys of `mixed` [tokens, queries + keys + values] in place; write the keys
        and values to the cache."""
        ...

    def attend(self, mixed: torch.Tensor, heads: Heads, pages: Pages, step: Step, out: torch.Tensor) -> None:
        """Attention of the step's rows to their pages, into the first rows of `out` [tokens, queries × size]."""
        ...

    def gate(self, both: torch.Tensor, activation: Activation) -> torch.Tensor:
        """The activation of the left half of the columns times the right half."""
        ...

    def lora(self, outputs: torch.Tensor, inputs: torch.Tensor, step: Step, site: int) -> None:
        """Add to each row of `outputs` what its adapter makes of `inputs` at this site."""
        ...

    def draw(
        self, logits: torch.Tensor, temperatures: torch.Tensor, uniforms: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One id for each row of `logits` [rows, vocabulary], and its log-probability at temperature 1.

        `temperatures` [rows]: 0 takes the likeliest; `uniforms` [rows] lie in (0, 1].
        """
        ...

    def widen_logits(self, logits: torch.Tensor, hidden: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
        """Float32 logits from those [rows, vocabulary] of a product in bfloat16, whose eight bits are too few.

        Those at most `NEAR` below the greatest of their row are computed again, from float32 `hidden` [rows, width]
        and the `head`'s weights [vocabulary, width]: a float32 head at the price of one in bfloat16.
        """
        ...


class TorchOps:
    """In plain PyTorch."""

    name = "torch"

    def freeze(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Frozen:
        """See `Ops`."""
        return freeze(weight, bias)

    def norm(
        self, stream: torch.Tensor, added: torch.Tensor | None, weight: torch.Tensor, epsilon: float, dtype: torch.dtype
    ) -> torch.Tensor:
        """See `Ops`."""
        if added is not None:
            stream += added
        return _normed(stream, weight, epsilon).to(dtype)

    def rotate_and_keep(self, mixed: torch.Tensor, heads: Heads, pages: Pages, step: Step) -> None:
        """See `Ops`."""
        query, key, value = _split(mixed, heads)
        if heads.norms is not None:
            query.copy_(_normed(query, heads.norms[0], heads.epsilon))
            key.copy_(_normed(key, heads.norms[1], heads.epsilon))
        if heads.rotation is not None:
            cosine, sine = (table[step.positions][:, None] for table in heads.rotation)
            for vectors in (query, key):
                left, right = vectors.float().chunk(2, dim=-1)
                vectors.copy_(torch.cat((left * cosine - right * sine, right * cosine + left * sine), dim=-1))
        page, offset = step.places.long() // PAGE, step.places.long() % PAGE
        pages.keys[page, :, :, offset] = key
        pages.values[page, :, offset] = value

    def attend(self, mixed: torch.Tensor, heads: Heads, pages: Pages, step: Step, out: torch.Tensor) -> None:
        """See `Ops`."""
        rows, longest = step.rows, step.tables.shape[1] * PAGE
        query = mixed[:rows, : heads.queries * heads.size].view(rows, heads.keys, -1, heads.size)
        tables = step.tables.long()
        keys = pages.keys[tables].permute(0, 2, 1, 4, 3).reshape(rows, heads.keys, longest, heads.size)
        values = pages.values[tables].transpose(1, 2).reshape(rows, heads.keys, longest, heads.size)
        ends = step.lengths[:, None]
        position = torch.arange(longest)
        visible = position < ends
        if heads.window:
            visible &= position >= ends - heads.window
        # What nobody has written yet may be anything, and what is multiplied with NaN is NaN.
        unseen = ~visible[:, None, :, None]
        keys, values = keys.masked_fill(unseen, 0), values.masked_fill(unseen, 0)
        seen = scaled_dot_product_attention(query, keys, values, attn_mask=visible[:, None, None], scale=heads.scale)
        out[:rows] = seen.reshape(rows, -1)

    def gate(self, both: torch.Tensor, activation: Activation) -> torch.Tensor:
        """See `Ops`."""
        left, right = both.chunk(2, dim=-1)
        return (silu(left) if activation == "silu" else gelu(left, approximate="tanh")) * right

    def lora(self, outputs: torch.Tensor, inputs: torch.Tensor, step: Step, site: int) -> None:
        """See `Ops`."""
        for span in step.spans:
            add_lora(outputs, inputs, span, site)

    def draw(
        self, logits: torch.Tensor, temperatures: torch.Tensor, uniforms: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Ops`."""
        return draw_plain(logits.float(), temperatures, uniforms)

    def widen_logits(self, logits: torch.Tensor, hidden: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
        """See `Ops`."""
        wide = logits.float()
        for row, state in zip(wide, hidden, strict=True):
            near = (row >= row.max() - NEAR).nonzero()[:, 0]
            row[near] = head[near].float() @ state
        return wide


def add_lora(outputs: torch.Tensor, inputs: torch.Tensor, span: Span, site: int) -> None:
    """Add one span's low-rank product; computed in float32."""
    adapter = span.weights.sites[site]
    if adapter is None:
        return
    rows = slice(span.first, span.last)
    middle = inputs[rows].float() @ adapter.down.float().t()
    for up, first, column in adapter.ups:
        added = middle[:, first : first + len(up)] @ up.float()
        outputs[rows, column : column + up.shape[1]] += added.to(outputs.dtype)


def _normed(vectors: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    wide = vectors.float()
    scaled = wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + epsilon)
    return (scaled * weight).to(vectors.dtype)


def _split(mixed: torch.Tensor, heads: Heads) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Views [tokens, heads, size] of the queries, keys and values."""
    tokens = len(mixed)
    query, key, value = torch.split(mixed, [heads.queries * heads.size, *[heads.keys * heads.size] * 2], dim=-1)
    return (
        query.view(tokens, heads.queries, heads.size),
        key.view(tokens, heads.keys, heads.size),
        value.view(tokens, heads.keys, heads.size),
    )
