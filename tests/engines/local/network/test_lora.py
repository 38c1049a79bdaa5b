"""Adapters: served exactly as PEFT computes them, or refused."""

import json
import shutil

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from journeyman.engines.local.network.lora import read_lora
from journeyman.engines.local.network.model import LocalModel
from journeyman.errors import InvalidInput, ModelFileBroken
from tests.engines.local.conftest import generate, load_plain, random_prompts
from tests.tiny import write_lora


@pytest.fixture(scope="module")
def sites(tiny):
    """Where adapters of the tiny model act."""
    return LocalModel(tiny, precision="float32").sites


@pytest.fixture
def adapter(loras, tmp_path):
    """A copy of an adapter, to be damaged."""
    return shutil.copytree(loras["green"], tmp_path / "adapter")


def configure(adapter, **fields):
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def rewrite(adapter, change):
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def first(tensors, kind):
    return next(key for key in tensors if kind in key)


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": ["q_proj", "v_proj"]},
        {"use_rslora": True, "lora_alpha": 3},
        {"layers_to_transform": [1], "target_modules": ["down_proj"]},
        {"init_lora_weights": "gaussian"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_variants_of_lora_say_what_peft_says(tiny, tmp_path, start, options):
    folder = write_lora(tmp_path / "variant", tiny, 5, **options)
    network = PeftModel.from_pretrained(load_plain(tiny), folder).eval()
    engine = start(loras={"variant": folder})
    for prompt in random_prompts(3, seed=20):
        assert engine.ask(prompt, "variant").reply == generate(network, prompt, 24)


@pytest.mark.filterwarnings("ignore::peft.utils.warning.PeftWarning")
@pytest.mark.parametrize(
    "options",
    [
        {"use_dora": True},
        {"modules_to_save": ["lm_head"]},
        {"bias": "lora_only"},
        {"bias": "all"},
        {"lora_bias": True},
        {"rank_pattern": {"q_proj": 2}},
        {"alpha_pattern": {"q_proj": 2}},
        {"target_modules": ["embed_tokens"]},
        {"trainable_token_indices": [5]},
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "olora"},
    ],
    ids=str,
)
def test_what_the_engine_does_not_compute_is_refused(tiny, sites, tmp_path, options):
    folder = write_lora(tmp_path / "odd", tiny, 6, **options)
    with pytest.raises(InvalidInput, match="'odd'"):
        read_lora("odd", folder, sites, torch.float32)


def test_another_kind_of_adapter_is_refused(adapter, sites):
    configure(adapter, peft_type="IA3")
    with pytest.raises(InvalidInput, match="is of type IA3"):
        read_lora("a", adapter, sites, torch.float32)


def test_an_adapter_of_another_base_is_refused(tiny, tmp_path, sites):
    from tests.tiny import write_model

    wide = write_model(tmp_path / "wide", hidden_size=32, head_dim=8)
    deep = write_model(tmp_path / "deep", num_hidden_layers=3)
    for base in (wide, deep):
        folder = write_lora(tmp_path / f"of-{base.name}", base, 7)
        with pytest.raises(InvalidInput, match="does not fit this base model"):
            read_lora("a", folder, sites, torch.float32)


def test_a_truncated_file_is_named(adapter, sites):
    path = adapter / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelFileBroken, match=r"adapter_model\.safetensors is truncated"):
        read_lora("a", adapter, sites, torch.float32)


def test_pickled_weights_are_not_read(adapter, sites):
    path = adapter / "adapter_model.safetensors"
    torch.save(load_file(path), adapter / "adapter_model.bin")
    path.unlink()
    with pytest.raises(ModelFileBroken, match=r"adapter_model\.bin(.|\n)*pickled weights are not read"):
        read_lora("a", adapter, sites, torch.float32)


def test_a_folder_that_is_not_there(tmp_path, sites):
    with pytest.raises(ModelFileBroken, match=r"there is no folder"):
        read_lora("a", tmp_path / "nowhere", sites, torch.float32)


@pytest.mark.parametrize("written", ["{", "[1]", "null", '{"peft_type": "LORA"}', ""])
def test_a_config_that_is_no_config(adapter, sites, written):
    (adapter / "adapter_config.json").write_text(written)
    with pytest.raises((InvalidInput, ModelFileBroken), match="adapter 'a'"):
        read_lora("a", adapter, sites, torch.float32)


@pytest.mark.parametrize("rank", [0, -1, "8", None])
def test_an_impossible_rank(adapter, sites, rank):
    configure(adapter, r=rank)
    with pytest.raises(InvalidInput, match="r="):
        read_lora("a", adapter, sites, torch.float32)


def test_a_rank_that_the_matrices_do_not_have(adapter, sites):
    configure(adapter, r=3)
    with pytest.raises(InvalidInput, match="does not fit"):
        read_lora("a", adapter, sites, torch.float32)


@pytest.mark.parametrize("stray", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(adapter, sites, stray):
    def change(tensors):
        tensors[first(tensors, "lora_B")][0, 0] = stray

    rewrite(adapter, change)
    with pytest.raises(InvalidInput, match="not finite"):
        read_lora("a", adapter, sites, torch.float32)


def test_half_a_pair(adapter, sites):
    rewrite(adapter, lambda tensors: tensors.pop(first(tensors, "lora_B")))
    with pytest.raises(ModelFileBroken, match="no B matrix"):
        read_lora("a", adapter, sites, torch.float32)


def test_the_other_half_of_a_pair(adapter, sites):
    rewrite(adapter, lambda tensors: tensors.pop(first(tensors, "lora_A")))
    with pytest.raises(InvalidInput, match="not LoRA matrices"):
        read_lora("a", adapter, sites, torch.float32)


def test_no_weights_at_all(adapter, sites):
    rewrite(adapter, lambda tensors: tensors.clear())
    with pytest.raises(InvalidInput, match="no LoRA matrices"):
        read_lora("a", adapter, sites, torch.float32)


def test_ranks_that_do_not_meet_are_refused_before_they_can_fail_a_batch(adapter, sites):
    def change(tensors):
        key = first(tensors, "lora_B")
        tensors[key] = tensors[key][:, :2].contiguous()

    rewrite(adapter, change)
    with pytest.raises(InvalidInput, match="does not fit"):
        read_lora("a", adapter, sites, torch.float32)


def test_a_rank_above_the_limit(adapter, sites):
    with pytest.raises(InvalidInput, match="rank 4, and this engine serves ranks up to 3"):
        read_lora("a", adapter, sites, torch.float32, 3)


def test_the_digest_is_of_the_contents_and_not_of_the_name(loras, adapter, sites):
    one, same = (read_lora(name, loras["green"], sites, torch.float32) for name in ("one", "same"))
    copied = read_lora("copied", adapter, sites, torch.float32)
    assert one.digest == same.digest == copied.digest
    rewrite(adapter, lambda tensors: tensors[first(tensors, "lora_B")].mul_(2))
    assert read_lora("changed", adapter, sites, torch.float32).digest != one.digest
    configure(adapter, lora_alpha=1)
    assert read_lora("scaled", adapter, sites, torch.float32).digest != one.digest
