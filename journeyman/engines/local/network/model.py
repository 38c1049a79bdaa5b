"""A base model in memory: token ids of many requests in, logits out, under any adapters."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from journeyman.engines.local.network.adapters import AdapterStore
from journeyman.engines.local.network.borrowed import PROBE, BorrowedNetwork
from journeyman.engines.local.network.cache import BASE, Lease, PagedCache
from journeyman.engines.local.network.config import read_config
from journeyman.engines.local.network.family import NotNative, read_blueprint
from journeyman.engines.local.network.kernels.bindings import LANES, LARGEST_HEAD, KernelOps
from journeyman.engines.local.network.kernels.build import NotBuilt
from journeyman.engines.local.network.lora import LoraWeights
from journeyman.engines.local.network.native import NativeNetwork
from journeyman.engines.local.network.ops import Ops, TorchOps
from journeyman.engines.local.network.precision import Precision, choose_dtype
from journeyman.engines.local.network.step import PAGE, Step
from journeyman.engines.local.network.weights import WeightFiles
from journeyman.errors import InvalidInput, Overloaded

_TOLERANCE = 0.1
"""Of the norm: bfloat16 rounds to about 0.01, and an architecture that is computed wrongly differs by about 1."""
_CHANGING = ("dynamic", "longrope")
_LOG = logging.getLogger(__name__)


class LocalModel:
    """A base model, its key–value cache and its adapters. One thread at a time may compute with it.

    `context` bounds prompt and reply together, `cache_tokens` what is held of all requests, `adapter_bytes` the memory
    of adapters. `kernels` says which operations compute (`c` or `torch`), `path` whose layers (`native` or
    `transformers`), `vocabulary` how many tokens there are weights for, and `hidden` how wide its states are.
    """

    def __init__(
        self, folder: Path, *, precision: Precision = "auto", context: int = 4096, cache_tokens: int = 65_536,
        adapter_bytes: int = 2 << 30, compiled: bool = True, native: bool = True,
    ) -> None:  # fmt: skip
        self.folder, self.precision = folder, precision
        self.dtype = choose_dtype(precision)
        config = read_config(folder)
        self.context = min(context, _steady_context(config, context))
        if self.context < len(PROBE):
            raise InvalidInput(f"context: {self.context} tokens hold no conversation; give at least {len(PROBE)}")
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._ops = _choose_ops(
            self.dtype, compiled, [size, config.hidden_size, getattr(config, "intermediate_size", LANES)]
        )
        self.kernels = self._ops.name
        self._network = self._build(config, native)
        self.path, self.sites = self._network.path, self._network.sites
        self.vocabulary, self.hidden = self._network.vocabulary, int(config.hidden_size)
        pages = -(-max(cache_tokens, self.context) // PAGE)
        self.cache = PagedCache(config.num_hidden_layers, heads, size, pages, self.dtype)
        self.adapters = AdapterStore(self._network.sites, self.dtype, adapter_bytes)
        self._check()

    def load_adapter(self, name: str, folder: Path, *, replace: bool = False) -> None:
        """Make an adapter answerable by name. A name stands for one content, unless `replace`."""
        self.adapters.register(name, folder, replace=replace)

    def unload_adapter(self, name: str) -> None:
        """Forget an adapter's name; requests that run under it finish first."""
        self.adapters.unregister(name)

    @torch.inference_mode()
    def forward(self, step: Step, wanted: Sequence[int]) -> torch.Tensor:
        """Logits [wanted tokens, vocabulary] at the flat indices `wanted` of the batch, float32 or the model's own."""
        return self._network.logits(step, self.cache.layers, torch.tensor(wanted, dtype=torch.long))

    def draw(
        self, logits: torch.Tensor, temperatures: torch.Tensor, uniforms: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Ops.draw`."""
        return self._ops.draw(logits, temperatures, uniforms)

    @torch.inference_mode()
    def embed(self, texts: Sequence[Sequence[int]], adapter: str | None = None) -> torch.Tensor:
        """Float32 [texts, hidden]: the mean of each text's last hidden states, of length 1."""
        weights = self.adapters.hold(adapter) if adapter is not None else None
        try:
            pooled = [self._mean_state(ids, weights) for ids in texts]
        finally:
            if weights is not None:
                self.adapters.release(weights)
        return torch.nn.functional.normalize(torch.stack(pooled), dim=-1)

    def _mean_state(self, ids: Sequence[int], weights: LoraWeights | None) -> torch.Tensor:
        lease = self.cache.take(len(ids), BASE)
        if lease is None:
            raise Overloaded("there is no room for this text beside the requests that run; try again later", 1.0)
        try:
            step = Step()
            step.add(ids, 0, lease.pages, weights)
            hidden = self._network.hidden(step, self.cache.layers, torch.arange(len(ids)))
            return hidden.float().mean(dim=0)
        finally:
            self.cache.release(lease)

    def _build(self, config: Any, native: bool) -> NativeNetwork | BorrowedNetwork:
        int8 = self.precision == "int8"
        try:
            if not native:
                raise NotNative("nothing natively, as it was asked to")
            return NativeNetwork(
                read_blueprint(config), WeightFiles(self.folder, self.dtype), self._ops, positions=self.context,
                int8=int8,
            )  # fmt: skip
        except NotNative as reason:
            if int8:
                raise InvalidInput(
                    f"{self.folder.name}: int8 is for networks computed natively, and this one has {reason}"
                ) from reason
            _LOG.warning(
                "%s: not computed natively (%s); transformers' own layers take over, more slowly",
                self.folder.name, reason,
            )  # fmt: skip
            return BorrowedNetwork(self.folder, self.dtype, self._ops)

    def _check(self) -> None:
        """Refuse weights that are no numbers, and networks that come out otherwise than in transformers, such
        as those that keep state outside their attention."""
        last = len(PROBE) - 1
        lease = self.cache.take(len(PROBE), BASE)
        assert lease is not None
        try:
            for first, end in ((0, 3), (3, last), (last, last + 1)):
                logits = self._forward_part(PROBE[first:end], first, lease)
        except (NotImplementedError, RuntimeError, TypeError, AttributeError, IndexError) as error:
            raise InvalidInput(
                f"{self.folder.name}: the local engine cannot run this architecture ({error})"
            ) from error
        finally:
            self.cache.release(lease)
        if not logits.isfinite().all():
            raise InvalidInput(f"{self.folder.name}: it computes numbers that are not finite; its weights are unusable")
        if isinstance(self._network, BorrowedNetwork):
            expected = self._network.expected[-1]
            difference = float((logits[0].float() - expected).norm() / expected.norm())
            if not difference < _TOLERANCE:
                raise InvalidInput(
                    f"{self.folder.name}: the local engine computes this architecture otherwise than transformers does "
                    f"(its logits differ by {difference:.0%}); serve it with another engine"
                )

    def _forward_part(self, ids: Sequence[int], start: int, lease: Lease) -> torch.Tensor:
        step = Step()
        return self.forward(step, [step.add(ids, start, lease.pages, None)])


def _steady_context(config: Any, context: int) -> int:
    """How long requests may be for a position to mean the same in all of them.

    Some rotary embeddings change when the longest request of a batch passes the length they were trained on.
    """
    longest = getattr(config, "max_position_embeddings", None) or context
    rotation = getattr(config, "rope_parameters", None) or {}
    if rotation.get("rope_type") in _CHANGING:
        return int(rotation.get("original_max_position_embeddings") or longest)
    return int(longest)


def _choose_ops(dtype: torch.dtype, compiled: bool, widths: Sequence[int]) -> Ops:
    if not compiled:
        return TorchOps()
    if any(width % LANES for width in widths) or widths[0] > LARGEST_HEAD:
        _LOG.warning(
            "the compiled kernels take widths that are multiples of %d and heads up to %d; PyTorch's take over",
            LANES, LARGEST_HEAD,
        )  # fmt: skip
        return TorchOps()
    try:
        return KernelOps(dtype)
    except NotBuilt as reason:
        _LOG.warning("%s; PyTorch's own operations take over, more slowly", reason)
        return TorchOps()
