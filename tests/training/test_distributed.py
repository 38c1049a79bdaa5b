"""Several processes learn as one: the same gradients, losses and weights as a single process."""

import socket
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from journeyman.training.distributed import World
from tests.training.conftest import make_judged, make_pairs, make_rows

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
import torch
from safetensors.torch import save_file
from torch import distributed
torch.set_num_threads(1)
rank, size, port, model, folder = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]
if size > 1:
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{{port}}", rank=rank, world_size=size)
from journeyman.training.loop import Trainer
from tests.training.test_distributed import rows
from tests.training.test_methods import config
kept = {{}}
for method in ("sft", "dpo", "kto"):
    settings = config(method, batch_rows=3, epochs=1, validate_every=2)
    trainer = Trainer(settings, rows(method), Path(model), Path(folder) / method)
    loss, tokens, _ = trainer._backward(trainer._training[:3])
    kept |= {{f"{{method}}/gradient/{{name}}": value.grad.clone() for name, value in trainer.policy.masters.items()}}
    trainer._optimizer.zero_grad(set_to_none=True)
    trainer.train(lambda report: None)
    kept |= {{f"{{method}}/weight/{{name}}": value for name, value in trainer.policy.masters.items()}}
    kept[f"{{method}}/numbers"] = torch.tensor([loss, tokens, trainer.progress.best_loss], dtype=torch.float64)
save_file(kept, Path(folder) / f"rank-{{rank}}.safetensors")
"""


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


def test_two_processes_compute_what_one_does(tmp_path, tiny):
    (alone,) = computed(tmp_path, tiny, 1)
    together = computed(tmp_path, tiny, 2)
    for name, value in alone.items():
        for each in together:
            close = {"rtol": 1e-6, "atol": 1e-6} if "/gradient/" in name else {"rtol": 1e-4, "atol": 1e-5}
            torch.testing.assert_close(each[name], value, **close)
    assert all(torch.equal(value, together[1][name]) for name, value in together[0].items()), "bit for bit"


def test_a_batch_smaller_than_the_world_leaves_some_without_a_share():
    assert [World(rank, 3).share(["a", "b"]) for rank in range(3)] == [["a"], ["b"], []]
