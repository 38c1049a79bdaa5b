"""The adapters of an engine: found by content, kept in memory while used, read again when needed."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from journeyman.engines.local.network.adapters import AdapterStore
from journeyman.engines.local.network.model import LocalModel
from journeyman.errors import InvalidInput, NotFound
from tests.tiny import write_lora


@pytest.fixture(scope="module")
def sites(tiny):
    return LocalModel(tiny, precision="float32").sites


@pytest.fixture
def equal(tiny, tmp_path):
    """Four adapters of the same size."""
    return {f"{seed}": write_lora(tmp_path / f"{seed}", tiny, seed) for seed in range(4)}


def store_for(sites, equal, count):
    """A store with room for `count` of them, all of them registered."""
    size = AdapterStore(sites, torch.float32).register("probe", equal["0"]).bytes
    store = AdapterStore(sites, torch.float32, count * size)
    for name, folder in equal.items():
        store.register(name, folder)
    return store


def test_any_number_is_registered_and_the_last_used_stay_in_memory(sites, equal):
    store = store_for(sites, equal, 2)
    assert (len(store), store.resident, store.evictions) == (4, 2, 2)
    assert store.acquire(store["0"]) is None
    store.fetch(store["0"])
    assert store.acquire(store["0"]).digest == store["0"].digest
    assert store.resident == 2
    assert store.acquire(store["2"]) is None, "it was the longest unused"


def test_what_is_used_is_not_let_go(sites, equal):
    store = store_for(sites, equal, 2)
    used = store.acquire(store["3"])
    store.hold("0")
    assert not store.has_room(store["1"])
    assert store.has_room(store["0"])
    store.release(used)
    assert store.has_room(store["1"])
    store.hold("1")
    assert store.resident == 2


def test_one_content_under_two_names_is_in_memory_once_and_stays_until_both_are_gone(sites, equal):
    store = AdapterStore(sites, torch.float32)
    store.register("a", equal["0"])
    store.register("b", equal["0"])
    assert (len(store), store.resident, store.loads) == (2, 1, 1)
    store.unregister("a")
    assert store.resident == 1
    store.unregister("b")
    assert store.resident == 0
    with pytest.raises(NotFound):
        store.unregister("b")


def test_unregistered_weights_live_until_their_last_request_ends(sites, equal):
    store = AdapterStore(sites, torch.float32)
    store.register("a", equal["0"])
    first, second = store.hold("a"), store.hold("a")
    store.unregister("a")
    store.release(first)
    assert store.resident == 1
    store.release(second)
    assert store.resident == 0


def test_a_name_stands_for_one_content_unless_replacing_is_asked_for(sites, equal):
    store = AdapterStore(sites, torch.float32)
    store.register("a", equal["0"])
    store.register("a", equal["0"])
    before = store["a"]
    with pytest.raises(InvalidInput, match="other weights"):
        store.register("a", equal["1"])
    assert store["a"] == before
    held = store.hold("a")
    store.register("a", equal["1"], replace=True)
    assert store["a"].digest != before.digest
    assert held.digest == before.digest
    assert store.hold("a").digest == store["a"].digest


def test_files_that_changed_are_never_served_under_the_old_name(sites, equal):
    store = store_for(sites, equal, 1)
    path = equal["0"] / "adapter_model.safetensors"
    save_file({name: values * 2 for name, values in load_file(path).items()}, path)
    with pytest.raises(InvalidInput, match="changed after it was loaded"):
        store.fetch(store["0"])
    shutil.rmtree(equal["1"])
    with pytest.raises(Exception, match="there is no folder"):
        store.fetch(store["1"])


def test_an_adapter_that_can_never_fit(sites, equal):
    with pytest.raises(InvalidInput, match="start it with more"):
        AdapterStore(sites, torch.float32, 1000).register("a", equal["0"])
