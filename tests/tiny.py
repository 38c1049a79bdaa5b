"""Tiny random models in Hugging Face folders: every code path of the real ones in milliseconds.

Their tokenizer is byte-level BPE with few merges, so that characters, stop strings and tool calls spread over tokens.
"""

import json
import shutil
from pathlib import Path

import pytest

STOP = "<|im_end|>"
SPECIAL = ("<|endoftext|>", "<|im_start|>", STOP)
_CORPUS = [
    "the balance of the account is shown",
    "please transfer money to the savings account",
    "hello, world! 0123456789",
]
_SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    # Far wider than usual: greedy output of a narrow random model repeats one token.
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a two-layer Llama with grouped heads and our tool template. Do not write to it."""
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def loras(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of three random adapters of `tiny`, of different ranks, by name. Do not write to them."""
    folder = tmp_path_factory.mktemp("adapters")
    return {name: write_lora(folder / name, tiny, seed, rank) for seed, (name, rank) in enumerate(_RANKS.items())}


_RANKS = {"red": 2, "green": 4, "blue": 8}


def write_model(folder: Path, architecture: str = "llama", seed: int = 0, **shape: object) -> Path:
    """A random model of an architecture of transformers' with a tokenizer and our tool template."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    from journeyman.rendering.chat import TEMPLATE_FILE, TOOL_TEMPLATE

    folder.mkdir(parents=True)
    vocabulary = write_tokenizer(folder)
    config = AutoConfig.for_model(architecture, **{**_SHAPE, "vocab_size": vocabulary, **shape})
    torch.manual_seed(seed)
    network = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    network.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=0)
    network.save_pretrained(folder)
    shutil.copy(TOOL_TEMPLATE, folder / TEMPLATE_FILE)
    return folder


def write_tokenizer(folder: Path) -> int:
    """Write the tokenizer's files; returns the size of its vocabulary."""
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.decoders import ByteLevel as ByteLevelDecoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer

    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=320,
        special_tokens=[AddedToken(text, special=True) for text in SPECIAL],
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"bos_token": SPECIAL[1], "eos_token": STOP, "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return int(tokenizer.get_vocab_size())


def write_lora(folder: Path, model: Path, seed: int, rank: int = 4, **options: object) -> Path:
    """A random adapter that PEFT wrote: B is not zero, so that it changes what the model says."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    config = LoraConfig(
        **{"r": rank, "lora_alpha": 2 * rank, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **options}
    )
    network = get_peft_model(base, config)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.1)
    network.save_pretrained(folder, save_embedding_layers=False)
    return folder
