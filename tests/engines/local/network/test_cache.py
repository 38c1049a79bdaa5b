"""The paged cache: equal beginnings are computed once, and nobody sees what was computed otherwise."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from journeyman.engines.local.network.cache import PagedCache, page_names
from journeyman.engines.local.network.step import PAGE

ROOT, OTHER = b"base", b"another"
PROMPT = list(range(100, 100 + 4 * PAGE))


def small(pages: int = 12) -> PagedCache:
    return PagedCache(layers=2, key_heads=1, size=2, pages=pages, dtype=torch.float32)


def computed(cache: PagedCache, ids: list[int], root: bytes = ROOT):
    """A lease whose ids are all in the cache."""
    lease = cache.take(len(ids), root, page_names(root, ids))
    cache.publish(lease, ids, len(ids))
    return lease


def test_an_equal_beginning_is_shared_in_whole_pages_while_its_owner_runs_and_after():
    cache = small()
    first = computed(cache, PROMPT)
    second = computed(cache, [*PROMPT[: 3 * PAGE], 7, 8])
    assert second.shared == 3 * PAGE
    assert second.pages[:3] == first.pages[:3]
    cache.release(first)
    cache.release(second)
    assert cache.used == 0
    third = computed(cache, [*PROMPT, 9])
    assert third.shared == 4 * PAGE


def test_the_last_id_is_always_left_to_compute():
    cache = small()
    cache.release(computed(cache, PROMPT))
    assert computed(cache, PROMPT).shared == 3 * PAGE


def test_nothing_is_shared_between_different_weights_or_after_different_beginnings():
    cache = small(20)
    cache.release(computed(cache, PROMPT))
    assert computed(cache, PROMPT, OTHER).shared == 0
    assert computed(cache, [1, *PROMPT]).shared == 0
    assert computed(cache, [*PROMPT[:PAGE], 5, *PROMPT[PAGE + 1 :]]).shared == PAGE


def test_what_another_is_just_computing_is_announced_until_it_is_there_or_given_up():
    cache = small()
    names = page_names(ROOT, PROMPT)
    first = cache.take(len(PROMPT), ROOT, names)
    assert cache.is_promised(names)
    assert not cache.is_promised(page_names(OTHER, PROMPT))
    cache.publish(first, PROMPT, PAGE)
    assert cache.is_promised(names)
    cache.release(first)
    assert not cache.is_promised(names)
    second = cache.take(len(PROMPT), ROOT, names)
    assert second.shared == PAGE
    assert cache.is_promised(names)
    cache.publish(second, PROMPT, len(PROMPT))
    assert not cache.is_promised(names)


def test_the_longest_unused_pages_make_room_and_those_in_use_never():
    cache = small(8)
    old, new = [1] * 3 * PAGE + [1], [2] * 3 * PAGE + [2]
    cache.release(computed(cache, old))
    running = computed(cache, new)
    assert cache.take(8 * PAGE, ROOT) is None
    other = computed(cache, [3] * 4 * PAGE)
    assert cache.used == 8
    assert cache.take(1, ROOT) is None
    assert not cache.grow(running, 4 * PAGE + 1)
    cache.release(other)
    assert cache.grow(running, 4 * PAGE + 1)
    assert computed(cache, old[: PAGE + 1]).shared == 0, "its pages were taken"


def test_a_reply_is_found_again_by_the_next_turn():
    cache = small()
    lease = computed(cache, PROMPT)
    ids = [*PROMPT, *range(2 * PAGE)]
    assert cache.grow(lease, len(ids))
    cache.publish(lease, ids, len(ids) - 1)
    cache.release(lease)
    assert computed(cache, [*ids, 3]).shared == 5 * PAGE


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5 * PAGE), st.booleans()), max_size=40))
def test_whatever_happens_a_page_has_one_content_and_every_page_is_accounted_for(steps):
    cache = small(16)
    contents: dict[int, tuple] = {}
    running = []
    for kind, length, other in steps:
        if running and kind == 0:
            cache.release(running.pop(length % len(running)))
            continue
        ids, root = [kind] * length, OTHER if other else ROOT
        lease = cache.take(length, root, page_names(root, ids))
        if lease is None:
            continue
        for number, page in enumerate(lease.pages):
            content = (root, *ids[: (number + 1) * PAGE])
            if number < lease.shared // PAGE:
                assert contents[page] == content
            contents[page] = content
        cache.publish(lease, ids, length)
        running.append(lease)
        assert cache.used == len({page for each in running for page in each.pages})
    for lease in running:
        cache.release(lease)
    assert cache.used == 0
    assert cache.take(16 * PAGE, ROOT) is not None
