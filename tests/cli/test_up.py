"""Which model `journeyman up` starts, and what it tells."""

import pytest

from journeyman.cli.up import model_folder, welcome
from journeyman.config import Provider, Settings
from journeyman.errors import ModelFileBroken


@pytest.fixture
def settings(tmp_path):
    for name in ("home", "models/tiny", "own"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("models/tiny", "own"):
        (tmp_path / name / "config.json").write_text("{}")
    return Settings(
        home=tmp_path / "home", models=tmp_path / "models", providers={"acme": Provider(base_url="http://x")}
    )


def test_a_model_is_one_that_was_pulled_or_a_folder(settings, tmp_path):
    assert model_folder(settings, "tiny") == tmp_path / "models" / "tiny"
    assert model_folder(settings, str(tmp_path / "own")) == tmp_path / "own"
    with pytest.raises(ModelFileBroken, match="journeyman models pull huge"):
        model_folder(settings, "huge")


def test_the_welcome_names_what_is_served_and_a_call_to_try(settings):
    text = welcome(settings, "http://127.0.0.1:8600", "tiny")
    assert "http://127.0.0.1:8600/v1/chat/completions" in text
    assert '"model": "tiny"' in text
    assert "acme/…" in text
    assert '"model": "acme/MODEL"' in welcome(settings, "http://127.0.0.1:8600", "")
