"""Every method of training through the command line, once, on a tiny model; and what is refused before it starts."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from journeyman.cli.train import app
from journeyman.config import Settings
from journeyman.datasets.build import import_dataset
from journeyman.errors import InvalidInput
from journeyman.records import Adapter, Run
from journeyman.records.message import assistant, user
from journeyman.registry.adapters import WEIGHTS, find_adapter
from journeyman.store.sql import SqlStore, open_store
from tests.tiny import write_model

SMALL = ("--base", "tiny", "--batch-rows", "4", "--threads", "1", "--learning-rate", "0.005")


@pytest.fixture
def models(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of models of one's own, with a student and a teacher."""
    folder = tmp_path / "models"
    shutil.copytree(tiny, folder / "tiny")
    write_model(folder / "large", seed=1, num_hidden_layers=3)
    monkeypatch.setenv("JOURNEYMAN_MODELS", str(folder))
    monkeypatch.setenv("COLUMNS", "200")
    return folder


@pytest.fixture
def store(home: Path, models: Path, tmp_path: Path) -> Iterator[SqlStore]:
    """A store with one dataset for all methods, `sums`."""
    lines = []
    for number in range(12):
        good, bad = assistant(f"{number + 1}").wire(), assistant("hello").wire()
        asked = user(f"{number} + 1").wire()
        judged = {"rejected": [bad], "label": True, "score": number / 12}
        if number % 3 == 0:
            judged |= {"label": False}
        lines.append(json.dumps({"messages": [asked, good], **judged}))
    (tmp_path / "sums.jsonl").write_text("\n".join(lines))
    with closing(open_store(Settings())) as opened:
        import_dataset(opened, home / "datasets", "sums", tmp_path / "sums.jsonl", 0.2)
        yield opened


def train(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("dpo", ("--beta", "0.2")),
        ("kto", ("--undesirable-weight", "2")),
        ("orpo", ("--odds-weight", "0.2", "--targets", "attention")),
        ("reward", ()),
        ("reward", ("--learn-from", "scores")),
        ("distill", ("--teacher", "large", "--new-tokens", "6", "--candidates", "5")),
    ],
)
def test_a_method_trains_an_adapter(store: SqlStore, kind: str, options: tuple[str, ...]) -> None:
    written = train(kind, "sums", *SMALL, "--name", "made", *options)
    adapter = find_adapter(store, "made")
    assert f"Trained made@{adapter.id}" in written
    run = store.find(Run)[0]
    assert run.kind == kind
    assert adapter.run_id == run.id
    report = json.loads((Path(run.path) / "report.json").read_text())
    assert report["kind"] == kind
    assert report["config"] == run.config
    assert ("reward.json" in written) == (kind == "reward")
    if kind == "reward":
        card = json.loads((Path(adapter.path) / "reward.json").read_text())
        assert card["learn_from"] == run.config["learn_from"]
        assert (card["platt"] is None) == (card["learn_from"] == "scores")


def test_a_dataset_alone_means_fine_tuning(store: SqlStore) -> None:
    train("sums", *SMALL)
    assert store.find(Run)[0].kind == "sft"


def test_full_fine_tuning_makes_a_model_that_can_be_a_base(store: SqlStore, models: Path) -> None:
    options = ("--base", "tiny", "--batch-rows", "4", "--threads", "1")
    train("sft", "sums", *options, "--full", "--name", "grown")
    assert store.find(Adapter) == []
    assert store.find(Run)[0].config["learning_rate"] == pytest.approx(1e-4), "a tenth of LoRA's"
    assert (models / "grown" / "model.safetensors").read_bytes() != (models / "tiny/model.safetensors").read_bytes()
    train("sft", "sums", "--base", "grown", *options[2:], "--name", "on-top")
    assert find_adapter(store, "on-top").base == "grown"
    with pytest.raises(InvalidInput, match="a model called grown already"):
        train("sft", "sums", *options, "--full", "--name", "grown")
    with pytest.raises(InvalidInput, match="no adapter that these could shape: rank"):
        train("sft", "sums", *options, "--full", "--rank", "4")


def test_a_run_goes_on_from_an_adapter_of_the_same_base(store: SqlStore, models: Path) -> None:
    train("sft", "sums", *SMALL, "--name", "first", "--rank", "3", "--alpha", "9", "--targets", "mlp")
    first = find_adapter(store, "first")
    train("dpo", "sums", *SMALL, "--name", "second", "--from", "first")
    second = find_adapter(store, "second")
    assert (second.parent, second.rank) == (first.id, 3)
    assert json.loads((Path(second.path) / "adapter_config.json").read_text())["lora_alpha"] == 9
    with pytest.raises(InvalidInput, match=r"a shape of its own; leave out --rank \(it has 3\)"):
        train("sft", "sums", *SMALL, "--from", "first", "--rank", "5")
    with pytest.raises(InvalidInput, match="was trained on tiny, not on large"):
        train("sft", "sums", "--base", "large", "--from", "first")
    config = models / "tiny" / "generation_config.json"
    config.write_text(config.read_text() + "\n")
    with pytest.raises(InvalidInput, match=f"tiny changed since adapter first@{first.id} was trained on it"):
        train("sft", "sums", *SMALL, "--from", "first")


def test_several_processes_share_a_run(store: SqlStore) -> None:
    options = ("--base", "tiny", "--threads", "1", "--batch-rows", "3", "--epochs", "2", "--precision", "float32")
    train("sft", "sums", *options, "--name", "alone")
    train("sft", "sums", *options, "--name", "parts", "--processes", "2", "--shard")
    train("sft", "sums", *options, "--name", "together", "--processes", "2")
    names = ("alone", "together", "parts")
    alone, *others = (load_file(Path(find_adapter(store, name).path) / WEIGHTS) for name in names)
    for other in others:
        assert other.keys() == alone.keys()
        for name, value in alone.items():
            torch.testing.assert_close(other[name], value, rtol=1e-3, atol=1e-4)
    reports = [json.loads((Path(run.path) / "report.json").read_text()) for run in store.find(Run)]
    parts = reports.pop(1)
    assert parts["best_loss"] == pytest.approx(reports[0]["best_loss"], rel=1e-4)
    assert reports[0]["best_loss"] == pytest.approx(reports[1]["best_loss"], rel=1e-4)
    assert reports[0]["tokens"] >= reports[1]["tokens"], "questions that rows share are computed in each process"


def test_a_dry_run_shows_rows_with_their_mask_and_starts_nothing(store: SqlStore) -> None:
    written = train("dpo", "sums", *SMALL, "--dry-run")
    assert store.find(Run) == []
    assert "an adapter of rank 16 on 14 layers" in written
    assert re.search(r"train: \d+ rows, [\d,]+ tokens, [\d,]+ learned", written)
    assert written.count("⟦hello<|im_end|>⟧") == 3
    assert re.search(r"⟦\d+<\|im_end\|>⟧", written)
    assert re.search(r"── row 1, better, .*── row 1, worse, .*⟦hello<", written, re.DOTALL)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("distill", "sums"), "--teacher is needed: the model to learn from, of the same tokenizer"),
        (("sft", "sums", "--device", "cuda"), "--device cuda: "),
        (("reward", "sums", "--full"), "leave out --full"),
        (("dpo", "sums", "--beta", "0"), "--beta: Input should be greater than 0"),
    ],
)
def test_what_cannot_work_is_said_before_anything_starts(
    store: SqlStore, arguments: tuple[str, ...], said: str
) -> None:
    with pytest.raises(InvalidInput, match=re.escape(said)):
        train(*arguments, "--base", "tiny", "--threads", "1")
