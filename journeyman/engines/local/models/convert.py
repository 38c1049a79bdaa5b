"""Turns a folder or a GGUF file into a model folder of ours: safetensors, tokenizer.json, a chat template."""

import json
import re
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedTokenizerFast
from transformers.utils import logging

from journeyman.engines.local.models.hub import wanted_files
from journeyman.engines.models import ORIGINAL_TEMPLATE, TEMPLATE, knows_tools, stored_template
from journeyman.errors import InvalidInput, ModelFileBroken
from journeyman.rendering.chat import TOOL_TEMPLATE

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_LICENSE = re.compile(r"\A---\n.*?^license: *([^\s\[]+)", re.MULTILINE | re.DOTALL)


def copy_model(source: Path, target: Path) -> str | None:
    """Copy a Hugging Face folder's safetensors, configuration, tokenizer and template; returns its license, if told."""
    if not (source / "config.json").is_file():
        raise InvalidInput(f"{source} is no model folder: it has no config.json; nothing was pulled")
    target.mkdir()
    for name in wanted_files(str(source), sorted(file.name for file in source.iterdir() if file.is_file())):
        shutil.copyfile(source / name, target / name)
    _check_weights(target)
    if not (target / "tokenizer.json").is_file():
        with _quiet(), _reading(source):
            tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
        tokenizer.save_pretrained(target)
    card = target / "README.md"
    found = _LICENSE.match(card.read_text(encoding="utf-8")) if card.is_file() else None
    return found[1] if found else None


def convert_gguf(source: Path, target: Path) -> str | None:
    """Write a GGUF file as a Hugging Face folder with bfloat16 weights; returns the license that the file names."""
    facts = read_gguf_facts(source)
    where: dict[str, Any] = {"gguf_file": source.name, "local_files_only": True}
    with _quiet(), _reading(source):
        # AutoTokenizer would read the whole file once more, to learn a class that is this one anyway.
        tokenizer = PreTrainedTokenizerFast.from_pretrained(source.parent, **where)
        # Without `dequantize` the model would call itself quantised, and refuse to be saved.
        plain = GgufConfig(dequantize=True)
        network = AutoModelForCausalLM.from_pretrained(
            source.parent, **where, quantization_config=plain, dtype=torch.bfloat16
        )
    target.mkdir()
    with _quiet():
        network.save_pretrained(target)
        tokenizer.save_pretrained(target)
    if facts.get("tokenizer.ggml.pre") == "smollm":
        _split_digits(target / "tokenizer.json")
    license = facts.get("general.license")
    return str(license) if license else None


def settle_template(folder: Path) -> str:
    """Give the model a template that knows tools, if one fits; returns what was decided, for people."""
    own = stored_template(folder)
    if own is None:
        return f"none: it cannot chat until its folder holds a {TEMPLATE}"
    if knows_tools(own):
        return "its own, which knows tools"
    if "<|im_start|>" not in own:
        return "its own, which knows no tools: requests with tools will not work"
    (folder / ORIGINAL_TEMPLATE).write_text(own, encoding="utf-8")
    shutil.copyfile(TOOL_TEMPLATE, folder / TEMPLATE)
    return f"ours, because its own knows no tools; that one is kept as {ORIGINAL_TEMPLATE}"


def read_gguf_facts(path: Path) -> dict[str, Any]:
    """The single values of a GGUF file's header, lists left out; ModelFileBroken when it is no GGUF file, or is cut.

    The gguf package reads the same in four seconds, because it makes an array of every token.
    """
    with _reading(path), path.open("rb") as file:
        magic, version, _, count = struct.unpack("<4sIQQ", file.read(24))
        if magic != b"GGUF" or version not in (2, 3):
            raise ValueError("it does not start as a GGUF file of version 2 or 3")
        facts = {_read_text(file): _read_value(file, _read_number(file, "<I")) for _ in range(count)}
    return {key: value for key, value in facts.items() if value is not None}


def _read_value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _read_text(file)
    if kind != _ARRAY:
        return _read_number(file, _SCALARS[kind])
    inner, length = _read_number(file, "<I"), _read_number(file, "<Q")
    if inner in _SCALARS:
        file.seek(length * struct.calcsize(_SCALARS[inner]), 1)
        return None
    for _ in range(length):
        _read_value(file, inner)
    return None


def _read_number(file: BinaryIO, form: str) -> Any:
    return struct.unpack(form, file.read(struct.calcsize(form)))[0]


def _read_text(file: BinaryIO) -> str:
    return file.read(_read_number(file, "<Q")).decode()


def _split_digits(path: Path) -> None:
    """SmolLM's tokenizer cuts numbers into digits; transformers does not know that from the GGUF file's `smollm`."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.pre_tokenizer = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    tokenizer.save(str(path))


def _check_weights(folder: Path) -> None:
    """Every shard of the index is there, and no file is shorter or longer than its own header says."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = set(json.loads(index.read_bytes())["weight_map"].values())
    else:
        shards = {file.name for file in folder.glob("*.safetensors")}
    for name in sorted(shards):
        with _reading(folder / name), safe_open(folder / name, framework="pt"):
            continue


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Whatever a parser makes of a damaged file is one error, which names the file."""
    try:
        yield
    except (OSError, SafetensorError, ValueError, KeyError, IndexError, RuntimeError, struct.error) as error:
        raise ModelFileBroken(
            f"{path.name} cannot be read as a model: it is truncated, damaged, or of a kind that transformers does "
            f"not know ({error}); nothing was kept. Get the file again from where it came"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no advice from transformers and gguf: the pull prints its own lines."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with redirect_stderr(StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
