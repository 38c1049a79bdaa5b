"""The claims, the runs that each needs, and what the runs say: a verdict with an interval over seeds."""

import math
from collections.abc import Callable, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from record import Row, row
from scipy.stats import t as student

from lora_parts.runs import LETTERS_OF_VALUE, PAIRS, Spec

SEEDS = (0, 1, 2)
FULL_RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
LORA_RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
LETTER_BITS = math.log2(26)
PARAMETERS = {"attention": 2 * 4 * (64 + 64), "mlp": 2 * 3 * (64 + 128)}
"""Of an adapter of rank 1 on both layers."""
EQUAL_RANKS = {"attention": 17, "mlp": 15, "all-linear": 8}
"""Ranks at which the three kinds of targets have 17,408, 17,280 and 17,408 parameters."""

Outcome = Callable[[Spec], float]


class Claim(NamedTuple):
    """What is claimed, the runs that it needs, and the rows that they come to."""

    title: str
    specs: list[Spec]
    verdict: Callable[[Outcome], list[Row]]


def _sweep(rank: int, rates: Sequence[float], seed: int, **other: object) -> list[Spec]:
    return [Spec("python", rank, rate, seed, **other) for rate in rates]  # type: ignore[arg-type]


def _rates(rank: int) -> Sequence[float]:
    return LORA_RATES if rank else FULL_RATES


