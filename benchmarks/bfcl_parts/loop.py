"""The loop itself, by the commands that a user would type: import, train, serve, ask."""

import os
import resource
from contextlib import closing
from pathlib import Path

from journeyman.config import Settings
from journeyman.datasets.build import import_dataset
from journeyman.datasets.versions import find_dataset
from journeyman.demos.stack import run_command, running
from journeyman.engines.provider import ProviderEngine
from journeyman.evals import Journal, evaluate, load_cases, save
from journeyman.records import Message, Run, Sampling
from journeyman.store.memory import MemoryStore
from journeyman.store.sql import open_store
from journeyman.worker import standing

BASE = "smollm2-135m"
ADAPTER = "bfcl-adapter"
TRAINING = (
    "--batch-rows", "4", "--learning-rate", "1e-3", "--epochs", "1", "--validate-every", "32",
    "--checkpoint-every", "8", "--precision", "float32", "--threads", "1",
)  # fmt: skip
REPLY_TOKENS = 96
AT_ONCE = 8


def check_leaks(home: Path) -> int:
    """What our dataset path finds of the held-out questions in what is learned; nothing is trained on this dataset."""
    return import_dataset(MemoryStore(), home / "leaks", "leaks", home / "leaks.jsonl").near_leaks


def train(home: Path, seed: int) -> None:
    """An adapter that learned the rows, unless this home has one; a run that was cut short goes on."""
    run_command(["dataset", "import", "bfcl", str(home / "rows.jsonl")], _environment(home))
    with closing(open_store(Settings(home=home))) as store:
        version = find_dataset(store, "bfcl").version
        known = [run for run in store.find(Run) if run.dataset_version == version and run.config["seed"] == seed]
        states = {standing(store, run): run.id for run in known}
    if "finished" in states:
        return
    cut_short = states.get("killed") or states.get("stopped")
    options = ["--resume", cut_short] if cut_short else ["bfcl", "--base", BASE, "--name", ADAPTER, "--seed", str(seed)]
    run_command(["train", "sft", *options, *(() if cut_short else TRAINING)], _environment(home))


async def ask_both(home: Path, cases: int) -> dict[str, dict[str, Message]]:
    """By model and case the reply; greedy, through the gateway and our local engine."""
    suite = load_cases(home / "suite")
    settings = Settings(home=home)
    gateway = ["journeyman", "up", "--model", BASE, "--port", "0"]
    with running(gateway, _environment(home), home / "up.log") as url, closing(Journal(home / "evals")) as journal:
        async with ProviderEngine(f"{url}/v1") as engine:
            report = await evaluate(
                suite, [BASE, ADAPTER], engine, count=cases, concurrency=AT_ONCE, journal=journal,
                sampling=Sampling(temperature=0.0, max_tokens=REPLY_TOKENS),
                on_progress=lambda model, done, total: print(f"{model}: {done} of {total}", flush=True),
            )  # fmt: skip
        with closing(open_store(settings)) as store:
            page, _ = save(report, store, home / "evals", journal.finished)
        journal.keep_as(page.with_suffix(".transcripts.jsonl"))
    return {
        model: {case: each.messages[-1] for (by, case), each in journal.finished.items() if by == model}
        for model in (BASE, ADAPTER)
    }


def seconds_of_children() -> float:
    """Processor seconds of the commands that were run and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _environment(home: Path) -> dict[str, str]:
    paths = os.pathsep.join(filter(None, [str(Path(__file__).parent.parent.parent), os.environ.get("PYTHONPATH")]))
    return {"JOURNEYMAN_HOME": str(home), "JOURNEYMAN_THREADS": "1", "PYTHONPATH": paths}
