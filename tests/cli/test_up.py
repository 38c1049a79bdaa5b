"""What `journeyman up` tells."""

import pytest

from journeyman.cli.up import up, welcome
from journeyman.config import Provider, Settings
from journeyman.errors import InvalidInput


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home", providers={"acme": Provider(base_url="http://x")})


def test_the_welcome_names_what_is_served_and_a_call_to_try(settings):
    text = welcome(settings, "http://127.0.0.1:8600", "tiny")
    assert "http://127.0.0.1:8600/v1/chat/completions" in text
    assert '"model": "tiny"' in text
    assert "acme/…" in text
    assert '"model": "acme/MODEL"' in welcome(settings, "http://127.0.0.1:8600", "")


def test_the_welcome_names_an_engine_that_is_not_ours(settings):
    elsewhere = settings.model_copy(update={"engine": "http://127.0.0.1:8000"})
    assert "tiny (engine: http://127.0.0.1:8000)" in welcome(elsewhere, "http://127.0.0.1:8600", "tiny")
    assert "engine:" not in welcome(settings, "http://127.0.0.1:8600", "tiny")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"engine": "llama"}, "engine: 'llama' is none"),
        (
            {"engine": "http://127.0.0.1:9", "threads": 2},
            "--threads: the engine at http://127.0.0.1:9 is not started here",
        ),
        ({"model": "none", "engine": "vllm"}, "--engine: with --model none there is no engine"),
        ({"model": "none", "threads": 2}, "--threads: with --model none"),
    ],
)
def test_options_that_do_not_go_together_are_refused(home, options, says):
    with pytest.raises(InvalidInput, match=says):
        up(**options)
