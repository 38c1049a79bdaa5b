"""Slots: who gets which, what is reused, and what must never be."""

from pathlib import Path

import pytest
import torch

from journeyman.engines.local.network.cache import SlotCache
from journeyman.engines.local.network.lora import LoraWeights


@pytest.fixture
def cache():
    return SlotCache(layers=2, slots=3, heads=1, positions=16, head_size=2, dtype=torch.float32)


def occupy(cache, ids, weights=None):
    """Take a slot, and write to it what computing all of `ids` would: values that name the token."""
    slot, cached = cache.take(ids, weights)
    for tensor in (*cache.keys, *cache.values):
        tensor[slot.index, 0, cached : len(ids), 0] = torch.tensor(ids[cached:], dtype=torch.float32)
    slot.ids = list(ids)
    return slot, cached


def holds(cache, slot):
    return cache.values[1][slot.index, 0, : len(slot.ids), 0].tolist()


def test_the_last_token_is_always_left_to_compute(cache):
    ids = list(range(12))
    slot, _ = occupy(cache, ids)
    cache.release(slot)
    again, cached = cache.take(ids, None)
    assert (again.index, cached) == (slot.index, 11)


def test_a_conversation_goes_on_in_its_slot(cache):
    slot, _ = occupy(cache, [1, 2, 3, 4])
    cache.release(slot)
    again, cached = occupy(cache, [1, 2, 3, 4, 5, 6])
    assert (again.index, cached) == (slot.index, 4)
    assert holds(cache, again) == [1, 2, 3, 4, 5, 6]


def test_what_another_slot_holds_is_copied_and_stays_there(cache):
    first, _ = occupy(cache, [1, 2, 3, 4, 5, 6, 7, 8])
    second, cached = occupy(cache, [1, 2, 3, 9])
    assert second.index != first.index
    assert cached == 3
    assert holds(cache, second) == [1, 2, 3, 9]
    assert holds(cache, first) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_no_slot_when_all_are_busy(cache):
    for number in range(3):
        assert cache.take([number, 1], None) is not None
    assert cache.take([9], None) is None


def test_the_longest_unused_slot_is_given_away_first(cache):
    slots = [occupy(cache, [10 * number + 1, 2])[0] for number in range(3)]
    for number in (1, 0, 2):
        cache.release(slots[number])
    assert occupy(cache, [99, 98])[0].index == slots[1].index
    assert occupy(cache, [97, 96])[0].index == slots[0].index


def test_other_weights_share_nothing_even_under_the_same_name(cache):
    red, other_red = (LoraWeights("red", Path(), {}) for _ in range(2))
    slot, _ = occupy(cache, [1, 2, 3], red)
    cache.release(slot)
    assert cache.take([1, 2, 3, 4], None)[1] == 0
    assert cache.take([1, 2, 3, 4], other_red)[1] == 0


def test_forgetting_an_adapter_lets_go_of_its_weights(cache):
    red = LoraWeights("red", Path(), {})
    free, _ = occupy(cache, [1, 2], red)
    busy, _ = occupy(cache, [3, 4], red)
    cache.release(free)
    cache.forget(red)
    assert (free.weights, free.ids) == (None, [])
    assert (busy.weights, busy.ids) == (red, [3, 4])


@pytest.mark.parametrize("stray", [float("nan"), float("inf")])
@pytest.mark.parametrize("which", ["keys", "values"])
def test_a_slot_with_numbers_that_are_not_finite_is_cleaned(cache, which, stray):
    slot, _ = occupy(cache, [1, 2, 3])
    getattr(cache, which)[1][slot.index, 0, 2, 1] = stray
    cache.release(slot)
    assert slot.ids == []
    assert all(not bool(tensor[slot.index].any()) for tensor in (*cache.keys, *cache.values))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_cache_begins_with_zeros_of_its_type(dtype):
    cache = SlotCache(1, 2, 3, 5, 4, dtype)
    assert cache.keys[0].dtype is dtype
    assert cache.keys[0].shape == (2, 3, 5, 4)
    assert not cache.values[0].any()
