"""The model cache: what is found, what is broken, and what is said about it."""

import hashlib
import json

import pytest

from journeyman.config import Settings
from journeyman.engines.models import (
    MANIFEST,
    check_model,
    find_model,
    list_models,
    model_name,
    seal_model,
    stored_template,
)
from journeyman.errors import InvalidInput, ModelFileBroken, NotFound

WEIGHTS = b"not tensors, but sizes and checksums do not mind"


@pytest.fixture
def settings(tmp_path):
    return Settings(models=tmp_path / "models")


def make(folder, *, sealed=True):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"max_position_embeddings": 4096}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    if sealed:
        seal_model(folder, source="a test", license="MIT", again=f"journeyman models pull {folder.name} --force")
    return folder


def test_a_model_is_found_by_its_name_or_as_a_folder(settings, tmp_path):
    pulled = make(settings.models / "tiny")
    own = make(tmp_path / "own", sealed=False)
    assert find_model(settings, "tiny") == pulled.resolve()
    assert find_model(settings, str(own)) == own.resolve()


def test_a_model_that_is_not_there_names_those_that_are(settings):
    make(settings.models / "tiny")
    (settings.models / ".huge.abc.partial").mkdir()
    with pytest.raises(NotFound, match=r"no model named 'huge'; there is: tiny\..*journeyman models pull huge"):
        find_model(settings, "huge")


def test_without_a_cache_nothing_is_found(settings):
    assert list_models(settings) == []
    with pytest.raises(NotFound, match="none yet"):
        find_model(settings, "tiny")


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_truncated_or_missing_file_is_named_with_the_way_out(settings, file):
    path = make(settings.models / "tiny") / file
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelFileBroken, match=rf"tiny: {file} is truncated.*journeyman models pull tiny --force"):
        find_model(settings, "tiny")
    path.unlink()
    with pytest.raises(ModelFileBroken, match=rf"tiny: {file} is missing.*journeyman models pull tiny --force"):
        find_model(settings, "tiny")


def test_altered_weights_of_the_same_size_are_found_by_verifying(settings):
    folder = make(settings.models / "tiny")
    (folder / "model.safetensors").write_bytes(WEIGHTS[::-1])
    assert list_models(settings)[0].problem is None
    assert "model.safetensors is altered" in list_models(settings, verify=True)[0].problem
    with pytest.raises(ModelFileBroken, match="SHA-256"):
        check_model(folder, verify=True)


def test_a_damaged_manifest_is_no_crash(settings):
    (make(settings.models / "tiny") / MANIFEST).write_text('{"files"')
    with pytest.raises(ModelFileBroken, match=r"journeyman\.json is damaged.*pull tiny --force"):
        find_model(settings, "tiny")


def test_a_folder_without_weights_is_broken(settings, tmp_path):
    (make(tmp_path / "own", sealed=False) / "model.safetensors").unlink()
    with pytest.raises(ModelFileBroken, match="no weights"):
        find_model(settings, str(tmp_path / "own"))
    (settings.models / "empty").mkdir(parents=True)
    with pytest.raises(ModelFileBroken, match=r"no config\.json.*pull empty --force"):
        find_model(settings, "empty")


def test_the_seal_holds_sizes_and_checksums_but_not_the_template(settings):
    folder = make(settings.models / "tiny", sealed=False)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    files = seal_model(folder, source="a test", license=None, again="").files
    assert set(files) == {"model.safetensors", "tokenizer.json", "config.json"}
    assert files["model.safetensors"].size == len(WEIGHTS)
    assert files["model.safetensors"].sha256 == hashlib.sha256(WEIGHTS).hexdigest()


def test_the_list_says_what_each_model_is(settings):
    folder = make(settings.models / "b")
    (folder / "chat_template.jinja").write_text("{% if tools %}{% endif %}")
    (folder / "chat_template.original.jinja").write_text("")
    make(settings.models / "a", sealed=False)
    first, second = list_models(settings)
    assert (first.name, first.template, first.source, first.license) == ("a", "none", "unknown", "unknown")
    assert (second.name, second.template, second.source, second.license) == ("b", "ours, tools", "a test", "MIT")
    assert (second.bytes, second.context, second.problem) == (len(WEIGHTS), 4096, None)


@pytest.mark.parametrize(
    ("config", "file", "found"),
    [
        ({}, None, None),
        ({"chat_template": "one"}, None, "one"),
        ({"chat_template": [{"name": "default", "template": "one"}]}, None, "one"),
        (
            {"chat_template": [{"name": "default", "template": "one"}, {"name": "tool_use", "template": "two"}]},
            None,
            "two",
        ),
        ({"chat_template": "one"}, "three", "three"),
    ],
)
def test_a_template_is_read_from_wherever_it_is_kept(tmp_path, config, file, found):
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    if file:
        (tmp_path / "chat_template.jinja").write_text(file)
    assert stored_template(tmp_path) == found


@pytest.mark.parametrize("name", ["", "..", "a/b", "-a", "a b", "x" * 65])
def test_a_name_that_cannot_be_a_folder_is_refused(name):
    with pytest.raises(InvalidInput, match="model name"):
        model_name(name)
