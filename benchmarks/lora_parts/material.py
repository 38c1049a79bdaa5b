"""What the miniature learns from: English and Python out of Python's own library, random pairs, and words.

Nothing is fetched: the English is the language reference that `help()` shows, the Python is the standard library.
"""

import json
import random
import re
import shutil
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from pydoc_data.topics import topics

from journeyman.records import Row
from journeyman.records.message import assistant, user
from journeyman.rendering.chat import TEMPLATE_FILE, TOOL_TEMPLATE

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
VOCABULARY = 512
LETTERS = "acds"
_MODULES = ("argparse", "ast", "calendar", "configparser", "csv", "difflib", "inspect", "mailbox", "shutil", "tarfile")


def english(count: int, seed: int) -> list[Row]:
    """Passages of 40 words of the language reference; a tenth of them to validate on."""
    words = " ".join(topics[name] for name in sorted(topics)).split()
    draw = random.Random(seed)
    starts = (draw.randrange(len(words) - 40) for _ in range(count))
    return _rows("Go on", [" ".join(words[start : start + 40]) for start in starts], validation=count // 10)


def python(train: int, validation: int, seed: int) -> list[Row]:
    """Pieces of 6 lines of the standard library; those to validate on are of other modules, the same for each seed."""
    library = Path(sysconfig.get_paths()["stdlib"])
    pieces = {name: _pieces((library / f"{name}.py").read_text(encoding="utf-8")) for name in _MODULES}
    learned = [piece for name in _MODULES[:-2] for piece in pieces[name]]
    held_out = [piece for name in _MODULES[-2:] for piece in pieces[name]]
    chosen = random.Random(seed).sample(learned, train) + random.Random(0).sample(held_out, validation)
    return _rows("Code", chosen, validation=validation)


def pairs(count: int, length: int, seed: int) -> list[Row]:
    """Random keys and random values of so many letters: nothing but memory helps. Each is learned and asked."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        key, value = (" ".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=k)) for k in (4, length))
        for split in ("train", "validation"):
            rows.append(_row(key, value, split, number))
    return rows


def words(seed: int) -> tuple[list[str], list[str]]:
    """Words that begin with one of LETTERS, spelled, to learn on and to ask in the end."""
    known = {word for text in topics.values() for word in re.findall(r"\b[a-z]{4,6}\b", text)}
    draw, parts = random.Random(seed), (list[str](), list[str]())
    for letter in LETTERS:
        there = sorted(word for word in known if word[0] == letter)
        # Texts differ between versions of Python: some letters begin fewer than 60 words.
        chosen = [" ".join(word) for word in draw.sample(there, min(60, len(there)))]
        parts[0].extend(chosen[: len(chosen) * 2 // 3])
        parts[1].extend(chosen[len(chosen) * 2 // 3 :])
    return parts


def write_tokenizer(folder: Path) -> int:
    """A byte-level BPE of VOCABULARY tokens over both kinds of text; returns its size."""
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.decoders import ByteLevel as ByteLevelDecoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer

    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[AddedToken(text, special=True) for text in SPECIAL],
        initial_alphabet=sorted(ByteLevel.alphabet()), show_progress=False,
    )  # fmt: skip
    texts = [row.messages[-1].text for row in [*english(2000, 0), *python(1000, 10, 0)]]
    tokenizer.train_from_iterator(texts, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"bos_token": SPECIAL[1], "eos_token": SPECIAL[2], "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    shutil.copy(TOOL_TEMPLATE, folder / TEMPLATE_FILE)
    return int(tokenizer.get_vocab_size())


def _pieces(source: str) -> list[str]:
    lines = [line for line in source.splitlines() if line.strip()]
    pieces = ("\n".join(lines[at : at + 6]) for at in range(0, len(lines) - 6, 6))
    return [piece for piece in pieces if 60 <= len(piece) <= 260]


def _rows(question: str, texts: Sequence[str], validation: int) -> list[Row]:
    first = len(texts) - validation
    return [_row(question, text, "train" if at < first else "validation", at) for at, text in enumerate(texts)]


def _row(question: str, answer: str, split: str, number: int) -> Row:
    return Row.model_validate({
        "messages": [user(question), assistant(answer)], "split": split, "conversation": f"c{number}",
        "source": "benchmark",
    })  # fmt: skip
