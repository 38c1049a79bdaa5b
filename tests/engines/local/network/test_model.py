"""Base models: any folder that transformers can build computes here what it computes there, or is refused."""

import shutil

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from journeyman.engines.local.network.borrowed import load_weights
from journeyman.engines.local.network.model import LocalModel
from journeyman.engines.local.network.precision import choose_dtype
from journeyman.engines.local.network.step import Step
from journeyman.errors import InvalidInput, ModelFileBroken
from tests.engines.local.conftest import generate, load_plain, random_prompts
from tests.tiny import write_lora, write_model

ARCHITECTURES = {
    "llama, untied, more heads": ("llama", {"num_key_value_heads": 4, "tie_word_embeddings": False}),
    "llama with long positions": (
        "llama",
        {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0,
                             "high_freq_factor": 4.0, "original_max_position_embeddings": 64}},
    ),
    "qwen2 with biases": ("qwen2", {}),
    "qwen3 with norms of queries": ("qwen3", {}),
    "mistral with a sliding window": ("mistral", {"sliding_window": 8}),
    "gemma3 with sliding and full layers": (
        "gemma3_text", {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"],
                        "query_pre_attn_scalar": 16},
    ),
}  # fmt: skip


def apart(one: LocalModel, other: LocalModel) -> float:
    """How far apart their logits for a prompt are, of their norm."""
    prompt, logits = random_prompts(1, seed=35)[0], []
    for model in (one, other):
        step = Step()
        step.add(prompt, 0, model.cache.take(len(prompt), b"apart").pages, None)
        logits.append(model.forward(step, range(len(prompt))).float())
    return float((logits[0] - logits[1]).norm() / logits[1].norm())


