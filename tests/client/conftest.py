"""A provider to ask, for every test of in-process capture."""

from collections.abc import Iterator

import pytest

from tests.client.upstream import Upstream, running


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with running() as found:
        yield found
