"""Merged models compute what base and adapter compute together, in every format, read back by others."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from journeyman.errors import InvalidInput
from journeyman.rendering.chat import ChatTokenizer
from journeyman.training.export import export_adapter
from tests.tiny import write_lora, write_model
from tests.training.conftest import plain_model

IDS = torch.tensor([[1, 40, 77, 130, 9, 250, 31, 8]])


@pytest.fixture(params=["llama", "qwen2", "qwen3"])
def folders(request, tmp_path):
    # Transformers reads no head size from GGUF: the one that it assumes.
    shape = {"head_dim": 128} if request.param == "qwen3" else {}
    model = write_model(tmp_path / "model", request.param, **shape)
    return model, write_lora(tmp_path / "lora", model, seed=1, rank=4, use_rslora=True)


def logits(network):
    with torch.no_grad():
        return network.eval()(IDS).logits


def test_a_merged_model_computes_what_base_and_adapter_do(folders, tmp_path):
    model, lora = folders
    target = export_adapter(model, lora, tmp_path / "merged")
    merged = logits(AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32))
    torch.testing.assert_close(merged, logits(plain_model(model, lora)), rtol=1e-4, atol=1e-4)
    assert (merged - logits(plain_model(model))).abs().max() > 0.1, "the adapter does something"
    assert ChatTokenizer(target).encode("the balance") == ChatTokenizer(model).encode("the balance")


def test_a_gguf_file_computes_the_same(folders, tmp_path):
    model, lora = folders
    target = export_adapter(model, lora, tmp_path / "merged.gguf", "gguf", "float32")
    read = AutoModelForCausalLM.from_pretrained(target.parent, gguf_file=target.name, dtype=torch.float32)
    torch.testing.assert_close(logits(read), logits(plain_model(model, lora)), rtol=1e-4, atol=1e-4)


def test_a_gguf_file_holds_the_tokenizer_and_the_template(tmp_path, tiny, loras):
    import gguf

    target = export_adapter(tiny, loras["red"], tmp_path / "merged.gguf", "gguf")
    fields = gguf.GGUFReader(target).fields
    tokenizer = ChatTokenizer(tiny)
    tokens = fields["tokenizer.ggml.tokens"].contents()
    assert all(tokens[number] == text for text, number in tokenizer.tokenizer.get_vocab().items())
    assert fields["tokenizer.chat_template"].contents() == tokenizer.template.text
    assert fields["tokenizer.ggml.eos_token_id"].contents() in tokenizer.stop_ids
    assert fields["tokenizer.ggml.pre"].contents() == "gpt-2"


def test_what_cannot_be_written_is_refused(tmp_path, tiny, loras):
    other = write_model(tmp_path / "gemma", "gemma3_text")
    lora = write_lora(tmp_path / "lora", other, seed=1)
    with pytest.raises(InvalidInput, match="not for gemma3_text: export it --to safetensors"):
        export_adapter(other, lora, tmp_path / "gemma.gguf", "gguf")
    assert not list(tmp_path.glob("*.gguf*"))
    (tmp_path / "there").mkdir()
    with pytest.raises(InvalidInput, match="there already"):
        export_adapter(tiny, loras["red"], tmp_path / "there")
