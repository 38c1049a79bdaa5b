"""Model folders without weights: a byte-level tokenizer with a family's control tokens, stop ids and template."""

import json
import shutil
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
from tokenizers.trainers import BpeTrainer

from journeyman.rendering.chat import TEMPLATE_FILE, TOOL_TEMPLATE, ChatTokenizer

TEMPLATES = Path(__file__).parent / "templates"
CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
QWEN_TAGS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>")
"""Tokens of Qwen3 that are not special in its file."""
LLAMA = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>",
    "<|python_tag|>",
)  # fmt: skip
GEMMA = ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>")
FAMILIES = {
    "smollm2": (TOOL_TEMPLATE, CHATML, (), ("<|im_end|>",), "<|im_start|>"),
    "qwen3": (TEMPLATES / "qwen3.jinja", CHATML, QWEN_TAGS, ("<|im_end|>", "<|endoftext|>"), None),
    "qwen3-coder": (
        TEMPLATES / "qwen3-coder.jinja", CHATML, QWEN_TAGS[:4], ("<|im_end|>", "<|endoftext|>"), None
    ),
    "llama3": (
        TEMPLATES / "llama3.jinja", LLAMA, (), ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"), "<|begin_of_text|>"
    ),
    "gemma3": (TEMPLATES / "gemma3.jinja", GEMMA, (), ("<eos>", "<end_of_turn>"), "<bos>"),
}  # fmt: skip
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Llama 3 and Qwen part text into words: line breaks stay together."""
_CORPUS = ["hello there, the balance of the account", "\n\n\n  user assistant model system tool name arguments"]


def write_family(folder: Path, family: str) -> ChatTokenizer:
    """The tokenizer of one family, in a folder that did not exist."""
    template, special, tags, stops, begins = FAMILIES[family]
    folder.mkdir(parents=True)
    tokenizer = Tokenizer(BPE())
    if family in ("qwen3", "qwen3-coder", "llama3"):
        words = Split(Regex(_WORDS), behavior="isolated")
        tokenizer.pre_tokenizer = Sequence([words, ByteLevel(add_prefix_space=False, use_regex=False)])
    else:
        tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(vocab_size=300, initial_alphabet=ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(_CORPUS, trainer)
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in special])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in tags])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": begins, "eos_token": stops[-1]}))
    ends = [tokenizer.token_to_id(stop) for stop in stops]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    shutil.copy(template, folder / TEMPLATE_FILE)
    return ChatTokenizer(folder)
