"""The C kernels compute what their definition in PyTorch computes."""

import dataclasses
import platform

import pytest
import torch
from torch.nn.functional import linear

from journeyman.engines.local.network.kernels import build
from journeyman.engines.local.network.kernels.bindings import KernelOps, PanelLinear
from journeyman.engines.local.network.lora import LoraWeights, LowRank
from journeyman.engines.local.network.ops import NEAR, Heads, Pages, TorchOps
from journeyman.engines.local.network.step import PAGE, Step
from journeyman.engines.local.sampling.plain import draw_plain

TYPES = {"float32": (torch.float32, 2e-6), "bfloat16": (torch.bfloat16, 1e-2)}
PROCESSORS = ("native", "x86-64")
PAGES = 40


@pytest.fixture(params=PROCESSORS)
def processor(request, monkeypatch):
    """Kernels for this processor, and as a lesser one would have them: their vectors have other widths."""
    if request.param != "native":
        if platform.machine() != "x86_64":
            pytest.skip(f"{request.param} is another kind of processor than this one")
        flags = tuple(f"-march={request.param}" if flag == "-march=native" else flag for flag in build._FLAGS)
        monkeypatch.setattr(build, "_FLAGS", flags)
    build.load_library.cache_clear()
    yield request.param
    build.load_library.cache_clear()


@pytest.fixture(params=TYPES)
def kind(request, processor):
    """A type, how far apart results may be, and the kernels for it."""
    dtype, tolerance = TYPES[request.param]
    return dtype, tolerance, KernelOps(dtype)


