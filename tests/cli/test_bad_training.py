"""What cannot be learned, at the command line: said before a run begins, with nothing left behind."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from typer.testing import CliRunner

from journeyman.cli.main import app
from journeyman.config import Settings
from journeyman.records import Feedback, Run
from journeyman.store.sql import SqlStore, open_store

SMALL = ("--base", "tiny", "--rank", "4", "--threads", "1", "--batch-rows", "4")


def talk(asked: str, said: str, **fields: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}], **fields}


SUMS = [talk(f"{n} + 1", f"{n + 1}") for n in range(12)]


@pytest.fixture
def models(tiny: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds the tiny model, to be damaged."""
    shutil.copytree(tiny, tmp_path / "models" / "tiny")
    monkeypatch.setenv("JOURNEYMAN_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("COLUMNS", "500")
    return tmp_path / "models"


@pytest.fixture
def store(models: Path) -> Iterator[SqlStore]:
    with closing(open_store(Settings())) as opened:
        yield opened


@pytest.fixture
def brought(models: Path, tmp_path: Path) -> Callable[..., str]:
    """Import rows as the dataset `sums`; what the command says, whether it works or not."""

    def imported(*rows: object) -> str:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (tmp_path / "rows.jsonl").write_text("\n".join(lines))
        return said("dataset", "import", "sums", str(tmp_path / "rows.jsonl"))

    return imported


def said(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    assert "Traceback" not in result.output
    return str(result.exception) if result.exception and not isinstance(result.exception, SystemExit) else result.output


def test_a_graphics_processor_where_there_is_none(brought: Callable[..., str], store: SqlStore) -> None:
    brought(*SUMS)
    told = said("train", "sft", "sums", *SMALL, "--device", "cuda")
    assert "--device cuda: " in told
    assert "Nothing was started; leave the option out to compute on the CPU" in told
    assert store.find(Run) == []


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_dataset_of_one_side_only(brought: Callable[..., str], store: SqlStore, split: str) -> None:
    told = brought(*({**row, "split": split} for row in SUMS))
    other = {"train": "validation", "validation": "train"}[split]
    assert f"no conversation is left for {other}: at least two are needed" in told
    assert "no dataset named 'sums'" in said("train", "sft", "sums", *SMALL)
    assert store.find(Run) == []


def test_a_test_conversation_in_train(brought: Callable[..., str]) -> None:
    told = brought(*SUMS, {**SUMS[0], "split": "train", "conversation": "a"},
                   {**SUMS[0], "split": "validation", "conversation": "b"})  # fmt: skip
    assert "what these train conversations say is in validation, too: a; a model would be measured on what it" in told
    assert "no dataset named 'sums'" in said("train", "sft", "sums", *SMALL)


def test_a_score_that_is_no_number(brought: Callable[..., str]) -> None:
    told = brought(*SUMS, json.dumps(talk("a", "b", score=0.5)).replace("0.5", "NaN"))
    assert "line 13: score: Input should be a finite number" in told
    assert "nothing was imported" in told


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_feedback_that_is_no_number(store: SqlStore, value: str) -> None:
    told = said("feedback", "add", "success", "--value", value, "--session", "s")
    assert told.startswith(f"--value {value}: it compares with no other score; give a finite number")
    assert store.find(Feedback) == []


def test_a_model_that_changed_under_an_adapter(brought: Callable[..., str], store: SqlStore, models: Path) -> None:
    brought(*SUMS)
    assert "Trained first@" in said("train", "sft", "sums", *SMALL, "--name", "first")
    weights = models / "tiny" / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    told = said("train", "sft", "sums", "--base", "tiny", "--from", "first")
    assert "tiny changed since adapter first@" in told
    assert "Put the model back, or train a new adapter" in told
    assert len(store.find(Run)) == 1
    out = models / "merged"
    told = said("adapters", "export", "first", "--out", str(out))
    assert "tiny is not the tiny that adapter first@" in told
    assert "Put the model back, or train a new adapter" in told
    assert not out.exists()


def test_a_tokenizer_that_is_not_the_adapters(brought: Callable[..., str], store: SqlStore, models: Path) -> None:
    brought(*SUMS)
    assert "Trained first@" in said("train", "sft", "sums", *SMALL, "--name", "first")
    swap_ids(models / "tiny" / "tokenizer.json")
    told = said("train", "sft", "sums", "--base", "tiny", "--from", "first")
    assert "tiny changed since adapter first@" in told
    assert len(store.find(Run)) == 1


def swap_ids(file: Path) -> None:
    """Two words change places."""
    written = json.loads(file.read_text())
    words = written["model"]["vocab"]
    words["a"], words["b"] = words["b"], words["a"]
    file.write_text(json.dumps(written))
    assert Tokenizer.from_file(str(file)).token_to_id("a") == words["a"]
