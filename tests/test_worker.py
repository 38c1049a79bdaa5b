"""A run from its config to an adapter: what it keeps, how it is cut short, and how it goes on."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from journeyman.config import Settings
from journeyman.datasets.build import import_dataset
from journeyman.datasets.versions import keep_dataset
from journeyman.errors import InvalidInput, ModelFileBroken, NotFound, Refused
from journeyman.records import Adapter, Condition, Filter, Point, Row, Run, RunEvent, SFTConfig
from journeyman.records.message import assistant, user
from journeyman.registry.adapters import WEIGHTS, check_adapter, find_adapter
from journeyman.store.sql import SqlStore, open_store
from journeyman.worker import create_run, execute, find_run, find_unfinished, last_event, last_point, standing


@pytest.fixture
def settings(home: Path, tiny: Path) -> Settings:
    return Settings(models=tiny.parent, threads=1)


@pytest.fixture
def store(settings: Settings) -> Iterator[SqlStore]:
    opened = open_store(settings)
    yield opened
    opened.close()


@pytest.fixture
def dataset(settings: Settings, store: SqlStore, tmp_path: Path) -> str:
    lines = [
        json.dumps(
            {"messages": [{"role": "user", "content": f"{n} + 1"}, {"role": "assistant", "content": f"{n + 1}"}]}
        )
        for n in range(12)
    ]
    (tmp_path / "sums.jsonl").write_text("\n".join(lines))
    made = import_dataset(store, settings.home / "datasets", "sums", tmp_path / "sums.jsonl", 0.2)
    return f"sums@{made.version}"


def config(**changes: Any) -> SFTConfig:
    small = {"base": "tiny", "dataset": "sums", "name": "adder", "rank": 4, "dropout": 0.1, "epochs": 5.0}
    pace = {"batch_rows": 4, "validate_every": 4, "checkpoint_every": 3}
    return SFTConfig.model_validate(small | pace | changes)


class Interrupt:
    """Sends this process a signal after some steps, as a person or a system would."""

    def __init__(self, step: int, number: signal.Signals = signal.SIGINT) -> None:
        self.step, self.number = step, number
        self.steps: list[int] = []

    def __call__(self, report: Any) -> None:
        self.steps.append(report.step)
        if report.step == self.step:
            os.kill(os.getpid(), self.number)


def ignore(report: Any) -> None:
    """A log for those who do not look."""


def weights(adapter: Adapter) -> bytes:
    return (Path(adapter.path) / WEIGHTS).read_bytes()


def of(run: Run) -> Filter:
    return Filter(conditions=(Condition(field="run_id", operator="=", value=run.id),))


def statuses(store: SqlStore, run: Run) -> list[str]:
    return [event.status for event in reversed(store.find(RunEvent, of(run)))]


def test_a_run_ends_with_an_adapter_its_curves_and_a_report(settings: Settings, store: SqlStore, dataset: str) -> None:
    reports: list[Any] = []
    run = create_run(settings, store, config())
    adapter = execute(settings, store, run, reports.append)

    assert (adapter.name, adapter.base, adapter.rank, adapter.run_id) == ("adder", "tiny", 4, run.id)
    assert find_adapter(store, "adder") == adapter
    check_adapter(adapter)
    assert statuses(store, run) == ["running", "finished"]
    assert standing(store, run) == "finished"
    assert run.config["dataset"] == dataset

    points = sorted(store.find(Point, of(run)), key=lambda point: point.step)
    assert [point.step for point in points] == [report.step for report in reports] == list(range(1, len(points) + 1))
    assert [point.values["loss"] for point in points] == [report.loss for report in reports]
    validated = {point.step: point.values["validation_loss"] for point in points if "validation_loss" in point.values}
    assert sorted(validated) == [4, 8, 12]
    assert points[-1].values["loss"] < points[0].values["loss"]

    written = json.loads((Path(run.path) / "report.json").read_text())
    assert written["curve"] == [{"step": point.step, **point.values} for point in points]
    assert written["config"] == run.config
    assert written["best_loss"] == min(validated.values())
    assert written["machine"]["threads"] == 1
    page = (Path(run.path) / "report.md").read_text()
    assert f"adder@{adapter.id}" in page
    assert f"{validated[8]:.4f}" in page
    assert not (Path(run.path) / "checkpoints").exists()


def test_the_adapter_is_one_that_peft_loads(
    settings: Settings, store: SqlStore, dataset: str, tiny: Path, recwarn: pytest.WarningsRecorder
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    adapter = execute(settings, store, create_run(settings, store, config()), ignore)
    base = AutoModelForCausalLM.from_pretrained(tiny)
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        before = base(ids).logits
        after = PeftModel.from_pretrained(base, adapter.path)(ids).logits
    assert not torch.allclose(before, after)
    assert str(tiny) not in (Path(adapter.path) / "adapter_config.json").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step_and_going_on_gives_the_same_weights(
    settings: Settings, store: SqlStore, dataset: str, number: signal.Signals
) -> None:
    whole = execute(settings, store, create_run(settings, store, config()), ignore)
    expected = weights(whole)
    shutil.rmtree(whole.path)

    run = create_run(settings, store, config())
    interrupt = Interrupt(5, number)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        execute(settings, store, run, interrupt)
    assert interrupt.steps == [1, 2, 3, 4, 5]
    assert standing(store, run) == "stopped"
    assert signal.getsignal(signal.SIGINT) is before

    rest = Interrupt(0)
    assert weights(execute(settings, store, run, rest)) == expected
    assert rest.steps == list(range(6, 13))
    assert statuses(store, run) == ["running", "stopped", "running", "finished"]
    assert store.count(Point, of(run)) == {"": 12}


def test_a_second_signal_strikes_within_a_step_and_going_on_still_gives_the_same_weights(
    settings: Settings, store: SqlStore, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.optim import AdamW

    expected = weights(execute(settings, store, create_run(settings, store, config()), ignore))
    step, calls = AdamW.step, []

    def interrupted(optimizer: AdamW) -> None:
        """The worst moment: the weights have moved, and the step does not count yet."""
        step(optimizer)
        calls.append(optimizer)
        if len(calls) == 5:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    run = create_run(settings, store, config())
    monkeypatch.setattr(AdamW, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        execute(settings, store, run, ignore)
    assert standing(store, run) == "stopped"
    rest = Interrupt(0)
    assert weights(execute(settings, store, run, rest)) == expected
    assert rest.steps == list(range(4, 13))
    assert store.count(Point, of(run)) == {"": 12}


def test_a_run_is_executed_once_at_a_time(settings: Settings, store: SqlStore, dataset: str) -> None:
    run = create_run(settings, store, config(epochs=1.0))
    seen = []

    def meddle(report: Any) -> None:
        seen.append(standing(store, run))
        with pytest.raises(Refused, match=run.id):
            execute(settings, store, run, ignore)

    assert standing(store, run) == "killed"
    execute(settings, store, run, meddle)
    assert set(seen) == {"running"}
    assert statuses(store, run) == ["running", "finished"]
    with pytest.raises(InvalidInput, match="is finished"):
        execute(settings, store, run, ignore)


def test_a_run_can_be_executed_in_any_thread(settings: Settings, store: SqlStore, dataset: str) -> None:
    with ThreadPoolExecutor() as threads:
        adapter = threads.submit(execute, settings, store, create_run(settings, store, config()), ignore).result(120)
    assert find_adapter(store, "adder") == adapter


def test_going_on_takes_the_rows_it_began_with(
    settings: Settings, store: SqlStore, dataset: str, tmp_path: Path
) -> None:
    run = create_run(settings, store, config())
    with pytest.raises(KeyboardInterrupt):
        execute(settings, store, run, Interrupt(2))
    (tmp_path / "sums.jsonl").write_text((tmp_path / "sums.jsonl").read_text().replace("+", "plus"))
    newer = import_dataset(store, settings.home / "datasets", "sums", tmp_path / "sums.jsonl", 0.2)
    execute(settings, store, run, ignore)
    assert run.config["dataset"] == dataset != f"sums@{newer.version}"
    assert create_run(settings, store, config()).dataset_version == newer.version


def test_going_on_with_another_model_is_refused(
    settings: Settings, store: SqlStore, dataset: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(tiny, folder)
    monkeypatch.chdir(tmp_path)
    run = create_run(settings, store, config(base="mine"))
    assert run.config["base"] == str(folder)
    with pytest.raises(KeyboardInterrupt):
        execute(settings, store, run, Interrupt(2))
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(InvalidInput, match="is not the one that run"):
        execute(settings, store, run, ignore)
    assert standing(store, run) == "stopped"


def test_an_error_is_an_event_and_is_raised_again(settings: Settings, store: SqlStore, dataset: str) -> None:
    run = create_run(settings, store, config(max_length=16))
    with pytest.raises(InvalidInput, match="--max-length"):
        execute(settings, store, run, ignore)
    event = last_event(store, run)
    assert event is not None
    assert event.status == "failed"
    assert "--max-length" in event.detail
    assert not store.find(Adapter)


def test_what_cannot_be_trained_is_refused_before_there_is_a_run(
    settings: Settings, store: SqlStore, dataset: str, tiny: Path
) -> None:
    with pytest.raises(NotFound, match=r"dataset named 'products'; there is: sums"):
        create_run(settings, store, config(dataset="products"))
    with pytest.raises(NotFound, match=r"model named 'huge'; there is: tiny"):
        create_run(settings, store, config(base="huge"))
    with pytest.raises(InvalidInput, match="adapter name"):
        create_run(settings, store, config(name="../adder"))
    (settings.home / "broken").mkdir()
    shutil.copy(tiny / "config.json", settings.home / "broken")
    with pytest.raises(ModelFileBroken, match=r"tokenizer\.json is missing"):
        create_run(settings, store, config(base=str(settings.home / "broken")))
    assert store.find(Run) == []


def row(conversation: str, *messages: Any, split: Any = "train") -> Row:
    return Row(messages=messages, split=split, conversation=conversation, source="test")


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "0 rows to train on and 0 held out"),
        ([row("only", user("1"), assistant("2"))], "1 rows to train on and 0 held out"),
        (
            [row("mute", user("1")), row("b", user("2"), assistant("3"), split="validation")],
            "mute .* no assistant turn",
        ),
    ],
)
def test_rows_that_teach_nothing_are_refused_before_there_is_a_run(
    settings: Settings, store: SqlStore, rows: list[Row], reason: str
) -> None:
    keep_dataset(store, settings.home / "datasets", "poor", rows)
    with pytest.raises(InvalidInput, match=reason):
        create_run(settings, store, config(dataset="poor"))
    assert store.find(Run) == []


def test_a_run_is_found_by_a_part_of_its_id(settings: Settings, store: SqlStore, dataset: str) -> None:
    with pytest.raises(NotFound, match="none yet"):
        find_run(store, "last")
    first, second = (create_run(settings, store, config(seed=seed)) for seed in (1, 2))
    assert find_run(store, first.id) == find_run(store, first.id[-8:]) == first
    assert find_run(store, "last") == second
    assert last_point(store, second) is None
    with pytest.raises(InvalidInput, match="2 runs have an id"):
        find_run(store, first.id[:6])
    with pytest.raises(NotFound, match=first.id):
        find_run(store, "zzz")


def test_an_unfinished_run_of_the_same_config_is_found(settings: Settings, store: SqlStore, dataset: str) -> None:
    cut = create_run(settings, store, config())
    create_run(settings, store, config(seed=1))
    again = create_run(settings, store, config(dataset=dataset))
    assert find_unfinished(store, again) == cut
    execute(settings, store, cut, ignore)
    assert find_unfinished(store, again) is None
