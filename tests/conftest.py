"""What every test may use: a home folder of its own, and the real model."""

import fcntl
import os
from pathlib import Path

import hypothesis
import pytest

# Before anything imports torch, here and in the processes that tests start: two pools of threads on few cores crawl.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A machine that is busy for a moment is no bug: no example is judged by its seconds.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

pytest_plugins = ["tests.absences", "tests.tiny", "tests.postgres"]

MODEL = "smollm2-135m"


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
    from tests.absences import skip_for_lack_of

    models = Settings().models
    models.mkdir(parents=True, exist_ok=True)
    with (models / ".tests").open("w") as turn:
        # Several processes of tests may begin at once on a machine that has no model yet.
        fcntl.flock(turn, fcntl.LOCK_EX)
        try:
            return pull_model(Settings(), MODEL)
        except UpstreamFailed as error:
            skip_for_lack_of(f"everything that needs {MODEL}", str(error), request.config)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever uses the real model carries the marker."""
    for item in items:
        if "smollm2" in getattr(item, "fixturenames", ()):
            item.add_marker("model")
