"""Whether a small model learns to be a world's learned layer: SmolLM2-135M on BFCL's tools that have no twin.

    /path/to/python benchmarks/world_model.py             rows, fine-tuning, held-out calls: about 15 minutes of CPU
    /path/to/python benchmarks/world_model.py --quick     a few rows, to see that every step works

It runs the commands that a user would (`dataset import`, `train sft`, `train rl`), serves what came of them by our
own engine, and asks about the same held-out calls: the base model, the fine-tuned one, and two baselines. Needs
`bfcl-eval` (see benchmarks/fidelity.py) and a pulled smollm2-135m.
"""

import asyncio
import json
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer
from fidelity_parts import bfcl_traces
from record import Row as Result
from record import row, write_results

from journeyman.config import Settings
from journeyman.datasets.formats import export_rows
from journeyman.demos.stack import run_command
from journeyman.engines.models import find_model
from journeyman.engines.process import EngineProcess
from journeyman.engines.provider import ProviderEngine
from journeyman.records import Adapter, Row
from journeyman.rendering.chat import ChatTokenizer
from journeyman.statistics.intervals import clustered_mean
from journeyman.store.sql import open_store
from journeyman.worlds.baselines import NearestCopy
from journeyman.worlds.build import Built, build
from journeyman.worlds.learned.model import Answers
from journeyman.worlds.learned.patches import to_patch
from journeyman.worlds.learned.proposer import Proposer
from journeyman.worlds.learned.rows import divided, rows_of
from journeyman.worlds.learned.suite import PARTS, scores_of
from journeyman.worlds.nearest import Nearest
from journeyman.worlds.resolver import LEAST
from journeyman.worlds.state import State, leaf_changes
from journeyman.worlds.transitions import Transition, with_families
from journeyman.worlds.trials import shrunk
from journeyman.worlds.world import World

BASE, DATASET, ADAPTER, TUNED = "smollm2-135m", "bfcl-world", "bfcl-world-model", "bfcl-world-model-rl"
_NAMES = {
    "f1": "F1 outcome class", "f2": "F2 schema validity", "f3": "F3 answer equal", "f4": "F4 state change equal",
    "success": "all of them",
}  # fmt: skip


