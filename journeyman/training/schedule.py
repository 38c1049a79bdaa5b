"""Learning rates and the order of rows, as pure functions of the step: resuming needs nothing but the step."""

import math

import torch

from journeyman.records.run import TrainingConfig


def total_steps(config: TrainingConfig, rows: int) -> int:
    """Optimiser steps of a whole run over `rows` training rows."""
    return max(1, math.ceil(config.epochs * rows / config.batch_rows))


def learning_rate(config: TrainingConfig, step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine down to a tenth of the peak; `step` counts from 0."""
    warmup = math.ceil(config.warmup * steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return config.learning_rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * progress)))


def batch_indices(config: TrainingConfig, step: int, rows: int) -> list[int]:
    """Which rows step `step` learns from: every epoch goes through all rows, in a new order drawn from the seed."""
    start = step * config.batch_rows
    positions = range(start, start + config.batch_rows)
    return [_order(config.seed, position // rows, rows)[position % rows] for position in positions]


def _order(seed: int, epoch: int, rows: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(rows, generator=generator).tolist()
