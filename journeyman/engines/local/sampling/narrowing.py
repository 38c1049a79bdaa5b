"""Fewer tokens to draw from: `min_p`, then `top_k`, then `top_p`, as vLLM orders and defines them."""

import math

import torch

from journeyman.engines.local.sampling.rule import SamplingRule

_SMALLEST = 40
"""All weights below two to the minus this are sorted together: nobody draws them."""


def narrow(scores: torch.Tensor, rule: SamplingRule) -> torch.Tensor:
    """Weights [vocabulary] to draw by, 0 for what is out. `scores` are cooled logits with 0 as the greatest; changed.

    Each of the three sees what the one before it left. Tokens that tie with the last one of `top_k` stay in.
    """
    if rule.min_p > 0:
        scores.masked_fill_(scores < math.log(rule.min_p), -torch.inf)
    if 0 < rule.top_k < len(scores):
        scores.masked_fill_(scores < scores.topk(rule.top_k).values[-1], -torch.inf)
    weights = scores.exp_()
    return _nucleus(weights, rule.top_p) if rule.top_p < 1 else weights


def _nucleus(weights: torch.Tensor, top_p: float) -> torch.Tensor:
    """0 outside the smallest set of likeliest tokens whose share of the weight reaches `top_p`."""
    # Sorting a whole vocabulary takes longer than computing its logits. All tokens below the cut weigh less than
    # 1 - top_p together; of the others only the power of two in which the set ends is sorted.
    wanted = float(weights.sum(dtype=torch.float64)) * top_p
    places = (weights >= wanted / top_p * (1 - top_p) / len(weights)).nonzero()[:, 0]
    candidates = weights[places]
    powers = torch.frexp(candidates).exponent.neg_().add_(1).clamp_(0, _SMALLEST)
    reached = torch.bincount(powers, weights=candidates.double(), minlength=_SMALLEST + 1).cumsum(-1)
    last = int(torch.searchsorted(reached, wanted).clamp_(max=_SMALLEST))
    ending = (powers == last).nonzero()[:, 0]
    ordered, order = candidates[ending].sort(descending=True, stable=True)
    above = float(reached[last - 1]) if last else 0.0
    kept = int(torch.searchsorted(ordered.double().cumsum(-1), wanted - above)) + 1
    narrowed = torch.zeros_like(weights)
    narrowed[places] = candidates * (powers < last)
    return narrowed.index_copy_(0, places[ending[order[:kept]]], ordered[:kept])