def main(
    quick: Annotated[bool, typer.Option(help="A few rows; results go to world_model.quick.json.")] = False,
    rows: Annotated[int, typer.Option(help="Rows to fine-tune on.")] = 240,
    held: Annotated[int, typer.Option(help="Held-out calls to ask about.")] = 60,
    tasks: Annotated[int, typer.Option(help="BFCL tasks that the world is built from.")] = 80,
    length: Annotated[int, typer.Option(help="Tokens of the longest row taken.")] = 640,
    epochs: Annotated[float, typer.Option(help="Passes over the rows.")] = 2.0,
    reinforce: Annotated[int, typer.Option(help="Steps of reinforcement learning on F1 to F4 after that.")] = 0,
    seed: Annotated[int, typer.Option(help="Which sessions, rows and calls.")] = 0,
) -> None:
    """Teach, ask, compare and keep."""
    if quick:
        rows, held, tasks, epochs = 16, 6, 12, 1.0
    built = _world(tasks, seed)
    settings = Settings()
    tokenizer = ChatTokenizer(find_model(settings, BASE))
    taken = [each for each in rows_of(built, seed) if _fits(each, built, tokenizer, length)]
    train = [each for each in taken if each.split == "train"][:rows]
    asked = [each for each in taken if each.split == "validation"]
    calls = {each.name: each for each in built.memory}
    # The calls that are asked about choose nothing in training: rows held out from early stopping are others.
    judged, stopping = asked[:held], asked[held : held + max(4, held // 4)]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        World("bfcl", built, ()).save(home / "worlds")
        export_rows([*train, *stopping], home / "rows.jsonl")
        environment = {"JOURNEYMAN_HOME": folder}
        run_command(["dataset", "import", DATASET, str(home / "rows.jsonl")], environment)
        run_command(
            ["train", "sft", DATASET, "--base", BASE, "--name", ADAPTER, "--epochs", str(epochs), "--max-length",
             str(length), "--batch-rows", "4", "--validate-every", "1000", "--threads", "1"],
            environment,
        )  # fmt: skip
        names = {BASE: "the base model, untaught", ADAPTER: "fine-tuned"}
        if reinforce:
            run_command(
                ["train", "rl", "world-model/bfcl", "--base", BASE, "--from", ADAPTER, "--name", TUNED, "--steps",
                 str(reinforce), "--scenarios", "4", "--attempts", "4", "--new-tokens", "160", "--evaluate-every", "0",
                 "--evaluate-scenarios", "2", "--threads", "1"],
                environment,
            )  # fmt: skip
            names[TUNED] = "fine-tuned, then reinforced"
        told = asyncio.run(_told(Settings(home=home), list(names), judged, built, home))
    results = _results(built, judged, calls, {names[model]: said for model, said in told.items()}, seed)
    extra = {
        "rows learned from": len(train),
        "epochs": epochs,
        "calls asked about": len(judged),
        "tools": len({_tool(each) for each in judged}),
    }
    write_results("world_model", results, seed, extra, quick=quick)


def _world(tasks: int, seed: int) -> Built:
    found = bfcl_traces.tasks()[:tasks]
    calls = [
        each
        for task in found
        for policy, number in (("gold", 0), ("noisy", 0), ("noisy", 1))
        for each in bfcl_traces.played(task, policy, seed + number)
    ]
    return build(with_families(calls), seed=seed)


def _fits(each: Row, built: Built, tokenizer: ChatTokenizer, length: int) -> bool:
    tool = _tool(each)
    trial = built.trials.get(tool)
    has_twin = trial is not None and trial.admitted
    return not has_twin and _tokens(each, tokenizer) <= length


def _tool(each: Row) -> str:
    return each.messages[1].text.split(" ", 2)[1]


def _tokens(each: Row, tokenizer: ChatTokenizer) -> int:
    return len(tokenizer.prompt(each.messages[:-1])) + len(tokenizer.encode(each.messages[-1].text)) + 8


async def _told(
    settings: Settings, models: Sequence[str], judged: Sequence[Row], built: Built, home: Path
) -> dict[str, list[str]]:
    """What each model says about each held-out call, held to the tool's schema by the engine."""
    with closing(open_store(settings)) as store:
        adapters = {each.name: Path(each.path) for each in store.find(Adapter)}
    found: dict[str, list[str]] = {}
    model = find_model(settings, BASE)
    served = EngineProcess.local(model, BASE, home, threads=1, precision="float32")
    async with served as engine, ProviderEngine(f"{engine.url}/v1") as client:
        for name in models:
            if name in adapters:
                await client.load(name, adapters[name])
            answers = Answers(Proposer(name, f"{engine.url}/v1"), home, settings)
            found[name] = [
                (await asyncio.to_thread(answers.of, [each.messages[:-1]], built.shapes[_tool(each)]))[0] or ""
                for each in judged
            ]
    return found


def _results(
    built: Built, judged: Sequence[Row], calls: dict[str, Transition], told: dict[str, list[str]], seed: int
) -> list[Result]:
    learned, _ = divided(built, seed)
    baselines: dict[str, Any] = {"neighbours' vote": Nearest(learned), "copying the nearest call": NearestCopy(learned)}
    for name, predictor in baselines.items():
        told[name] = [_as_words(predictor, calls[each.source]) for each in judged]
    world = World("bfcl", built, ())
    made = []
    for name, said in told.items():
        scores = [
            {score.name: score.value for score in scores_of(text, calls[each.source], world)}
            for text, each in zip(said, judged, strict=True)
        ]
        for part in (*PARTS, "success"):
            made.append(_share(f"{_NAMES[part]}: {name}", judged, calls, [each[part] for each in scores]))
        small = [
            place
            for place, each in enumerate(judged)
            if leaf_changes(calls[each.source].before, calls[each.source].after)
        ]
        chosen = [judged[place] for place in small]
        made.append(
            _share(f"F4 of calls that change 1-2 cells: {name}", chosen, calls, [scores[p]["f4"] for p in small])
        )
        right: dict[str, list[float]] = {}
        for each, score in zip(judged, scores, strict=True):
            right.setdefault(calls[each.source].tool, []).append(score["success"])
        everywhere = sum(map(sum, right.values())) / (len(judged) + 1)
        let_in = [t for t, found in right.items() if shrunk(int(sum(found)), len(found), everywhere) >= LEAST]
        made.append(row(f"tools for which the gate would let it answer: {name}", len(let_in), f"of {len(right)}"))
    return made


def _changes(call: Transition) -> bool:
    return bool(leaf_changes(call.before, call.after))


def _as_words(predictor: Any, call: Transition) -> str:
    """A baseline's answer in the form in which models give theirs; nothing where it has none."""
    found = predictor.answer(call.tool, call.arguments, State(call.before or {}))
    if found is None or getattr(found, "source", "") == "abstain":
        return ""
    try:
        patch = to_patch(found.changes, call.before or {})
    except (ValueError, AttributeError):
        return ""
    return json.dumps({"outcome": found.error or "ok", "patch": patch, "answer": found.observation}, default=str)


def _share(what: str, judged: Sequence[Row], calls: dict[str, Transition], values: Sequence[float]) -> Result:
    clusters: dict[str, list[float]] = {}
    for each, value in zip(judged, values, strict=True):
        clusters.setdefault(calls[each.source].family, []).append(value)
    if len(clusters) < 2:
        return row(what, None, f"n={len(values)}")
    found = clustered_mean(list(clusters.values()))
    return row(what, found.estimate, f"n={len(values)}", interval=(found.low, found.high))


if __name__ == "__main__":
    typer.run(main)
