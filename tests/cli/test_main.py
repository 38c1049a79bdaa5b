"""The command line as a person meets it: it starts quickly, says errors in one line, and ends with the right code."""

import os
import subprocess
import sys

import pytest
import typer

from journeyman import __version__, errors
from journeyman.cli import main

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {heavy!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
sys.argv = ["journeyman", *{arguments!r}]
from journeyman.cli.main import run
run()
"""
EXTRAS = {"torch", "transformers", "tokenizers", "safetensors", "huggingface_hub", "peft", "gguf", "jinja2", "openai"}


@pytest.fixture
def journeyman(home, tmp_path):
    """Runs the real console command in a process of its own."""

    def run(*arguments, heavy=frozenset()):
        code = BLOCKED.format(heavy=heavy, arguments=arguments)
        environment = {**os.environ, "JOURNEYMAN_MODELS": str(tmp_path / "models"), "COLUMNS": "120"}
        return subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment
        )

    return run


@pytest.fixture
def failing(monkeypatch):
    """The console command, where the only command raises this error."""

    def run(error):
        app = typer.Typer(pretty_exceptions_enable=False)

        @app.command()
        def fail():
            raise error

        monkeypatch.setattr(main, "app", app)
        monkeypatch.setattr(sys, "argv", ["journeyman"])
        main.run()

    return run


def test_the_base_install_starts_without_the_extras(journeyman):
    helped = journeyman("--help", heavy=EXTRAS)
    assert helped.returncode == 0, helped.stderr
    for command in ("models", "up", "traces", "dataset", "train", "eval", "promote", "rollback", "aliases", "demo"):
        assert command in helped.stdout
    assert journeyman("aliases", heavy=EXTRAS).returncode == 0


def test_a_command_that_needs_an_extra_says_which(journeyman):
    done = journeyman("models", "pull", "smollm2-135m", heavy=EXTRAS)
    assert done.returncode == 1
    assert done.stderr.startswith("error: this needs the package ")
    assert "pip install 'journeyman[train,demo]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_version_is_told_also_as_a_module():
    command = [sys.executable, "-m", "journeyman", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout == f"journeyman {__version__}\n"


def test_what_does_not_exist_is_one_line_and_exit_code_2(journeyman):
    done = journeyman("dataset", "show", "none")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no dataset named 'none'; there is: none yet")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidInput("x"), 2),
        (errors.Refused("x"), 3),
        (errors.UpstreamFailed("x"), 1),
        (errors.ModelFileBroken("x"), 2),
    ],
)
def test_an_error_of_ours_has_its_own_exit_code(failing, capsys, error, code):
    with pytest.raises(SystemExit) as exit:
        failing(error)
    assert exit.value.code == code
    assert capsys.readouterr().err == "error: x\n"


def test_ctrl_c_is_quiet(failing, capsys):
    with pytest.raises(SystemExit) as exit:
        failing(KeyboardInterrupt())
    assert exit.value.code == 130
    assert capsys.readouterr().err == ""


def test_a_bug_keeps_its_trace_and_is_called_one(failing, capsys):
    for error in (ZeroDivisionError("x"), ModuleNotFoundError("x", name="journeyman.none")):
        with pytest.raises(type(error)):
            failing(error)
        assert "This is a bug in Journeyman" in capsys.readouterr().err
