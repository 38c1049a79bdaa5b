"""Rows to learn from, small enough for a tiny model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from journeyman.records import Row, SFTConfig
from journeyman.records.message import assistant, call, system, tool_result, user
from journeyman.rendering.chat import ChatTokenizer
from journeyman.rendering.masks import MaskedTokens, mask_conversation

WORDS = ["balance", "account", "transfer", "money", "savings", "hello", "world", "please", "shown", "the", "of", "is"]

GOOD, BAD = assistant("please the money"), assistant("hello hello world")


def make_config(**fields: Any) -> SFTConfig:
    settings = {
        "base": "tiny", "dataset": "d", "name": "n", "rank": 4, "alpha": 8.0, "learning_rate": 5e-3, "batch_rows": 4,
        "validate_every": 3, "checkpoint_every": 2, "precision": "float32", "pack_tokens": 256,
    }  # fmt: skip
    return SFTConfig(**{**settings, **fields})


def make_rows(count: int, seed: int = 0, opening: str = "You are a bank.", split: str = "train") -> list[Row]:
    """Conversations of one to three turns, some with a tool call, that begin alike."""
    generator = torch.Generator().manual_seed(seed)

    def words(most: int) -> str:
        length = int(torch.randint(1, most, (1,), generator=generator))
        return " ".join(WORDS[index] for index in torch.randint(len(WORDS), (length,), generator=generator).tolist())

    rows = []
    for number in range(count):
        messages = [system(opening)]
        for turn in range(number % 3 + 1):
            messages += [user(words(6)), assistant(words(8))]
            if turn == 1:
                messages += [user(words(3)), call("c", "balance", of=words(2)), tool_result("c", words(3))]
                messages += [assistant(words(4))]
        rows.append(Row(messages=tuple(messages), split=split, conversation=f"{split}-{number}", source="test"))
    return rows


def make_pairs(count: int, seed: int = 0, split: str = "train") -> list[Row]:
    """Questions whose better answer says `please`, and whose worse one `hello`."""
    return [
        row.model_copy(update={"messages": (*row.messages[:-1], GOOD), "rejected": (*row.messages[:-1], BAD)})
        for row in make_rows(count, seed, split=split)
    ]


def make_judged(count: int, seed: int = 0, split: str = "train") -> list[Row]:
    """The better and the worse answers of `make_pairs` in turn, each with a label and a judge's score."""
    rows = []
    for number, row in enumerate(make_rows(count, seed, split=split)):
        good = number % 2 == 0
        judged = {"label": good, "score": 0.9 if good else 0.2}
        rows.append(row.model_copy(update={"messages": (*row.messages[:-1], GOOD if good else BAD), **judged}))
    return rows


@pytest.fixture(scope="session")
def masked(tiny: Path) -> Callable[..., list[MaskedTokens]]:
    """Rows as ids and masks of the tiny model."""
    tokenizer = ChatTokenizer(tiny)
    return lambda *args, **options: [mask_conversation(tokenizer, row.messages) for row in make_rows(*args, **options)]


def plain_model(folder: Path, adapter: Path | None = None, dtype: torch.dtype = torch.float32) -> Any:
    """The model as transformers and PEFT load it, with their own attention."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager")
    return model if adapter is None else PeftModel.from_pretrained(model, adapter, autocast_adapter_dtype=False)
