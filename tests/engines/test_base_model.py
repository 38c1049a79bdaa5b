"""An adapter knows the model that it was learned on, and is not used on another one."""

import shutil

import pytest

from journeyman.engines.base_model import FILE, check_base, weights_version, write_base
from journeyman.engines.dialect import vllm_dialect
from journeyman.engines.models import TEMPLATE
from journeyman.errors import InvalidInput, ModelFileBroken


@pytest.fixture
def folders(tiny, loras, tmp_path):
    """A model that may be changed, and an adapter that was learned on it."""
    model, adapter = tmp_path / "tiny", tmp_path / "red@1"
    shutil.copytree(tiny, model)
    shutil.copytree(loras["red"], adapter)
    write_base(adapter, model)
    return model, adapter


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_base_that_changed_is_found_also_by_vllms_gateway(folders, file):
    model, adapter = folders
    check_base(adapter, model, "adapter red")
    vllm_dialect(model).check_adapter("red", adapter)
    content = (model / file).read_bytes()
    # As long as before, for a size alone tells nothing: in the JSON files a space goes from one end to the other.
    changed = content[:-1] + bytes([content[-1] ^ 1]) if file.endswith("safetensors") else b" " + content.rstrip()
    (model / file).write_bytes(changed)
    with pytest.raises(InvalidInput, match="that adapter red was trained on"):
        check_base(adapter, model, "adapter red")
    with pytest.raises(InvalidInput, match="Put the model back"):
        vllm_dialect(model).check_adapter("red", adapter)
    (model / file).write_bytes(content)
    check_base(adapter, model, "adapter red")


def test_a_template_may_change_and_a_model_may_move(folders, tmp_path):
    model, adapter = folders
    (model / TEMPLATE).write_text("{{ messages }}")
    moved = model.rename(tmp_path / "elsewhere")
    check_base(adapter, moved, "adapter red")


def test_what_says_nothing_of_its_base_passes_and_what_says_it_wrongly_does_not(folders, loras):
    model, adapter = folders
    check_base(loras["red"], model, "adapter red")
    (adapter / FILE).write_text("{}")
    with pytest.raises(ModelFileBroken, match=r"base\.json in .* cannot be read"):
        check_base(adapter, model, "adapter red")


def test_files_that_are_the_same_are_read_once(folders, monkeypatch):
    model, _ = folders
    known = weights_version(model)
    monkeypatch.setattr("journeyman.engines.base_model.sha256_of", lambda path: pytest.fail("read again"))
    assert weights_version(model) == known
