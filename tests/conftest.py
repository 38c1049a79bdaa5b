"""What every test may use: a home folder of its own, and the real model."""

import os
from pathlib import Path

import pytest

# Before anything imports torch, here and in the processes that tests start: two pools of threads on few cores crawl.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

pytest_plugins = ["tests.tiny", "tests.postgres"]

MODEL = "smollm2-135m"

_no_model = pytest.StashKey[str]()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, which `Settings()` and started processes find too."""
    folder = tmp_path / "home"
    monkeypatch.setenv("JOURNEYMAN_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def smollm2(request: pytest.FixtureRequest) -> Path:
    """The folder of the real model, in the user's own model cache; pulled into it when it is missing.

    Without a network there is none: the tests that need it are skipped, and the end of the session says so.
    """
    # Tests that need no model need not wait for these.
    from journeyman.config import Settings
    from journeyman.engines.local.models.pull import pull_model
    from journeyman.errors import UpstreamFailed

    try:
        return pull_model(Settings(), MODEL)
    except UpstreamFailed as error:
        request.config.stash[_no_model] = str(error)
        pytest.skip(f"no {MODEL}: {error}")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever uses the real model carries the marker."""
    for item in items:
        if "smollm2" in getattr(item, "fixturenames", ()):
            item.add_marker("model")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    reason = config.stash.get(_no_model, None)
    if reason:
        terminalreporter.write_sep("!", f"NOT TESTED: everything that needs {MODEL}", red=True, bold=True)
        terminalreporter.write_line(reason, red=True)
