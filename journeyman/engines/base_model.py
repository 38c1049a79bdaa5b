"""Which base model an adapter stands on: written beside its weights, and compared before they are used.

An adapter is a difference. Added to other weights than it was learned on it loads, answers, and answers worse, which
nobody sees: so whoever serves it, exports it or trains it on compares hashes first.
"""

import hashlib
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from journeyman.engines.models import sha256_of
from journeyman.errors import InvalidInput, ModelFileBroken
from journeyman.records.record import Frozen

FILE = "base.json"
_FILES = ("config.json", "tokenizer.json", "*.safetensors")
"""The chat template is not among them: an adapter brings the one that it learned under."""


class Base(Frozen):
    """What an adapter was trained on: the model's name, and the hash of its config, tokenizer and weights."""

    name: str
    version: str


def weights_version(folder: Path) -> str:
    """16 hex digits of the SHA-256 over a model's config, tokenizer and weights.

    A file is read again only when its size or its time of change is another one: a second or so for each GB.
    """
    digest = hashlib.sha256()
    for file in sorted({file for pattern in _FILES for file in folder.glob(pattern)}):
        found = file.stat()
        digest.update(f"{file.name} {_hash(file, found.st_size, found.st_mtime_ns)}\n".encode())
    return digest.hexdigest()[:16]


def write_base(adapter: Path, model: Path) -> None:
    """Write beside an adapter's weights which model they were learned on."""
    (adapter / FILE).write_text(Base(name=model.name, version=weights_version(model)).model_dump_json() + "\n")


def check_base(adapter: Path, model: Path, named: str) -> None:
    """InvalidInput when the model is not what the adapter in the folder `adapter` was trained on, or changed since.

    `named` is what to call the adapter. One that says nothing of its base (it was made elsewhere) passes.
    """
    if not (adapter / FILE).is_file():
        return
    try:
        learned = Base.model_validate_json((adapter / FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise ModelFileBroken(f"{named}: {FILE} in {adapter} cannot be read; train the adapter again") from error
    version = weights_version(model)
    if version != learned.version:
        raise InvalidInput(
            f"{model.name} is not the {learned.name} that {named} was trained on: its config, tokenizer or weights "
            f"changed since (they hash to {version}, not {learned.version}), so the adapter would not do what it did. "
            "Put the model back, or train a new adapter"
        )


@lru_cache(maxsize=256)
def _hash(file: Path, size: int, changed: int) -> str:
    return sha256_of(file)
