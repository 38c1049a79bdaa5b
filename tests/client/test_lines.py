"""The package openai, in its three lines: with our clients everything is as with its own (`lines.py`)."""

import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LINES = {"1": ["openai==1.60.0", "httpx<0.28"], "2": ["openai==2.0.0"]}


def run(python: Path | str, *scenarios: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [str(python), "-m", "tests.client.lines", *scenarios]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def test_the_installed_line():
    done = run(sys.executable)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "39 scenarios, openai " in done.stdout


@pytest.mark.clients
@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
def test_an_older_line(line: str):
    done = run(interpreter_with(line))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"scenarios, openai {line}." in done.stdout


def interpreter_with(line: str) -> Path:
    """The interpreter of an environment that has this line of the package; made once and kept in the user's cache."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*LINES[line], *project["dependencies"], "requests"]
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "journeyman" / "clients"
    folder = cache / f"openai-{line}-python{sys.version_info.major}.{sys.version_info.minor}"
    python, done = folder / "bin" / "python", folder / "installed.txt"
    if done.exists() and done.read_text() == "\n".join(wanted):
        return python
    venv.create(folder, with_pip=True, clear=True)
    installed = subprocess.run([python, "-m", "pip", "install", "-q", *wanted], capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"NOT TESTED: openai {line}.x could not be installed: {installed.stderr.strip()[-300:]}")
    done.write_text("\n".join(wanted))
    return python
