"""The C kernels as `Ops`."""

import ctypes
from collections.abc import Callable
from typing import Any

import torch

from journeyman.engines.local.network.kernels.build import load_library
from journeyman.engines.local.network.linear import Frozen, freeze
from journeyman.engines.local.network.lora import LoraWeights
from journeyman.engines.local.network.ops import NEAR, Activation, Heads, Pages, add_lora
from journeyman.engines.local.network.step import Step

LANES = 16
"""Widths are multiples of it."""
LARGEST_HEAD = 512
_MEMBERS = 3
_MANY_ROWS = 512
"""Spans of more rows than this multiply with PyTorch's matrix product, which then is the faster one."""
_NARROW = 32
"""Panels of fewer outputs mean that the processor has no AVX-512, for which oneDNN's products are made."""
_TYPES = {torch.bfloat16: "bf16", torch.float32: "f32"}


class _Member(ctypes.Structure):
    _fields_ = [
        ("b", ctypes.c_void_p),
        *[(name, ctypes.c_int32) for name in ("rank", "first", "column", "outputs")],
    ]


class _Site(ctypes.Structure):
    _fields_ = [
        ("a", ctypes.c_void_p),
        ("rank", ctypes.c_int32),
        ("members", ctypes.c_int32),
        ("member", _Member * _MEMBERS),
    ]


class _Span(ctypes.Structure):
    _fields_ = [("first", ctypes.c_int32), ("last", ctypes.c_int32), ("sites", ctypes.POINTER(_Site))]


