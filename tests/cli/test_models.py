"""`journeyman models` and `journeyman adapters`, as a person types them."""

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from journeyman.cli.main import app
from journeyman.config import Settings
from journeyman.errors import InvalidInput, ModelFileBroken
from journeyman.records import Adapter
from journeyman.store.sql import open_store


@pytest.fixture
def command(home, tmp_path, monkeypatch):
    monkeypatch.setenv("JOURNEYMAN_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("COLUMNS", "300")
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


@pytest.fixture
def folder(tmp_path):
    source = tmp_path / "Tiny"
    source.mkdir()
    (source / "config.json").write_text('{"max_position_embeddings": 2048}')
    (source / "tokenizer.json").write_text("{}")
    (source / "README.md").write_text("---\nlicense: mit\n---\n")
    save_file({"a": torch.zeros(500_000)}, source / "model.safetensors")
    return source


def test_without_models_the_list_says_how_to_get_one(command):
    assert "journeyman models pull smollm2-135m" in command("models", "list").output


def test_a_pulled_model_is_listed_with_what_it_is(command, folder):
    pulled = command("models", "pull", str(folder), "--name", "mine")
    assert pulled.exit_code == 0, pulled.output
    assert "mine is ready after" in pulled.output
    listed = command("models", "list").output
    for fact in ("mine", "2 MB", "2,048", "mit", "none", str(folder)):
        assert fact in listed
    assert "already" in command("models", "pull", str(folder), "--name", "mine").output
    assert "already" not in command("models", "pull", str(folder), "--name", "mine", "--force").output


def test_verifying_finds_what_sizes_do_not_show(command, folder, tmp_path):
    command("models", "pull", str(folder))
    assert "All files are the ones" in command("models", "list", "--verify").output
    save_file({"a": torch.ones(500_000)}, tmp_path / "models" / "tiny" / "model.safetensors")
    assert command("models", "list").exit_code == 0
    broken = command("models", "list", "--verify")
    assert isinstance(broken.exception, ModelFileBroken)
    assert f"pull it again: journeyman models pull {folder} --name tiny --force" in str(broken.exception)


def test_a_source_that_is_not_there_is_refused(command, tmp_path):
    refused = command("models", "pull", "tiny", "--source", str(tmp_path / "none"))
    assert isinstance(refused.exception, InvalidInput)
    assert "does not exist" in str(refused.exception)


def test_adapters_are_listed_newest_first(command):
    assert "journeyman train sft DATASET" in command("adapters", "list").output
    store = open_store(Settings())
    for name, id in (("bank-1", "a1"), ("bank-2", "b2")):
        store.put(Adapter(id=id, name=name, base="smollm2-135m", rank=16, path=name, template="abc", run_id="r1"))
    store.close()
    listed = command("adapters", "list").output
    assert listed.index("bank-2") < listed.index("bank-1")
    for fact in ("a1", "smollm2-135m", "16", "abc", "r1"):
        assert fact in listed
    assert "bank-2" not in command("adapters", "list", "--name", "bank-1").output
    assert "bank-1" not in command("adapters", "list", "--limit", "1").output
    assert "No adapter named none" in command("adapters", "list", "--name", "none").output
