"""Compiles the C kernels with whatever compiler the machine has, once, into the user's cache folder."""

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from journeyman.config import default_models

_SOURCES = tuple(Path(__file__).parent / name for name in ("kernels.c", "kernels.inc"))
_FLAGS = (
    *("-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", "-std=gnu11", "-Wno-psabi"),
    # No bookkeeping of errno and traps; nothing that reorders sums, or rounds them otherwise from place to place.
    *("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"),
)
_COMPILERS = ("cc", "gcc", "clang")
_SECONDS = 120


class NotBuilt(Exception):
    """Why there are no kernels; the same operations in PyTorch take their place."""


@functools.cache
def load_library() -> ctypes.CDLL:
    """The compiled kernels. NotBuilt says what is missing."""
    compiler = _compiler()
    version = _output([*compiler, "--version"])
    # Code for one processor need not run on another that shares the folder.
    built_from = (*(source.read_text() for source in _SOURCES), *_FLAGS, *compiler, version, _processor())
    digest = hashlib.sha256("\0".join(built_from).encode())
    folder = default_models().parent / "kernels"
    built = folder / f"kernels-{digest.hexdigest()[:16]}.so"
    try:
        if not built.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            _compile(compiler, built)
        return ctypes.CDLL(str(built))
    except OSError as error:
        raise NotBuilt(f"the compiled kernels cannot be written or loaded: {error}") from error


def _compiler() -> list[str]:
    asked = os.environ.get("CC")
    if asked:
        return shlex.split(asked)
    found = next((path for name in _COMPILERS if (path := shutil.which(name))), None)
    if found is None:
        raise NotBuilt("there is no C compiler on this machine (install gcc or clang, or set CC)")
    return [found]


def _compile(compiler: list[str], built: Path) -> None:
    with tempfile.TemporaryDirectory(dir=built.parent) as folder:
        unfinished = Path(folder) / built.name
        _output([*compiler, *_FLAGS, "-o", str(unfinished), str(_SOURCES[0]), "-lm"])
        # Several engines may start at once: each renames a whole file into place.
        unfinished.replace(built)


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotBuilt(f"the C compiler cannot be run: {error}") from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[0]
        raise NotBuilt(f"the C compiler failed on the kernels: {said}")
    return done.stdout


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return f"{platform.machine()} {platform.processor()}"
    lines = path.read_text().splitlines()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