WAYS = {
    "natively, in C": {},
    "natively, in PyTorch": {"compiled": False},
    "with transformers' layers": {"native": False},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_any_architecture_says_what_transformers_says(name, way, tmp_path, start):
    architecture, shape = ARCHITECTURES[name]
    folder = write_model(tmp_path / "model", architecture, **shape)
    lora = write_lora(tmp_path / "lora", folder, 3)
    base, adapted = load_plain(folder), PeftModel.from_pretrained(load_plain(folder), lora).eval()
    engine = start(folder, {"lora": lora}, rows=4, **WAYS[way])
    assert engine.model.path == ("native" if WAYS[way].get("native", True) else "transformers")
    assert engine.model.kernels == ("c" if WAYS[way].get("compiled", True) else "torch")
    prompts = [*random_prompts(4, seed=30), random_prompts(1, seed=31, longest=2)[0] * 300]
    asked = [(engine.ask(prompt), engine.ask(prompt, "lora")) for prompt in prompts]
    for prompt, (plain, under) in zip(prompts, asked, strict=True):
        assert plain.reply == generate(base, prompt, 24)
        assert under.reply == generate(adapted, prompt, 24)


@pytest.mark.parametrize(("architecture", "key_heads"), [("granite", 2), ("gpt_neox", 4), ("olmo2", 2)])
def test_what_is_not_known_natively_is_left_to_transformers_and_said(architecture, key_heads, tmp_path, start, caplog):
    folder = write_model(tmp_path / "model", architecture, num_key_value_heads=key_heads)
    engine = start(folder, {})
    assert engine.model.path == "transformers"
    assert f"{architecture} networks" in caplog.text
    for prompt in random_prompts(3, seed=32):
        assert engine.ask(prompt).reply == generate(load_plain(folder), prompt, 24)


def test_widths_that_the_kernels_cannot_take_are_left_to_pytorch_and_said(tmp_path, start, caplog):
    folder = write_model(tmp_path / "model", hidden_size=56, head_dim=8)
    engine = start(folder, {})
    assert engine.model.kernels == "torch"
    assert "multiples of 16" in caplog.text
    prompt = random_prompts(1, seed=33)[0]
    assert engine.ask(prompt).reply == generate(load_plain(folder), prompt, 24)


def test_files_that_hold_more_than_a_family_knows_are_left_to_transformers(folder):
    path = folder / "model.safetensors"
    save_file(load_file(path) | {"model.layers.0.novelty.weight": torch.ones(3)}, path, metadata={"format": "pt"})
    assert LocalModel(folder).path == "transformers"


def test_int8_is_close_and_says_what_it_is(tiny, tmp_path):
    model = LocalModel(tiny, precision="int8")
    assert model.precision == "int8"
    assert 0 < apart(model, LocalModel(tiny, precision="bfloat16")) < 0.1
    with pytest.raises(InvalidInput, match="computed natively"):
        LocalModel(write_model(tmp_path / "model", "granite"), precision="int8")


@pytest.mark.parametrize(
    ("architecture", "shape"),
    [
        ("gemma2", {"query_pre_attn_scalar": 16}),
        ("mamba", {"state_size": 4}),
        ("gpt_neox", {"num_key_value_heads": 2}),
        ("lfm2", {"layer_types": ["conv", "full_attention"]}),
    ],
    ids=str,
)
def test_an_architecture_that_is_computed_otherwise_is_refused_and_never_served_wrongly(architecture, shape, tmp_path):
    folder = write_model(tmp_path / "model", architecture, **shape)
    with pytest.raises(InvalidInput, match="the local engine"):
        LocalModel(folder, precision="float32")


def test_bfloat16_is_close_to_float32(tiny):
    model = LocalModel(tiny, precision="bfloat16")
    assert 0 < apart(model, LocalModel(tiny, precision="float32")) < 0.05
    assert model.cache.layers[0].keys.dtype is torch.bfloat16
    assert choose_dtype("bfloat16") is torch.bfloat16
    assert choose_dtype("float32") is torch.float32


@pytest.fixture
def folder(tiny, tmp_path):
    """A copy of the model, to be damaged."""
    return shutil.copytree(tiny, tmp_path / "broken")


def test_a_truncated_file_is_named_with_the_way_out(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelFileBroken, match=r"broken: model\.safetensors is missing, truncated.*; take the files"):
        LocalModel(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_missing_file_is_named_with_the_way_out(folder, name):
    (folder / name).unlink()
    with pytest.raises(ModelFileBroken, match=rf"broken: {name} is missing.*; take the files again"):
        LocalModel(folder)


def test_weights_that_a_file_lacks_are_not_made_up(folder):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    gone = next(key for key in tensors if "up_proj" in key)
    del tensors[gone]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ModelFileBroken, match=r"1 weights are not in its files, such as .*up_proj"):
        load_weights(folder, torch.float32)


def test_weights_of_another_shape(folder):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    key = next(key for key in tensors if "up_proj" in key)
    tensors[key] = tensors[key][:, :8].contiguous()
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(InvalidInput, match="transformers cannot build this model"):
        load_weights(folder, torch.float32)


def test_weights_that_are_not_numbers(folder):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors[next(key for key in tensors if "up_proj" in key)][:] = float("nan")
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(InvalidInput, match="broken"):
        LocalModel(folder)


def test_pickled_weights_are_not_read(folder):
    path = folder / "model.safetensors"
    torch.save(load_file(path), folder / "pytorch_model.bin")
    path.unlink()
    with pytest.raises(ModelFileBroken):
        LocalModel(folder)


@pytest.mark.parametrize("written", ["{", '{"model_type": "never-heard-of"}', "{}"])
def test_a_config_that_is_no_config(folder, written):
    (folder / "config.json").write_text(written)
    with pytest.raises((ModelFileBroken, InvalidInput), match="broken"):
        LocalModel(folder)


def test_the_context_is_at_most_the_models_own(tiny):
    assert LocalModel(tiny, precision="float32", context=4096).context == 512
    assert LocalModel(tiny, precision="float32", context=100).context == 100


def test_layers_of_odd_widths_are_adapted_as_peft_does(tmp_path, start):
    folder = write_model(
        tmp_path / "model", "qwen2_moe", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32,
        shared_expert_intermediate_size=32,
    )  # fmt: skip
    lora = write_lora(tmp_path / "lora", folder, 3, target_modules=["shared_expert_gate", "q_proj"])
    adapted = PeftModel.from_pretrained(load_plain(folder), lora).eval()
    engine = start(folder, {"lora": lora}, rows=4)
    assert engine.model.kernels == "c"
    prompts = random_prompts(3, seed=34)
    asked = [engine.ask(prompt, "lora") for prompt in prompts]
    assert [each.reply for each in asked] == [generate(adapted, prompt, 24) for prompt in prompts]


def test_an_untied_head_that_is_not_there_is_not_made_up(tmp_path):
    folder = write_model(tmp_path / "model", tie_word_embeddings=False)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    del tensors["lm_head.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ModelFileBroken, match=r"lm_head\.weight"):
        LocalModel(folder)


def test_positions_that_mean_other_things_in_longer_batches_are_not_reached(tmp_path):
    rotation = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 64,
                "short_factor": [1.0] * 8, "long_factor": [4.0] * 8}  # fmt: skip
    assert LocalModel(write_model(tmp_path / "model", rope_parameters=rotation)).context == 64
