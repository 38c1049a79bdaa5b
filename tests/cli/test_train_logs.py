"""`journeyman train logs`: captured traffic becomes an adapter, and what could not be used is told."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from journeyman.cli.main import app
from journeyman.config import Settings
from journeyman.errors import InvalidInput
from journeyman.records import Run
from journeyman.registry.adapters import find_adapter
from journeyman.store.sql import SqlStore, open_store
from tests.training.reinforcement.test_logged import BAD, GOOD, exchange, praised

SMALL = (
    "logs",
    "success",
    "--base",
    "tiny",
    "--name",
    "praised",
    "--rank",
    "4",
    "--precision",
    "float32",
    "--threads",
    "1",
)


@pytest.fixture
def store(home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqlStore]:
    monkeypatch.setenv("JOURNEYMAN_MODELS", str(tiny.parent))
    monkeypatch.setenv("COLUMNS", "200")
    with closing(open_store(Settings())) as opened:
        yield opened


def train(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["train", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_captured_conversations_make_an_adapter(store: SqlStore) -> None:
    for number in range(8):
        store.put(exchange(number, GOOD if number % 2 else BAD), praised(number, float(number % 2)))
    store.put(exchange(8, GOOD))
    written = train(*SMALL, "--batch-attempts", "4", "--epochs", "2")
    assert "learns from 8 captured conversations as praised" in written
    assert "left out: 1, it has no feedback named success with a value" in written
    assert "ℓ_old what the engine reported" in written
    assert "step 4/4" in written
    assert f"Trained praised@{find_adapter(store, 'praised').id}: 4 updates" in written
    assert "finished" in train("list")


def test_nothing_to_learn_from_starts_nothing(store: SqlStore) -> None:
    store.put(exchange(0, GOOD))
    with pytest.raises(InvalidInput, match="no captured conversation can be learned from"):
        train(*SMALL)
    with pytest.raises(InvalidInput, match="production made one of each"):
        train(*SMALL, "--algorithm", "grpo")
    with pytest.raises(InvalidInput, match="which feedback"):
        train("logs")
    assert not store.find(Run)
