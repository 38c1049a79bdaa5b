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
from journeyman.evals import Journal, evaluate, load_cases
from journeyman.evals.journal import read_transcripts
from journeyman.records import Message, Run, Sampling
from journeyman.store.memory import MemoryStore
from journeyman.store.sql import open_store
from journeyman.worker import standing

BASE = "smollm2-135m"
FORCED = f"{BASE}, forced to call"
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


async def ask(home: Path, cases: int, *, forced: bool) -> dict[str, dict[str, Message]]:
    """By player and case the reply; greedy, through the gateway and our local engine.

    With `forced` the base is asked twice: as it is, and with the engine's grammar forcing it to write a call.
    """
    suite = load_cases(home / "suite")
    gateway = ["journeyman", "up", "--model", BASE, "--port", "0"]
    answered: dict[str, dict[str, Message]] = {}
    rounds: list[tuple[tuple[str, ...], dict[str, str]]] = [((BASE, ADAPTER), {})]
    if forced:
        rounds.append(((BASE,), {"tool_choice": "required"}))
    with running(gateway, _environment(home), home / "up.log") as url:
        async with ProviderEngine(f"{url}/v1") as engine:
            for players, demand in rounds:
                # What is finished stays in the journal, so that the same home is never asked twice.
                with closing(Journal(home / "evals")) as journal:
                    await evaluate(
                        suite, players, engine, count=cases, concurrency=AT_ONCE, journal=journal,
                        sampling=Sampling.model_validate({"temperature": 0.0, "max_tokens": REPLY_TOKENS} | demand),
                        on_progress=lambda model, done, total: print(f"{model}: {done} of {total}", flush=True),
                    )  # fmt: skip
                for (model, case), each in journal.finished.items():
                    answered.setdefault(FORCED if demand else model, {})[case] = each.messages[-1]
    return answered


def read_replies(transcripts: Path) -> dict[str, dict[str, Message]]:
    """What base and adapter answered in an evaluation of before, by model and case."""
    found: dict[str, dict[str, Message]] = {BASE: {}, ADAPTER: {}}
    for (model, case), each in read_transcripts(transcripts).items():
        found[model][case] = each.messages[-1]
    return found


def seconds_of_children() -> float:
    """Processor seconds of the commands that were run and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _environment(home: Path) -> dict[str, str]:
    paths = os.pathsep.join(filter(None, [str(Path(__file__).parent.parent.parent), os.environ.get("PYTHONPATH")]))
    return {"JOURNEYMAN_HOME": str(home), "JOURNEYMAN_THREADS": "1", "PYTHONPATH": paths}
