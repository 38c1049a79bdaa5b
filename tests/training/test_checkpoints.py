"""Checkpoints are whole or not there, and hold everything bit for bit."""

import errno
import json
import os

import pytest
import torch
from safetensors import SafetensorError

from journeyman.errors import DiskFull, ModelFileBroken
from journeyman.training import checkpoints
from journeyman.training.checkpoints import Checkpoint, Progress, load_checkpoint, save_checkpoint, writing_folder


def made(step, seed=0):
    torch.manual_seed(seed)
    weights = {"a.lora_A": torch.randn(3, 4), "a.lora_B": torch.randn(4, 3).t()}
    parameters = [torch.nn.Parameter(value.clone()) for value in weights.values()]
    optimizer = torch.optim.AdamW(parameters, lr=0.1, betas=(0.9, 0.99), weight_decay=0.01)
    sum((parameter**2).sum() for parameter in parameters).backward()
    optimizer.step()
    best = {name: value * 2 for name, value in weights.items()}
    progress = Progress(step, 1.25, 3, 1, 999, 4.5, {"3": 1.25})
    return Checkpoint(progress, weights, best, optimizer.state_dict(), torch.get_rng_state())


def assert_same(one, other):
    assert one.progress == other.progress
    for name in ("weights", "best_weights"):
        assert getattr(one, name).keys() == getattr(other, name).keys()
        assert all(torch.equal(value, getattr(other, name)[key]) for key, value in getattr(one, name).items())
    assert torch.equal(one.random_state, other.random_state)
    for index, state in one.optimizer["state"].items():
        assert state.keys() == other.optimizer["state"][index].keys()
        assert all(torch.equal(value, other.optimizer["state"][index][key]) for key, value in state.items())
    for group, loaded in zip(one.optimizer["param_groups"], other.optimizer["param_groups"], strict=True):
        assert json.dumps(group) == json.dumps(loaded)


def write(target, name, stop=None):
    with writing_folder(target) as partial:
        (partial / name).write_text("x")
        if stop:
            raise stop


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_nothing_yet(tmp_path):
    assert load_checkpoint(tmp_path / "none") is None


def test_what_is_loaded_is_what_was_saved(tmp_path):
    saved = made(7)
    save_checkpoint(tmp_path, saved)
    assert_same(saved, load_checkpoint(tmp_path))


def test_only_the_newest_is_kept(tmp_path):
    for step in (9, 10, 100):
        save_checkpoint(tmp_path, made(step))
    assert names(tmp_path) == ["step-00000100"]
    assert load_checkpoint(tmp_path).progress.step == 100


def test_nothing_in_it_is_pickled(tmp_path):
    save_checkpoint(tmp_path, made(1))
    assert names(tmp_path / "step-00000001") == ["progress.json", "state.safetensors"]


def test_saving_a_step_again_never_leaves_a_moment_without_a_checkpoint(tmp_path):
    save_checkpoint(tmp_path, made(5))
    before = os.stat(tmp_path / "step-00000005").st_ino
    save_checkpoint(tmp_path, made(5, seed=1))
    assert os.stat(tmp_path / "step-00000005").st_ino == before


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
    ids=["system", "safetensors"],
)
def test_a_full_disk_keeps_the_older_checkpoint_and_says_so(tmp_path, monkeypatch, error):
    save_checkpoint(tmp_path, made(5))

    def fills_up(tensors, path):
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(checkpoints, "save_file", fills_up)
    with pytest.raises(DiskFull, match=r"no space left while writing step-00000006(.|\n)*Free some space"):
        save_checkpoint(tmp_path, made(6))
    assert names(tmp_path) == ["step-00000005"]
    assert_same(made(5), load_checkpoint(tmp_path))


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_whatever_stops_the_writing_leaves_nothing_half_written(tmp_path, stop):
    with pytest.raises(stop):
        write(tmp_path / "target", "half", stop)
    assert names(tmp_path) == []


def test_what_a_killed_process_left_half_written_is_ignored_and_cleaned_up(tmp_path):
    save_checkpoint(tmp_path, made(5))
    half = tmp_path / ".step-00000006.partial"
    half.mkdir()
    (half / "state.safetensors").write_bytes(b"half")
    assert load_checkpoint(tmp_path).progress.step == 5
    save_checkpoint(tmp_path, made(7))
    assert names(tmp_path) == ["step-00000007"]


def test_an_older_folder_gives_way_only_to_a_whole_one(tmp_path):
    target = tmp_path / "target"
    write(target, "a")
    with pytest.raises(RuntimeError):
        write(target, "b", RuntimeError)
    assert names(target) == ["a"]
    write(target, "b")
    assert names(target) == ["b"]


@pytest.mark.parametrize("name", ["state.safetensors", "progress.json"])
def test_a_damaged_checkpoint_is_named(tmp_path, name):
    save_checkpoint(tmp_path, made(5))
    path = tmp_path / "step-00000005" / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ModelFileBroken, match="step-00000005"):
        load_checkpoint(tmp_path)
