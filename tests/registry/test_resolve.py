"""Names and adapters: who answers to what, and that weights are what they were."""

import json
import os
import shutil

import pytest

from journeyman.errors import DiskFull, InvalidInput, ModelFileBroken, NotFound
from journeyman.records import Adapter, Promotion
from journeyman.registry.adapters import check_adapter, find_adapter, list_adapters, register_adapter
from journeyman.registry.resolve import resolve
from journeyman.store.memory import MemoryStore


@pytest.fixture
def store():
    return MemoryStore()


def write_adapter(folder, content=b"12345678"):
    folder.mkdir(parents=True)
    header = json.dumps({"a": {"dtype": "U8", "shape": [len(content)], "data_offsets": [0, len(content)]}}).encode()
    (folder / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + content)
    (folder / "adapter_config.json").write_text('{"r": 1}')
    return folder


@pytest.fixture
def register(store, tmp_path):
    def registered(name="support", content=b"12345678", template="v1"):
        folder = write_adapter(tmp_path / "run" / os.urandom(4).hex(), content)
        home = tmp_path / "home"
        return register_adapter(store, folder, home=home, name=name, base="tiny", rank=1, template=template)

    return registered


def target_of(name, store):
    return resolve(name, store, ["tiny"], ["acme"])


def test_the_order_is_alias_adapter_base_provider(store, register):
    assert target_of("tiny", store).kind == "base"
    assert target_of("acme/org/model", store).model_dump() == {
        "kind": "provider", "model": "org/model", "base": "org/model", "adapter": None, "provider": "acme",
    }  # fmt: skip
    adapter = register("tiny")
    found = target_of("tiny", store)
    assert (found.kind, found.model, found.base, found.adapter) == ("adapter", adapter.id, "tiny", adapter)
    store.put(Promotion(alias="tiny", target="acme/big"))
    assert target_of("tiny", store).provider == "acme"


def test_an_adapters_name_means_the_newest_and_its_id_means_itself(store, register):
    old, new = register(content=b"old"), register(content=b"new")
    assert target_of("support", store).model == new.id
    assert target_of(old.id, store).model == old.id
    assert find_adapter(store, "support") == new
    assert list_adapters(store) == [new, old]


def test_an_alias_is_its_last_promotion(store, register):
    old, new = register(content=b"old"), register(content=b"new")
    for promoted in (old, new, old):
        store.put(Promotion(alias="bank", target=promoted.id))
    assert target_of("bank", store).adapter == old


def test_unknown_names_are_told_what_exists(store, register):
    register()
    store.put(Promotion(alias="bank", target="support"))
    for wrong in ("acme/", "acme", "other/model", "nothing"):
        with pytest.raises(NotFound) as caught:
            target_of(wrong, store)
        assert caught.value.existing == ["acme/*", "bank", "support", "tiny"]
    with pytest.raises(NotFound, match="there is: support"):
        find_adapter(store, "nothing")


def test_an_alias_whose_target_is_gone_never_becomes_something_else(store):
    store.put(Promotion(alias="tiny", target="0123456789abcdef"))
    with pytest.raises(NotFound, match="alias 'tiny'"):
        target_of("tiny", store)


def test_an_alias_does_not_lead_to_another_alias(store):
    store.put(Promotion(alias="a", target="b"), Promotion(alias="b", target="tiny"))
    with pytest.raises(NotFound):
        target_of("a", store)


def test_registering_moves_the_folder_and_records_it(store, tmp_path):
    folder = write_adapter(tmp_path / "run" / "best")
    adapter = register_adapter(
        store, folder, home=tmp_path, name="support", base="tiny", rank=8, template="v1", run_id="r", parent="p"
    )
    assert adapter.path == str(tmp_path / "adapters" / f"support@{adapter.id}")
    assert len(adapter.id) == 16
    assert not folder.exists()
    assert store.get(Adapter, adapter.id) == adapter
    check_adapter(adapter)


def test_the_id_follows_weights_config_and_template(register):
    ids = {register(content=b"a").id, register(content=b"b").id, register(content=b"a", template="v2").id}
    assert len(ids) == 3


def test_the_same_weights_again_are_the_same_adapter(store, register):
    first = register("support")
    assert register("other-name") == first
    assert list_adapters(store) == [first]


def test_weights_that_were_lost_can_be_registered_again(store, register):
    first = register()
    shutil.rmtree(first.path)
    again = register()
    assert again.id == first.id
    check_adapter(store.get(Adapter, first.id))


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b", "x" * 65, "a\n"])
def test_a_name_that_is_no_folder_name_is_refused(store, tmp_path, name):
    folder = write_adapter(tmp_path / "run")
    with pytest.raises(InvalidInput, match="adapter name"):
        register_adapter(store, folder, home=tmp_path, name=name, base="tiny", rank=1, template="v1")
    assert folder.exists()


@pytest.mark.parametrize("damage", ["cut", "missing", "text", "config"])
def test_incomplete_weights_are_refused_and_left_alone(store, tmp_path, damage):
    folder = write_adapter(tmp_path / "run")
    weights = folder / "adapter_model.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif damage == "text":
        weights.write_bytes(b"not a tensor at all")
    else:
        (weights if damage == "missing" else folder / "adapter_config.json").unlink()
    with pytest.raises(ModelFileBroken):
        register_adapter(store, folder, home=tmp_path, name="support", base="tiny", rank=1, template="v1")
    assert folder.exists()
    assert not list_adapters(store)
    assert not (tmp_path / "adapters").exists()


def test_an_altered_adapter_is_found_out(register):
    adapter = register()
    path = f"{adapter.path}/adapter_model.safetensors"
    with open(path, "r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    with pytest.raises(ModelFileBroken, match="altered or cut"):
        check_adapter(adapter)
    os.remove(path)
    with pytest.raises(ModelFileBroken, match="cannot be read"):
        check_adapter(adapter)


def test_a_full_disk_leaves_nothing_half_written(store, tmp_path, monkeypatch):
    folder = write_adapter(tmp_path / "run")

    def across_devices(*arguments):
        raise OSError(18, "Invalid cross-device link")

    def full(source, target):
        os.mkdir(target)
        raise shutil.Error([("a", "b", "[Errno 28] No space left on device")])

    monkeypatch.setattr(os, "rename", across_devices)
    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(DiskFull, match="still in"):
        register_adapter(store, folder, home=tmp_path, name="support", base="tiny", rank=1, template="v1")
    assert folder.exists()
    assert list((tmp_path / "adapters").iterdir()) == []
    assert not list_adapters(store)
