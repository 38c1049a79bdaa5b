"""Learning rates and orders are functions of the step alone."""

import math
from collections import Counter
from itertools import pairwise

import pytest

from journeyman.training.schedule import batch_indices, learning_rate, total_steps
from tests.training.conftest import make_config


@pytest.mark.parametrize(
    ("epochs", "rows", "batch", "steps"), [(1, 8, 4, 2), (1, 9, 4, 3), (2.5, 8, 4, 5), (0.1, 8, 4, 1), (3, 1, 8, 1)]
)
def test_steps(epochs, rows, batch, steps):
    assert total_steps(make_config(epochs=epochs, batch_rows=batch), rows) == steps


def test_the_rate_rises_to_its_peak_and_falls_to_a_tenth():
    config = make_config(learning_rate=1.0, warmup=0.1)
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == 1.0
    assert all(later < earlier for earlier, later in pairwise(rates[10:]))
    assert rates[55] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 0.5)))
    assert 0.1 < rates[-1] < 0.11


@pytest.mark.parametrize("warmup", [0.0, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_no_step_learns_nothing(warmup, steps):
    config = make_config(learning_rate=1.0, warmup=warmup)
    assert all(0 < learning_rate(config, step, steps) <= 1 for step in range(steps))


@pytest.mark.parametrize(("rows", "batch"), [(12, 4), (10, 4), (3, 8), (1, 2), (7, 7)])
def test_every_epoch_takes_every_row_once(rows, batch):
    config = make_config(batch_rows=batch)
    drawn = [index for step in range(40) for index in batch_indices(config, step, rows)]
    epochs = [drawn[start : start + rows] for start in range(0, len(drawn) - rows + 1, rows)]
    assert all(Counter(epoch) == Counter(range(rows)) for epoch in epochs)
    if rows > 3:
        assert len({tuple(epoch) for epoch in epochs}) > 1, "in another order"


def test_the_order_follows_from_the_seed():
    def order(seed):
        return [batch_indices(make_config(seed=seed), step, 20) for step in range(5)]

    assert order(0) == order(0) != order(1)