def over_seeds(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean with Student's 95% interval."""
    mean = fmean(values)
    half = float(student.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def best_rate(rates: Sequence[float], losses: Sequence[float]) -> float:
    """Where a parabola in the logarithm of the rate, through the best of a grid and its neighbours, has its least."""
    at = min(range(len(rates)), key=lambda one: losses[one])
    if at in (0, len(rates) - 1):
        return rates[at]
    x = [math.log(rate) for rate in rates[at - 1 : at + 2]]
    y = losses[at - 1 : at + 2]
    left, right = (y[1] - y[0]) / (x[1] - x[0]), (y[2] - y[1]) / (x[2] - x[1])
    bend = (right - left) / (x[2] - x[0])
    return math.exp(x[0] / 2 + x[1] / 2 - left / (2 * bend)) if bend > 0 else rates[at]


def _best_loss(outcome: Outcome, specs: Sequence[Spec]) -> float:
    return min(outcome(spec) for spec in specs)


def _interval(what: str, values: Sequence[float], unit: str, bar: str, holds: Callable[[float, float], bool]) -> Row:
    mean, low, high = over_seeds(values)
    return row(what, mean, unit, interval=(low, high), bar=bar, holds=holds(low, high))


def _matching(outcome: Outcome) -> list[Row]:
    gaps = [
        _best_loss(outcome, _sweep(16, LORA_RATES, s)) / _best_loss(outcome, _sweep(0, FULL_RATES, s)) - 1
        for s in SEEDS
    ]
    title = "small data: LoRA of rank 16 above full fine-tuning, each at its best rate"
    return [_interval(title, [100 * gap for gap in gaps], "% of loss", "within 2 %", lambda low, high: high <= 2)]


def _ratio(outcome: Outcome) -> list[Row]:
    found = {
        rank: [
            math.log(best_rate(_rates(rank), [outcome(spec) for spec in _sweep(rank, _rates(rank), seed)]))
            for seed in SEEDS
        ]
        for rank in (0, 1, 16)
    }
    ratio = over_seeds([one - other for one, other in zip(found[16], found[0], strict=True)])
    ranks = over_seeds([one - other for one, other in zip(found[16], found[1], strict=True)])
    told = {"full": 0, "LoRA of rank 1": 1, "LoRA of rank 16": 16}
    return [
        *(row(f"best learning rate: {name}", math.exp(fmean(found[rank])), "") for name, rank in told.items()),
        row("best learning rate of LoRA (rank 16) over that of full fine-tuning", math.exp(ratio[0]), "×",
            interval=(math.exp(ratio[1]), math.exp(ratio[2])), bar="about 10: estimate 5 to 20",
            holds=5 <= math.exp(ratio[0]) <= 20),
        row("best learning rate of rank 16 over that of rank 1", math.exp(ranks[0]), "×",
            interval=(math.exp(ranks[1]), math.exp(ranks[2])), bar="estimate within 2 times",
            holds=abs(ranks[0]) <= math.log(2)),
    ]  # fmt: skip


_LAYER_RATES = (1e-2, 3e-2)


def _layers(outcome: Outcome) -> list[Row]:
    best = {
        targets: [_best_loss(outcome, _sweep(rank, _LAYER_RATES, seed, targets=targets)) for seed in SEEDS]
        for targets, rank in EQUAL_RANKS.items()
    }
    rows = [
        row(f"held-out loss, {targets} of rank {EQUAL_RANKS[targets]}", fmean(found), "nats/token")
        for targets, found in best.items()
    ]
    for targets in ("mlp", "all-linear"):
        gaps = [one - other for one, other in zip(best["attention"], best[targets], strict=True)]
        rows.append(
            _interval(
                f"attention alone loses to {targets} at as many parameters",
                gaps,
                "nats/token",
                "> 0",
                lambda low, high: low > 0,
            )
        )
    return rows


_PAIR_RATES = {0: (1e-3, 3e-3), 1: (3e-3, 1e-2), 8: (3e-3, 1e-2)}


def _pairs(rank: int, seed: int) -> list[Spec]:
    return [Spec("pairs", rank, rate, seed, batch=16, steps=200) for rate in _PAIR_RATES[rank]]


def _capacity(outcome: Outcome) -> list[Row]:
    # Letters and the spaces between them: only the letters carry information, and it is their loss that is left.
    rows = [row("random pairs to remember", PAIRS * LETTERS_OF_VALUE * LETTER_BITS, "bits")]
    best = {rank: [_best_loss(outcome, _pairs(rank, seed)) for seed in SEEDS] for rank in _PAIR_RATES}
    for rank in (1, 8):
        parameters = rank * sum(PARAMETERS.values())
        gap = over_seeds([one - other for one, other in zip(best[rank], best[0], strict=True)])
        title = f"random pairs: loss of rank {rank} ({parameters:,} parameters) above full fine-tuning's"
        rows.append(row(title, gap[0], "nats/token", interval=gap[1:]))
    first = [one - other for one, other in zip(best[1], best[8], strict=True)]
    title = "random pairs: loss of rank 1 above rank 8's"
    return [*rows, _interval(title, first, "nats/token", "> 0", lambda low, high: low > 0)]


_BATCHES = ((8, 40), (32, 10))
_NEAR = {0: (1e-3, 3e-3, 1e-2), 16: (1e-2, 3e-2, 1e-1)}


def _batch(outcome: Outcome) -> list[Row]:
    gaps = {
        batch: [
            _best_loss(outcome, _sweep(16, _NEAR[16], seed, batch=batch, steps=steps))
            - _best_loss(outcome, _sweep(0, _NEAR[0], seed, batch=batch, steps=steps))
            for seed in SEEDS
        ]
        for batch, steps in _BATCHES
    }
    rows = [row(f"LoRA's loss above full fine-tuning's, batches of {batch}", fmean(found), "nats/token",
                interval=over_seeds(found)[1:]) for batch, found in gaps.items()]  # fmt: skip
    more = [large - small for small, large in zip(gaps[8], gaps[32], strict=True)]
    title = "what batches of 32 cost LoRA more than full fine-tuning, at as many tokens"
    return [*rows, _interval(title, more, "nats/token", "> 0", lambda low, high: low > 0)]


_LETTER_RATES = {0: (1e-3, 3e-3), 1: (1e-2, 3e-2), 16: (1e-2, 3e-2)}


def _letters(rank: int, seed: int) -> list[Spec]:
    return [Spec("letters", rank, rate, seed, batch=16, steps=150) for rate in _LETTER_RATES[rank]]


def _reinforcement(outcome: Outcome) -> list[Row]:
    best = {rank: [max(outcome(spec) for spec in _letters(rank, seed)) for seed in SEEDS] for rank in _LETTER_RATES}
    told = {0: "full", 1: "LoRA of rank 1", 16: "LoRA of rank 16"}
    rows = [row(f"policy gradient, expected reward on unseen words: {told[rank]}", fmean(found), "reward",
                interval=over_seeds(found)[1:]) for rank, found in best.items()]  # fmt: skip
    gaps = [one - other for one, other in zip(best[1], best[0], strict=True)]
    return [*rows, _interval("policy gradient: rank 1 minus full fine-tuning", gaps, "reward", "not below −0.05",
                             lambda low, high: low >= -0.05)]  # fmt: skip


def _all(specs: Sequence[Sequence[Spec]]) -> list[Spec]:
    return list(dict.fromkeys(spec for some in specs for spec in some))


CLAIMS = [
    Claim("small data: LoRA reaches full fine-tuning",
          _all([_sweep(rank, _rates(rank), seed) for seed in SEEDS for rank in (0, 16)]), _matching),
    Claim("the best learning rate is about ten times full fine-tuning's, whatever the rank",
          _all([_sweep(rank, _rates(rank), seed) for seed in SEEDS for rank in (0, 16, 1)]), _ratio),
    Claim("attention alone loses at equal parameters",
          _all([_sweep(rank, _LAYER_RATES, seed, targets=targets)
                for seed in SEEDS for targets, rank in EQUAL_RANKS.items()]), _layers),
    Claim("beyond its capacity a small rank loses",
          _all([_pairs(rank, seed) for seed in SEEDS for rank in _PAIR_RATES]), _capacity),
    Claim("larger batches cost LoRA more",
          _all([_sweep(rank, _NEAR[rank], seed, batch=batch, steps=steps)
                for seed in SEEDS for batch, steps in _BATCHES for rank in _NEAR]), _batch),
    Claim("policy gradient works at rank 1",
          _all([_letters(rank, seed) for seed in SEEDS for rank in _LETTER_RATES]), _reinforcement),
]  # fmt: skip


def quick_claim() -> Claim:
    """The trainer in both ways, a few steps each."""
    specs = [Spec("python", rank, 3e-3, 0, steps=4) for rank in (0, 16)]

    def told(outcome: Outcome) -> list[Row]:
        return [row(f"held-out loss after 4 steps, rank {spec.rank}", outcome(spec), "nats/token") for spec in specs]

    return Claim("quick", specs, told)
