"""GGUF files and folders become model folders of ours, tensor for tensor and token for token."""

import struct

import gguf
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from journeyman.engines.local.models.convert import convert_gguf, copy_model, read_gguf_facts, settle_template
from journeyman.engines.models import ORIGINAL_TEMPLATE, TEMPLATE
from journeyman.errors import InvalidInput, ModelFileBroken
from journeyman.records import Message, Tool
from journeyman.rendering.chat import ChatTokenizer

HEADS, KEY_HEADS = 4, 2
CHATML = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
BYTES = [chr(byte) for byte in range(33, 127)] + [chr(0x100 + byte) for byte in range(33)]
MERGES = ["1 2", "h e", "Ġ he"]
TENSORS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(SPECIAL + BYTES + MERGES),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_HEADS,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config)


@pytest.fixture(scope="module")
def gguf_file(network, tmp_path_factory):
    """The network as llama.cpp would write it: SmolLM's tokenizer, rows of q and k in another order."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Tiny")
    writer.add_license("apache-2.0")
    writer.add_block_count(2)
    writer.add_context_length(512)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_rope_dimension_count(8)
    writer.add_layer_norm_rms_eps(network.config.rms_norm_eps)
    writer.add_vocab_size(network.config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([*SPECIAL, *BYTES, *(merge.replace(" ", "") for merge in MERGES)])
    writer.add_token_types([3] * len(SPECIAL) + [1] * len(BYTES + MERGES))
    writer.add_token_merges(MERGES)
    for add, id in ((writer.add_bos_token_id, 1), (writer.add_eos_token_id, 2), (writer.add_pad_token_id, 2)):
        add(id)
    writer.add_chat_template(CHATML)
    for name, tensor in network.model.state_dict().items():
        writer.add_tensor(_name_in_gguf(name), _as_in_gguf(name, tensor).contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _name_in_gguf(name):
    if not name.startswith("layers."):
        return {"embed_tokens.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}[name]
    _, layer, rest = name.split(".", 2)
    return f"blk.{layer}.{TENSORS[rest.removesuffix('.weight')]}.weight"


def _as_in_gguf(name, tensor):
    heads = HEADS if "q_proj" in name else KEY_HEADS if "k_proj" in name else None
    if heads is None:
        return tensor
    return tensor.reshape(heads, 2, len(tensor) // heads // 2, -1).swapaxes(1, 2).reshape(tensor.shape)


@pytest.fixture(scope="module")
def converted(gguf_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted") / "tiny"
    assert convert_gguf(gguf_file, folder) == "apache-2.0"
    return folder


def test_every_tensor_is_the_one_that_was_written_in_bfloat16(network, converted):
    found = load_file(converted / "model.safetensors")
    expected = {name: tensor for name, tensor in network.state_dict().items() if name != "lm_head.weight"}
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor.to(torch.bfloat16)), name


def test_the_folder_loads_as_a_plain_model(network, converted):
    loaded = LlamaForCausalLM.from_pretrained(converted, local_files_only=True)
    assert not hasattr(loaded.config, "quantization_config")
    assert loaded.config.max_position_embeddings == 512
    ids = torch.arange(20)[None]
    assert torch.allclose(loaded.float()(ids).logits, network(ids).logits, atol=0.02)


def test_numbers_are_cut_into_digits_as_smollm_does(converted):
    tokenizer = ChatTokenizer(converted)
    assert [tokenizer.decode([id]) for id in tokenizer.encode("12 he")] == ["1", "2", " he"]
    assert tokenizer.encode("<|im_start|>") == [1]
    assert tokenizer.stop_ids == {2}
    other = AutoTokenizer.from_pretrained(converted, local_files_only=True)
    assert other.encode("12 he", add_special_tokens=False) == tokenizer.encode("12 he")


def test_nothing_is_printed_on_the_way(gguf_file, tmp_path, capfd):
    convert_gguf(gguf_file, tmp_path / "tiny")
    assert capfd.readouterr() == ("", "")


def test_a_template_without_tools_is_replaced_and_kept(gguf_file, tmp_path):
    folder = tmp_path / "tiny"
    convert_gguf(gguf_file, folder)
    assert "ours" in settle_template(folder)
    assert (folder / ORIGINAL_TEMPLATE).read_text() == CHATML
    tool = Tool.model_validate({"type": "function", "function": {"name": "look", "parameters": {}}})
    assert "look(" in ChatTokenizer(folder).template.render([Message(role="user", content="hi")], [tool])


@pytest.mark.parametrize(
    ("template", "said"),
    [("{{ messages }}{{ tools }}", "knows tools"), ("[INST] {{ messages }}", "knows no tools"), (None, "cannot chat")],
)
def test_a_template_that_ours_cannot_stand_in_for_stays(tmp_path, template, said):
    if template:
        (tmp_path / TEMPLATE).write_text(template)
    assert said in settle_template(tmp_path)
    assert not (tmp_path / ORIGINAL_TEMPLATE).exists()
    assert (tmp_path / TEMPLATE).exists() == (template is not None)


def test_the_header_is_read_without_its_lists(gguf_file):
    facts = read_gguf_facts(gguf_file)
    assert facts["general.license"] == "apache-2.0"
    assert facts["tokenizer.ggml.pre"] == "smollm"
    assert facts["llama.context_length"] == 512
    assert facts["tokenizer.chat_template"] == CHATML
    assert "tokenizer.ggml.tokens" not in facts


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.9])
def test_a_cut_gguf_file_is_named(gguf_file, tmp_path, share):
    content = gguf_file.read_bytes()
    (tmp_path / "cut.gguf").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelFileBroken, match=r"cut\.gguf"):
        convert_gguf(tmp_path / "cut.gguf", tmp_path / "tiny")


@pytest.mark.parametrize("content", [b"PK\x03\x04" + bytes(40), struct.pack("<4sIQQ", b"GGUF", 99, 0, 0)])
def test_what_is_no_gguf_file_is_said(tmp_path, content):
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(ModelFileBroken, match="does not start as a GGUF file"):
        read_gguf_facts(tmp_path / "x.gguf")


def test_a_folder_is_copied_without_what_nobody_needs(converted, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (source / name).write_bytes((converted / name).read_bytes())
    for name in ("pytorch_model.bin", "training_args.bin", "notes.txt"):
        (source / name).write_bytes(b"x")
    (source / "README.md").write_text("---\nlanguage:\n- en\nlicense: mit\n---\n# Tiny\nlicense: none")
    assert copy_model(source, tmp_path / "target") == "mit"
    kept = {file.name for file in (tmp_path / "target").iterdir()}
    assert kept == {"config.json", "model.safetensors", "tokenizer.json", "README.md"}


def test_pickled_weights_are_refused_with_the_reason(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InvalidInput, match="holds no weights"):
        copy_model(tmp_path, tmp_path / "target")
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(InvalidInput, match=r"pickled files \(pytorch_model\.bin\).*can run any code"):
        copy_model(tmp_path, tmp_path / "other")


def test_truncated_and_missing_shards_are_named(converted, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_bytes((converted / "config.json").read_bytes())
    weights = (converted / "model.safetensors").read_bytes()
    (source / "model.safetensors").write_bytes(weights[:-1])
    with pytest.raises(ModelFileBroken, match=r"model\.safetensors cannot be read"):
        copy_model(source, tmp_path / "one")
    (source / "model.safetensors").rename(source / "model-1-of-2.safetensors")
    (source / "model-1-of-2.safetensors").write_bytes(weights)
    (source / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}'
    )
    with pytest.raises(ModelFileBroken, match=r"model-2-of-2\.safetensors cannot be read"):
        copy_model(source, tmp_path / "two")
