"""`journeyman train`, as a person at a terminal meets it: also with Ctrl-C, with kill -9, and with wrong options."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from journeyman.cli.train import app
from journeyman.config import Settings
from journeyman.datasets.build import import_dataset
from journeyman.errors import InvalidInput, NotFound
from journeyman.records import Adapter, Run, SFTConfig
from journeyman.records.message import assistant, user
from journeyman.registry.adapters import WEIGHTS, find_adapter
from journeyman.store.sql import SqlStore, open_store

SMALL = ("sft", "sums", "--base", "tiny", "--rank", "4", "--dropout", "0.1", "--batch-rows", "4", "--threads=1")
LONG = (*SMALL, "--epochs", "30", "--patience", "99", "--validate-every", "20", "--checkpoint-every", "7")
STEPS = 68
"""Of LONG: enough to be cut short at leisure."""


@pytest.fixture
def store(home: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqlStore]:
    """The store of a home with the tiny model and a dataset, `sums`."""
    monkeypatch.setenv("JOURNEYMAN_MODELS", str(tiny.parent))
    monkeypatch.setenv("COLUMNS", "200")
    conversations = [[user(f"{n} + 1"), assistant(f"{n + 1}")] for n in range(12)]
    lines = [json.dumps({"messages": [message.wire() for message in each]}) for each in conversations]
    (tmp_path / "sums.jsonl").write_text("\n".join(lines))
    with closing(open_store(Settings())) as opened:
        import_dataset(opened, home / "datasets", "sums", tmp_path / "sums.jsonl", 0.2)
        yield opened


def train(*arguments: str) -> str:
    """What the command writes on both streams; its errors pass through."""
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def cut_short(arguments: tuple[str, ...], at: int, number: signal.Signals) -> tuple[int, str]:
    """Run the command in a process of its own and send it a signal at a step; its exit code, and what it wrote."""
    command = [sys.executable, "-m", "journeyman", "train", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    with process, process.stdout as output:
        written = ""
        for line in output:
            written += line
            step = re.match(rf"step (\d+)/{STEPS} ", line)
            if step and int(step[1]) >= at:
                process.send_signal(number)
                break
        written += output.read()
    return process.returncode, written


def weights(adapter: Adapter) -> bytes:
    return (Path(adapter.path) / WEIGHTS).read_bytes()


def test_a_run_shows_its_progress_and_says_what_came_of_it(store: SqlStore) -> None:
    written = train(*SMALL, "--name", "adder")
    adapter = find_adapter(store, "adder")
    assert re.search(r"^step 1/3  loss \d+\.\d+  [\d,]+ tokens/s  \d+:\d\d left$", written, re.MULTILINE)
    assert re.search(r"^step 3/3  loss \d+\.\d+  validation \d+\.\d+  ", written, re.MULTILINE)
    assert f"Trained adder@{adapter.id}: best validation loss" in written
    assert "--models tiny,adder" in written
    listed = train("list")
    assert "finished" in listed
    assert f"adder@{adapter.id}" in listed


def test_every_field_of_the_config_is_an_option_and_reaches_the_run(store: SqlStore) -> None:
    other = {
        "rank": 2, "alpha": 3.0, "dropout": 0.2, "learning_rate": 0.01, "epochs": 0.5, "batch_rows": 3,
        "pack_tokens": 128, "max_length": 256, "warmup": 0.5, "weight_decay": 0.1, "clip_norm": 0.5,
        "validate_every": 1, "patience": 1, "checkpoint_every": 1, "precision": "float32", "seed": 7,
        "targets": "mlp", "device": "auto", "rank_stabilised": True, "processes": 2, "shard": True,
        "jepa_weight": 0.5,
    }  # fmt: skip
    assert other.keys() == SFTConfig.model_fields.keys() - {"base", "dataset", "name", "full", "from_adapter"}
    options = [
        word
        for name, value in other.items()
        for word in (f"--{name.replace('_', '-')}", *(() if value is True else (str(value),)))
    ]
    train("sft", "sums", "--base", "tiny", "--name", "adder", "--threads", "1", *options)
    run = store.find(Run)[0]
    assert {name: run.config[name] for name in other} == other
    assert run.machine["threads"] == 1


def test_defaults_are_the_configs_own(store: SqlStore) -> None:
    train("sft", "sums", "--base", "tiny")
    run = store.find(Run)[0]
    assert run.config == SFTConfig(base="tiny", dataset=run.config["dataset"], name="sums").model_dump()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_a_process_that_is_cut_short_goes_on_to_the_same_adapter(
    store: SqlStore, number: signal.Signals, code: int
) -> None:
    train(*LONG)
    whole = find_adapter(store, "sums")
    expected = weights(whole)
    os.rename(whole.path, f"{whole.path}.aside")

    ended, written = cut_short(LONG, 10, number)
    assert ended == code
    unfinished = store.find(Run)[0]
    if number == signal.SIGKILL:
        assert "killed" in train("list")
    else:
        assert f"Stopped. To go on: journeyman train sft --resume {unfinished.id[-8:]}" in written
        assert "stopped" in train("list")

    written = train("sft", "--resume", unfinished.id[-8:])
    assert f"step {STEPS}/{STEPS}" in written
    assert f"step 1/{STEPS}" not in written
    again = find_adapter(store, "sums")
    assert weights(again) == expected
    assert again.id == whole.id


@pytest.mark.slow
def test_the_same_command_after_a_kill_tells_how_to_go_on(store: SqlStore) -> None:
    ended, _ = cut_short(LONG, 1, signal.SIGKILL)
    assert ended == -signal.SIGKILL
    killed = store.find(Run)[0]
    written = train(*LONG)
    assert f"journeyman train sft --resume {killed.id[-8:]}" in written
    assert len(store.find(Run)) == 2
    assert "cut short" not in train(*LONG, "--seed", "1")


def test_weights_that_are_known_keep_their_first_name(store: SqlStore) -> None:
    train(*SMALL, "--name", "first")
    written = train(*SMALL, "--name", "second")
    assert "keeps its name: first" in written
    assert len(store.find(Adapter)) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "reason"),
    [
        (("sft",), InvalidInput, "which dataset"),
        (("sft", "sums", "--rank", "0"), InvalidInput, "--rank: Input should be greater than or equal to 1"),
        (("sft", "sums", "--epochs", "inf"), InvalidInput, "--epochs: Input should be a finite number"),
        (("sft", "products"), NotFound, "there is: sums"),
        (("sft", "sums", "--base", "huge"), NotFound, "there is: tiny"),
        (("sft", "sums", "--name", "a/b"), InvalidInput, "adapter name"),
        (("sft", "--resume", "last"), NotFound, "no run named 'last'"),
        (("sft", "sums", "--resume", "last", "--batch-rows", "2"), InvalidInput, "leave out DATASET, --batch-rows"),
        (("sft", "--resume", "last", "--threads", "1"), InvalidInput, "leave out --threads"),
    ],
)
def test_wrong_options_are_named_and_nothing_is_started(
    store: SqlStore, arguments: tuple[str, ...], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=re.escape(reason)):
        train(*arguments)
    assert store.find(Run) == []


def test_an_unknown_dataset_is_exit_code_2_and_one_line(store: SqlStore) -> None:
    command = [sys.executable, "-m", "journeyman", "train", "sft", "products"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: no dataset named 'products'; there is: sums")
    assert ended.stderr.count("\n") == 1


def test_an_empty_list_says_what_to_do(home: Path) -> None:
    assert "journeyman train sft DATASET" in train("list")
