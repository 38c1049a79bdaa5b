"""Whole models as GGUF files, for llama.cpp and what is built on it.

Known are Llama's architecture (also Mistral's and SmolLM's), Qwen2 and Qwen3, with byte-level BPE vocabularies. What is
not known is refused: a file that loads and computes something else would be worse than none.
"""

import json
import os
from pathlib import Path
from typing import Any

import torch

from journeyman.errors import InvalidInput
from journeyman.rendering.chat import ChatTokenizer

_ARCHITECTURES = {"llama": "LLAMA", "mistral": "LLAMA", "qwen2": "QWEN2", "qwen3": "QWEN3"}
_TURNS_HALVES = {"llama", "mistral"}
"""Where llama.cpp rotates neighbours, and transformers halves: rows of the query and key matrices change places."""


def write_gguf(network: Any, tokenizer: ChatTokenizer, path: Path, *, half: bool = True) -> None:
    """Write a causal language model of transformers' and its tokenizer; matrices in float16 or float32, norms in
    float32. InvalidInput for what the format's reader would compute differently."""
    import gguf

    config = network.config
    if config.model_type not in _ARCHITECTURES:
        known = ", ".join(_ARCHITECTURES)
        raise InvalidInput(
            f"GGUF files are written for {known}, not for {config.model_type}: export it --to safetensors, and convert "
            "that with llama.cpp's own converter"
        )
    architecture = gguf.MODEL_ARCH[_ARCHITECTURES[config.model_type]]
    theta = _rope_theta(config)
    vocabulary = _vocabulary(tokenizer, config.vocab_size)
    partial = path.with_name(f".{path.name}.partial")
    writer = gguf.GGUFWriter(partial, gguf.MODEL_ARCH_NAMES[architecture])
    try:
        _write_shape(writer, config, theta, half=half)
        _write_vocabulary(writer, tokenizer, config, *vocabulary)
        names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
        for name, tensor in network.state_dict().items():
            if name == "lm_head.weight" and config.tie_word_embeddings:
                continue
            known_as = names.get_name(name, try_suffixes=(".weight", ".bias"))
            if known_as is None:
                raise InvalidInput(f"GGUF knows no weight such as {name}; export it --to safetensors instead")
            value = _turned(name, tensor.float(), config)
            writer.add_tensor(known_as, (value.half() if half and value.dim() > 1 else value).contiguous().numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _write_shape(writer: Any, config: Any, theta: float, *, half: bool) -> None:
    import gguf

    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if half else gguf.LlamaFileType.ALL_F32)


def _write_vocabulary(
    writer: Any, tokenizer: ChatTokenizer, config: Any, splitter: str, tokens: list[str], types: list[int], merges: Any
) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(splitter)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(min(tokenizer.stop_ids))
    if config.bos_token_id is not None:
        writer.add_bos_token_id(config.bos_token_id)
    # The template writes it where it belongs.
    writer.add_add_bos_token(False)
    writer.add_chat_template(tokenizer.template.text)


def _vocabulary(tokenizer: ChatTokenizer, size: int) -> tuple[str, list[str], list[int], list[str]]:
    """Which splitter of llama.cpp's it is, every token, what kind each is, and the merges."""
    import gguf

    found = json.loads((tokenizer.folder / "tokenizer.json").read_text())
    if found["model"].get("type") != "BPE" or found["model"].get("byte_fallback"):
        raise InvalidInput("GGUF files are written for byte-level BPE tokenizers only; export it --to safetensors")
    tokens = {number: text for text, number in found["model"]["vocab"].items()}
    kinds = dict.fromkeys(tokens, int(gguf.TokenType.NORMAL))
    for each in found["added_tokens"]:
        tokens[each["id"]] = each["content"]
        kinds[each["id"]] = int(gguf.TokenType.CONTROL if each["special"] else gguf.TokenType.USER_DEFINED)
    merges = [each if isinstance(each, str) else " ".join(each) for each in found["model"]["merges"]]
    unused = int(gguf.TokenType.UNUSED)
    return (
        _splitter(found.get("pre_tokenizer") or {}),
        [tokens.get(number, f"[PAD{number}]") for number in range(size)],
        [kinds.get(number, unused) for number in range(size)],
        merges,
    )


def _splitter(pre_tokenizer: dict[str, Any]) -> str:
    """The name under which llama.cpp knows how text is split before merging."""
    parts = pre_tokenizer.get("pretokenizers") or [pre_tokenizer]
    kinds = [part.get("type") for part in parts]
    if kinds == ["ByteLevel"]:
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and parts[0].get("individual_digits"):
        return "smollm"
    if kinds == ["Split", "ByteLevel"]:
        pattern = str(parts[0].get("pattern", {}).get("Regex"))
        if r"\p{N}{1,3}" in pattern and pattern.startswith("(?i:'s|'t"):
            return "llama-bpe"
        if r"|\p{N}|" in pattern and pattern.startswith("(?i:'s|'t"):
            return "qwen2"
    raise InvalidInput(
        "how this tokenizer splits text is not known to the GGUF writer; export it --to safetensors, and convert that "
        "with llama.cpp's own converter"
    )


def _rope_theta(config: Any) -> float:
    parameters = getattr(config, "rope_parameters", None) or {}
    kind = parameters.get("rope_type", "default")
    if kind != "default":
        raise InvalidInput(
            f"the model stretches its positions ({kind}), which the GGUF writer does not know; export it "
            "--to safetensors, and convert that with llama.cpp's own converter"
        )
    return float(parameters.get("rope_theta", getattr(config, "rope_theta", 10000.0)))


def _turned(name: str, tensor: torch.Tensor, config: Any) -> torch.Tensor:
    """Query and key rows in llama.cpp's order: halves of a head interleaved."""
    if config.model_type not in _TURNS_HALVES or not name.endswith(("q_proj.weight", "k_proj.weight")):
        return tensor
    heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
    size = tensor.shape[0] // heads // 2
    return tensor.view(heads, 2, size, -1).transpose(1, 2).reshape(tensor.shape)