class KernelOps:
    """In C, for one precision. NotBuilt when the kernels cannot be compiled here."""

    name = "c"

    def __init__(self, dtype: torch.dtype) -> None:
        library = load_library()
        self._dtype = dtype
        pointer, integer, real = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float

        def function(name: str, *arguments: Any, of: torch.dtype = dtype) -> Callable[..., None]:
            found = getattr(library, f"{name}_{_TYPES[of]}")
            found.argtypes, found.restype = arguments, None
            return found  # type: ignore[no-any-return]

        self._panel = int(library.panel_width())
        self._linear = function("linear", *[pointer] * 4, *[integer] * 3)
        self._norm = {of: function("rms_norm", *[pointer] * 4, integer, integer, real, of=of) for of in _TYPES}
        self._keep = function("rotate_and_keep", *[pointer] * 7, real, pointer, pointer, *[integer] * 4)
        self._attend = function("attend", *[pointer] * 5, integer, pointer, *[integer] * 4, real, integer)
        self._gate = function("gate", pointer, pointer, integer, integer, ctypes.c_int32)
        self._lora = function("lora", *[pointer] * 4, *[integer] * 5)
        self._draw = {of: function("draw", *[pointer] * 5, integer, integer, of=of) for of in _TYPES}
        self._widen = function("widen_logits", *[pointer] * 4, real, *[integer] * 3, of=torch.bfloat16)

    def freeze(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Frozen:
        """See `Ops`."""
        if self._panel >= _NARROW or len(weight) % LANES or weight.dtype is not self._dtype:
            return freeze(weight, bias)
        return PanelLinear(self._linear, weight, bias, self._panel)

    def norm(
        self, stream: torch.Tensor, added: torch.Tensor | None, weight: torch.Tensor, epsilon: float, dtype: torch.dtype
    ) -> torch.Tensor:
        """See `Ops`."""
        out = torch.empty_like(stream, dtype=dtype)
        more = None if added is None else added.data_ptr()
        self._norm[dtype](out.data_ptr(), stream.data_ptr(), more, weight.data_ptr(), *stream.shape, epsilon)
        return out

    def rotate_and_keep(self, mixed: torch.Tensor, heads: Heads, pages: Pages, step: Step) -> None:
        """See `Ops`."""
        cosine, sine = _pointers(heads.rotation)
        query_norm, key_norm = _pointers(heads.norms)
        self._keep(
            mixed.data_ptr(), pages.keys.data_ptr(), pages.values.data_ptr(), cosine, sine, query_norm, key_norm,
            heads.epsilon, step.positions.data_ptr(), step.places.data_ptr(),
            len(mixed), heads.queries, heads.keys, heads.size,
        )  # fmt: skip

    def attend(self, mixed: torch.Tensor, heads: Heads, pages: Pages, step: Step, out: torch.Tensor) -> None:
        """See `Ops`."""
        self._attend(
            out.data_ptr(), mixed.data_ptr(), pages.keys.data_ptr(), pages.values.data_ptr(), step.tables.data_ptr(),
            step.tables.shape[1], step.lengths.data_ptr(), step.rows, heads.queries, heads.keys, heads.size,
            heads.scale, heads.window,
        )  # fmt: skip

    def gate(self, both: torch.Tensor, activation: Activation) -> torch.Tensor:
        """See `Ops`."""
        rows, width = both.shape[0], both.shape[1] // 2
        out = both.new_empty(rows, width)
        self._gate(out.data_ptr(), both.data_ptr(), rows, width, activation == "gelu")
        return out

    def lora(self, outputs: torch.Tensor, inputs: torch.Tensor, step: Step, site: int) -> None:
        """See `Ops`."""
        odd = inputs.shape[1] % LANES or outputs.shape[1] % LANES or outputs.dtype is not self._dtype
        for span in step.spans:
            if odd or span.last - span.first > _MANY_ROWS or site in _sites(span.weights)[1]:
                add_lora(outputs, inputs, span, site)
        spans, most = _spans(step)
        if odd or not len(spans):
            return
        middle = torch.empty(len(inputs), most)
        self._lora(
            outputs.data_ptr(), inputs.data_ptr(), middle.data_ptr(), ctypes.addressof(spans), len(spans), site,
            inputs.shape[1], outputs.shape[1], most,
        )  # fmt: skip

    def draw(
        self, logits: torch.Tensor, temperatures: torch.Tensor, uniforms: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Ops`."""
        tokens, logprobs = torch.empty(len(logits), dtype=torch.int64), torch.empty(len(logits))
        logits, temperatures, uniforms = logits.contiguous(), temperatures.float(), uniforms.float()
        self._draw[logits.dtype](
            tokens.data_ptr(), logprobs.data_ptr(), logits.data_ptr(), temperatures.data_ptr(), uniforms.data_ptr(),
            *logits.shape,
        )  # fmt: skip
        return tokens, logprobs

    def widen_logits(self, logits: torch.Tensor, hidden: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
        """See `Ops`."""
        out = torch.empty_like(logits, dtype=torch.float32)
        logits = logits.contiguous()
        self._widen(
            out.data_ptr(), logits.data_ptr(), hidden.data_ptr(), head.data_ptr(), NEAR, *logits.shape, hidden.shape[1]
        )
        return out


class PanelLinear:
    """A product in C: faster than oneDNN's where there is no AVX-512, and a row comes out alike in any company."""

    def __init__(
        self, compute: Callable[..., None], weight: torch.Tensor, bias: torch.Tensor | None, panel: int
    ) -> None:
        self._compute = compute
        self._outputs, inputs = weight.shape
        count = -(-self._outputs // panel)
        self._panels = weight.new_zeros(count * panel, inputs)
        self._panels[: self._outputs] = weight
        self._panels = self._panels.view(count, panel, inputs).transpose(1, 2).contiguous()
        self._bias = None if bias is None else bias.float()

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """[tokens, inputs] → [tokens, outputs]."""
        inputs = inputs.contiguous()
        out = inputs.new_empty(len(inputs), self._outputs)
        bias = None if self._bias is None else self._bias.data_ptr()
        self._compute(out.data_ptr(), inputs.data_ptr(), self._panels.data_ptr(), bias, *inputs.shape, self._outputs)
        return out


def _spans(step: Step) -> tuple[Any, int]:
    """The step's spans as C reads them, and the most ranks of a site, rounded up; made once for a step."""
    known: tuple[Any, int] | None = step.memo.get("c spans")
    if known is not None:
        return known
    few = [span for span in step.spans if span.last - span.first <= _MANY_ROWS]
    spans = (_Span * len(few))()
    most = 0
    for each, span in zip(spans, few, strict=True):
        each.first, each.last, each.sites = span.first, span.last, _sites(span.weights)[0]
        most = max(most, _MEMBERS * span.weights.rank)
    step.memo["c spans"] = known = (spans, -(-most // LANES) * LANES)
    return known


def _sites(weights: LoraWeights) -> tuple[Any, frozenset[int]]:
    """An adapter's sites as C reads them, empty where C cannot take their widths; and the numbers of those."""
    if weights.pointers is None:
        sites = (_Site * len(weights.sites))()
        odd = set()
        for number, (each, adapter) in enumerate(zip(sites, weights.sites, strict=True)):
            if adapter is None:
                continue
            widths = [
                adapter.down.shape[1],
                *(width for up, _, column in adapter.ups for width in (up.shape[1], column)),
            ]
            if any(width % LANES for width in widths):
                odd.add(number)
                continue
            each.a, each.rank, each.members = adapter.down.data_ptr(), len(adapter.down), len(adapter.ups)
            for member, (up, first, column) in zip(each.member, adapter.ups, strict=False):
                member.b, member.rank, member.outputs = up.data_ptr(), *up.shape
                member.first, member.column = first, column
        weights.pointers = sites, frozenset(odd)
    return weights.pointers  # type: ignore[no-any-return]


def _pointers(pair: tuple[torch.Tensor, torch.Tensor] | None) -> tuple[int | None, int | None]:
    return (None, None) if pair is None else (pair[0].data_ptr(), pair[1].data_ptr())
