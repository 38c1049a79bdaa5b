"""`journeyman template check`: what a person reads about a template, and the exit code."""

import shutil

import pytest
from typer.testing import CliRunner

from journeyman.cli.main import app
from journeyman.rendering.chat import TEMPLATE_FILE


def checked(folder):
    return CliRunner().invoke(app, ["template", "check", str(folder)])


def test_a_template_that_keeps_the_contract(tiny):
    result = checked(tiny)
    assert result.exit_code == 0, result.output
    assert "may be trained on (0 notes)" in result.output


def test_a_fault_is_shown_with_its_line(tiny, tmp_path):
    folder = shutil.copytree(tiny, tmp_path / "model")
    template = (folder / TEMPLATE_FILE).read_text()
    broken = template.replace("'<|im_end|>\\n' -}}\n{%- endfor", "'<|im_ende|>\\n' -}}\n{%- endfor")
    assert broken != template
    (folder / TEMPLATE_FILE).write_text(broken)
    line = broken[: broken.index("im_ende")].count("\n") + 1
    result = checked(folder)
    assert result.exit_code == 1
    assert f"fault  stop, line {line}: " in result.output
    assert "<|im_ende|>" in result.output
    assert "Repair them before you train" in result.output


@pytest.mark.parametrize("name", ["no-such-model", "/no/such/folder"])
def test_a_model_that_is_not_there(name, home):
    assert checked(name).exit_code != 0
