"""A gateway in front of a small provider, for other people's clients; one for all tests, told apart by session."""

from collections.abc import Iterator

import pytest

from tests.clients.provider import running
from tests.clients.serving import Serving, api_key, serving


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with running() as provider, serving(tmp_path_factory.mktemp("home"), provider, api_key(project="shop")) as found:
        yield found
