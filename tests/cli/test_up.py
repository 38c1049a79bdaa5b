"""What `journeyman up` tells."""

import pytest

from journeyman.cli.up import welcome
from journeyman.config import Provider, Settings


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home", providers={"acme": Provider(base_url="http://x")})


def test_the_welcome_names_what_is_served_and_a_call_to_try(settings):
    text = welcome(settings, "http://127.0.0.1:8600", "tiny")
    assert "http://127.0.0.1:8600/v1/chat/completions" in text
    assert '"model": "tiny"' in text
    assert "acme/…" in text
    assert '"model": "acme/MODEL"' in welcome(settings, "http://127.0.0.1:8600", "")
