"""Several processes learn as one: the same gradients, losses and weights as a single process."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import distributed

from journeyman.records import SFTConfig
from journeyman.training.distributed import World
from journeyman.training.loop import Trainer
from tests.training.conftest import make_judged, make_pairs, make_rows
from tests.training.test_methods import config

ROOT = Path(__file__).parents[2]
SHARED = ("sft", "kto", "full")
"""Rows that are packed, passes before the pass, and every weight."""
PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from tests.training.test_distributed import run
run(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
"""


def run(rank, size, port, model, folder):
    """What one of the processes does: learn in each way, and keep what came of it."""
    torch.set_num_threads(1)
    if size > 1:
        distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=size)
    kept = {}
    for method in ("sft", "dpo", "kto", "full"):
        for shard in (False, True) if size > 1 and method in SHARED else (False,):
            key = f"{method}/{'shared' if shard else 'whole'}"
            trainer = make_trainer(method, shard, size, Path(model), Path(folder) / key)
            loss, tokens, _ = trainer._backward(trainer._training[:3])
            policy = trainer.policy
            gradients = policy.whole({name: value.grad.clone() for name, value in policy.masters.items()})
            kept |= {f"{key}/gradient/{name}": value for name, value in gradients.items()}
            trainer._optimizer.zero_grad(set_to_none=True)
            if shard:
                with pytest.raises(KeyboardInterrupt):
                    trainer.train(stop if rank == 0 else lambda report: None)
                trainer = make_trainer(method, shard, size, Path(model), Path(folder) / key)
                assert trainer.progress.step == 1
            trainer.train(lambda report: None)
            policy = trainer.policy
            kept |= {f"{key}/weight/{name}": value for name, value in policy.whole(policy.masters).items()}
            kept[f"{key}/numbers"] = torch.tensor([loss, tokens, trainer.progress.best_loss], dtype=torch.float64)
            kept[f"{key}/held"] = torch.tensor([sum(value.numel() for value in policy.masters.values())])
            if rank == 0:
                save = policy.save_model if method == "full" else policy.save_adapter
                (Path(folder) / key / "saved").mkdir(parents=True, exist_ok=True)
                save(Path(folder) / key / "saved", trainer.tokenizer.template)
    save_file({name: value.contiguous() for name, value in kept.items()}, Path(folder) / f"rank-{rank}.safetensors")


def stop(report):
    raise KeyboardInterrupt


def make_trainer(method, shard, size, model, folder):
    given = {"batch_rows": 3, "epochs": 1, "validate_every": 2, "processes": size, "shard": shard, "pack_tokens": 64}
    if method == "full":
        own = {"base": "tiny", "dataset": "d", "name": "n", "learning_rate": 1e-3, "precision": "float32"}
        settings = SFTConfig(full=True, **own, **given)
    else:
        settings = config(method, **given)
    return Trainer(settings, rows(method), model, folder)


def rows(method):
    made = make_judged if method == "kto" else make_pairs if method == "dpo" else make_rows
    return [*made(5), *made(3, seed=1, split="validation")]


def computed(tmp_path, tiny, size):
    """What each of the processes kept."""
    folder = tmp_path / f"world-{size}"
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = PROGRAM.format(root=str(ROOT))
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(rank), str(size), str(port), str(tiny), str(folder)],
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for rank in range(size)
    ]
    for process in started:
        _, error = process.communicate(timeout=240)
        assert process.returncode == 0, error
    return [load_file(folder / f"rank-{rank}.safetensors") for rank in range(size)]


@pytest.fixture(scope="module")
def kept(tmp_path_factory, tiny):
    """What one process kept, and each of two."""
    folder = tmp_path_factory.mktemp("worlds")
    return folder, computed(folder, tiny, 1)[0], computed(folder, tiny, 2)


def assert_same(alone, value, name):
    close = {"rtol": 1e-6, "atol": 1e-6} if "/gradient/" in name else {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(value, alone, **close, msg=lambda said: f"{name}: {said}")


def test_two_processes_compute_what_one_does(kept):
    _, alone, together = kept
    for name, value in alone.items():
        for each in together:
            assert_same(value, each[name], name)
    same = [name for name in together[0] if "/shared/" not in name]
    assert all(torch.equal(together[0][name], together[1][name]) for name in same), "bit for bit"


def test_two_processes_that_share_the_weights_out_compute_what_one_does(kept):
    """Stopped after a step by one of them, and gone on with, too."""
    _, alone, (first, second) = kept
    for name, value in alone.items():
        if name.startswith(SHARED) and "/held" not in name:
            assert_same(value, first[name.replace("/whole/", "/shared/")], name)
    for method in SHARED:
        whole = int(alone[f"{method}/whole/held"])
        parts = [int(each[f"{method}/shared/held"]) for each in (first, second)]
        assert sum(parts) == whole
        assert max(parts) < 0.51 * whole, "each holds a half"


@pytest.mark.parametrize(("method", "file"), [("sft", "adapter_model"), ("full", "model")])
def test_what_was_shared_out_is_saved_whole(kept, method, file):
    folder, alone, _ = kept
    whole, shared = (
        load_file(folder / f"world-{size}" / method / how / "saved" / f"{file}.safetensors")
        for size, how in ((1, "whole"), (2, "shared"))
    )
    assert whole.keys() == shared.keys()
    for name, value in whole.items():
        assert_same(value, shared[name], name)
    assert len(whole) == sum(name.startswith(f"{method}/whole/weight/") for name in alone)


def test_what_does_not_learn_with_shared_weights_is_refused():
    for method in ("reward", "distill"):
        with pytest.raises(ValidationError, match="does not learn with weights that are shared out yet"):
            config(method, processes=2, shard=True)
    with pytest.raises(ValidationError, match="--jepa-weight does not learn with weights that are shared out yet"):
        SFTConfig(base="b", dataset="d", name="n", processes=2, shard=True, full=True, jepa_weight=0.1)
    with pytest.raises(ValidationError, match="say how many: --processes"):
        config("sft", shard=True)


def test_a_batch_smaller_than_the_world_leaves_some_without_a_share():
    assert [World(rank, 3).share(["a", "b"]) for rank in range(3)] == [["a"], ["b"], []]