def noise(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def close(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(found, expected, atol=tolerance * 4, rtol=tolerance * 4)


def a_step(*parts: tuple[int, int], weights: list[LoraWeights | None] | None = None) -> Step:
    """Parts of (start, length), each in pages of its own, in no order."""
    free = torch.randperm(PAGES, generator=torch.Generator().manual_seed(9)).tolist()
    step = Step()
    for number, (start, length) in enumerate(parts):
        pages = [free.pop() for _ in range(-(-(start + length) // PAGE))]
        step.add(list(range(length)), start, pages, weights[number] if weights else None)
    return step


@pytest.mark.parametrize("rows", [1, 3, 70])
@pytest.mark.parametrize("adds", [False, True])
def test_norm(kind, rows, adds):
    dtype, tolerance, ops = kind
    stream, weight = noise(rows, 96), noise(96, seed=1)
    added = noise(rows, 96, dtype=dtype, seed=2) if adds else None
    streams = [stream.clone(), stream.clone()]
    found, expected = (
        each.norm(copy, added, weight, 1e-5, dtype) for each, copy in zip((ops, TorchOps()), streams, strict=True)
    )
    assert found.dtype is dtype
    close(found, expected, tolerance)
    close(streams[0], streams[1], 2e-6)


SHAPES = {
    "one key head for each": Heads(2, 2, 32, 0.2),
    "three queries to a key": Heads(9, 3, 64, 0.125),
    "eight to one, wide": Heads(8, 1, 128, 0.09),
    "five to one, normed": Heads(5, 1, 16, 0.25, norms=(noise(16, seed=7), noise(16, seed=8))),
    "a short window": Heads(4, 2, 64, 0.125, window=9),
    "a window of more than a page": Heads(4, 2, 128, 0.125, window=40),
    "no rotation": Heads(4, 4, 48, 0.125),
}


@pytest.mark.parametrize("name", SHAPES)
def test_rotation_cache_and_attention(kind, name):
    dtype, tolerance, ops = kind
    heads = SHAPES[name]
    if name != "no rotation":
        angles = noise(700, heads.size // 2, seed=3)
        heads = dataclasses.replace(heads, rotation=(angles.cos(), angles.sin()))
    step = a_step((0, 1), (15, 1), (16, 1), (100, 1), (5, 7), (30, 20))
    before = noise(2, PAGES, heads.keys, PAGE, heads.size, dtype=dtype, seed=4)
    mixed = noise(len(step.ids), (heads.queries + 2 * heads.keys) * heads.size, dtype=dtype, seed=5)
    results = []
    for each in (ops, TorchOps()):
        copy, pages = mixed.clone(), Pages(before[0].transpose(2, 3).contiguous(), before[1].clone())
        each.rotate_and_keep(copy, heads, pages, step)
        out = torch.zeros(len(step.ids), heads.queries * heads.size, dtype=dtype)
        each.attend(copy, heads, pages, step, out)
        results.append((copy, pages.keys, pages.values, out))
    for found, expected in zip(*results, strict=True):
        close(found, expected, tolerance)


def test_what_nobody_wrote_is_never_seen(kind):
    dtype, _, ops = kind
    heads, step = Heads(4, 2, 32, 0.2), a_step((3, 1), (16, 1))
    for each in (ops, TorchOps()):
        pages = Pages(
            *(torch.full(shape, float("nan"), dtype=dtype) for shape in ((PAGES, 2, 32, PAGE), (PAGES, 2, PAGE, 32)))
        )
        for part in step.parts:
            for position in range(part.start):
                pages.keys[part.pages[position // PAGE], :, :, position % PAGE] = 1
                pages.values[part.pages[position // PAGE], :, position % PAGE] = 1
        mixed = torch.ones(2, 8 * 32, dtype=dtype)
        each.rotate_and_keep(mixed, heads, pages, step)
        out = torch.empty(2, 4 * 32, dtype=dtype)
        each.attend(mixed, heads, pages, step, out)
        close(out, torch.ones_like(out), 1e-2)


@pytest.mark.parametrize("rows", [1, 2, 5, 6, 7, 8, 13, 64])
@pytest.mark.parametrize(("inputs", "outputs"), [(33, 16), (96, 48), (576, 80)])
def test_product(kind, rows, inputs, outputs):
    """Against float64, with panels that are not full; and every row as it comes out alone, to the bit."""
    dtype, tolerance, ops = kind
    x, weight = noise(rows, inputs, dtype=dtype, seed=1), noise(outputs, inputs, dtype=dtype, seed=2) / inputs**0.5
    for bias in (None, noise(outputs, dtype=dtype, seed=3)):
        product = PanelLinear(ops._linear, weight, bias, ops._panel)
        exact = linear(x.double(), weight.double(), None if bias is None else bias.double())
        close(product(x), exact.to(dtype), tolerance)
        assert all(torch.equal(product(x[row : row + 1])[0], product(x)[row]) for row in range(rows))


@pytest.mark.parametrize("activation", ["silu", "gelu"])
def test_gate(kind, activation):
    dtype, tolerance, ops = kind
    both = noise(9, 2 * 48, dtype=dtype) * 6
    close(ops.gate(both, activation), TorchOps().gate(both.float(), activation).to(dtype), tolerance)


def an_adapter(rank: int, members: list[tuple[int, int]], dtype: torch.dtype, seed: int) -> LoraWeights:
    """An adapter of one site of 96 inputs; `members` are (column, outputs)."""
    down = noise(rank * len(members), 96, dtype=dtype, seed=seed) * 0.1
    ups = tuple((noise(rank, wide, dtype=dtype, seed=seed + at) * 0.1, rank * at, column)
                for at, (column, wide) in enumerate(members))  # fmt: skip
    return LoraWeights(f"{seed}", None, f"{seed}", rank, (None, LowRank(down, ups)), 0)


def test_adapters_of_different_ranks_on_different_rows(kind):
    dtype, tolerance, ops = kind
    small = an_adapter(2, [(0, 64), (64, 16), (80, 320)], dtype, 10)
    partial = an_adapter(16, [(64, 16)], dtype, 20)
    wide = an_adapter(7, [(80, 320)], dtype, 30)
    step = a_step((0, 1), (1, 1), (0, 5), (3, 4), (0, 33), (7, 3), weights=[None, small, partial, small, wide, None])
    inputs, outputs = noise(len(step.ids), 96, dtype=dtype, seed=1), noise(len(step.ids), 400, dtype=dtype, seed=2)
    copies = [outputs.clone(), outputs.clone()]
    for each, copy in zip((ops, TorchOps()), copies, strict=True):
        each.lora(copy, inputs, step, 1)
        each.lora(copy, inputs, step, 0)
    close(copies[0], copies[1], tolerance)
    untouched = step.parts[0].offset, step.parts[-1].offset
    assert torch.equal(copies[0][untouched[0]], outputs[untouched[0]])
    assert torch.equal(copies[0][untouched[1] :], outputs[untouched[1] :])


def test_a_row_is_the_same_to_the_bit_in_any_company(kind):
    dtype, _, ops = kind
    adapter = an_adapter(16, [(0, 64), (64, 336)], dtype, 10)
    inputs, outputs = noise(9, 96, dtype=dtype, seed=1), noise(9, 400, dtype=dtype, seed=2)
    together = outputs.clone()
    ops.lora(together, inputs, a_step((0, 9), weights=[adapter]), 1)
    for row in range(9):
        alone = outputs[row : row + 1].clone()
        ops.lora(alone, inputs[row : row + 1].clone(), a_step((0, 1), weights=[adapter]), 1)
        assert torch.equal(alone[0], together[row])


@pytest.mark.parametrize("vocabulary", [1, 7, 300, 4800])
def test_drawing(kind, vocabulary):
    dtype, _, ops = kind
    logits = noise(64, vocabulary, dtype=dtype) * 3
    temperatures = torch.tensor([0.0, 1.0, 0.7, 2.0] * 16)
    uniforms = torch.rand(64, generator=torch.Generator().manual_seed(1)).clamp_(min=1e-6)
    tokens, logprobs = ops.draw(logits, temperatures, uniforms)
    expected, its = draw_plain(logits.float(), temperatures, uniforms)
    assert (tokens == expected).sum() >= 62, "sums of floats may round to the neighbour at a boundary"
    same = tokens == expected
    torch.testing.assert_close(logprobs[same], its[same], atol=1e-4, rtol=1e-5)


def test_drawing_from_what_is_no_number_says_so(kind):
    dtype, _, ops = kind
    logits = torch.full((3, 64), float("nan"), dtype=dtype)
    logits[1] = 0
    logits[1, 5] = float("inf")
    logits[2] = 0
    tokens, logprobs = ops.draw(logits, torch.tensor([0.0, 1.0, 1.0]), torch.full((3,), 0.5))
    assert logprobs.isfinite().tolist() == [False, False, True]
    assert all(0 <= token < 64 for token in tokens.tolist())


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false"])
def test_without_a_compiler_the_reason_is_told(monkeypatch, compiler):
    monkeypatch.setenv("CC", compiler)
    build.load_library.cache_clear()
    with pytest.raises(build.NotBuilt, match="compiler"):
        build.load_library()
    build.load_library.cache_clear()


def test_scores_that_are_no_numbers_are_not_hidden(kind):
    dtype, _, ops = kind
    heads, step = Heads(4, 2, 32, 0.2), a_step((3, 1), (20, 1))
    mixed = torch.ones(2, 8 * 32, dtype=dtype)
    mixed[1, 5] = float("inf")
    pages = Pages(torch.zeros(PAGES, 2, 32, PAGE, dtype=dtype), torch.ones(PAGES, 2, PAGE, 32, dtype=dtype))
    ops.rotate_and_keep(mixed, heads, pages, step)
    out = torch.empty(2, 4 * 32, dtype=dtype)
    ops.attend(mixed, heads, pages, step, out)
    assert out[0].isfinite().all()
    assert out[1, :32].isnan().all()


@pytest.mark.parametrize("vocabulary", [48, 1000, 4101])
def test_logits_that_matter_are_those_of_a_float32_head(vocabulary):
    ops = KernelOps(torch.bfloat16)
    hidden, head = noise(5, 96), noise(vocabulary, 96, dtype=torch.bfloat16, seed=1)
    exact = hidden.double() @ head.double().T
    rounded = hidden.bfloat16() @ head.T
    near = exact >= exact.amax(dim=1, keepdim=True) - NEAR + 0.5
    for each in (ops, TorchOps()):
        found = each.widen_logits(rounded, hidden, head)
        assert found.dtype is torch.float32
        assert (found - exact)[near].abs().max() < 1e-4
        assert (rounded - exact)[near].abs().max() > 1e-2
        assert (found - exact).abs().max() < 1


def test_logits_that_are_no_numbers_stay_so():
    rounded = torch.full((1, 32), float("nan"), dtype=torch.bfloat16)
    found = KernelOps(torch.bfloat16).widen_logits(rounded, torch.ones(1, 16), torch.ones(32, 16).bfloat16())
    assert found.isnan().all()
