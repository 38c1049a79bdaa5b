"""Sampled tokens' log-probabilities as the engine reports them, against those that training computes for them."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from journeyman.engines.local.sampling.rule import SamplingRule
from journeyman.records import SFTConfig
from journeyman.rendering.masks import MaskedTokens
from journeyman.statistics import clustered_mean
from journeyman.training.batches import pack_rows
from journeyman.training.policy import Policy
from serving_parts.our_engine import OurEngine
from serving_parts.plan import SEED, Plan
from serving_parts.random_adapters import ALPHA, RANK
from serving_parts.rows import ServingRow, figure
from serving_parts.sides import run_side
from serving_parts.texts import text_prompts

BARS = {"float32": 1e-4, "bfloat16": 4e-2}
_ADAPTERS = 3


def measure(plan: Plan) -> list[ServingRow]:
    """Rows for both precisions; the replies are sampled at temperature 1 under the base model and three adapters."""
    count = plan.count(64, 4)
    numbers = [number % (_ADAPTERS + 1) for number in range(count)]
    job = plan.job(
        prompts=text_prompts(plan.model, count, SEED + 1),
        named=[None if number == _ADAPTERS else f"a{number}" for number in numbers],
        adapters=plan.adapters(_ADAPTERS, "float32"),
        tokens=plan.count(32, 8),
    )
    rows = []
    for precision, bar in BARS.items():
        part = job | {"how": "sampled", "precision": precision}
        part["sampled"] = run_side("logprobs", part)
        found = run_side("logprobs", part | {"how": "trained"})
        rows.append(_row(f"mean |engine − trainer| of sampled tokens' logprobs, both {precision}", found, bar))
    # Two computations in bfloat16 are further apart than either is from the truth: which of them is off?
    exact = run_side("logprobs", part | {"how": "trained", "precision": "float32"})
    rounded = [
        [one - other for one, other in zip(reply, exact[number], strict=True)] for number, reply in enumerate(found)
    ]
    return [
        *rows,
        _row("of these, mean |engine in bfloat16 − trainer in float32|", exact),
        _row("of these, mean |trainer in float32 − trainer in bfloat16|", rounded),
    ]


def _row(what: str, differences: list[list[float]], bar: float | None = None) -> ServingRow:
    sizes = [[abs(each) for each in reply] for reply in differences]
    mean, tokens = clustered_mean(sizes), sum(map(len, sizes))
    note = f"{tokens} tokens of {len(sizes)} replies; greatest {max(map(max, sizes)):.2g}"
    return figure(what, mean.estimate, "nats", at_most=bar, interval=(mean.low, mean.high), note=note)


def side(job: dict[str, Any]) -> Any:
    """What the engine sampled, as ids and log-probabilities; or the differences of the trainer's for each reply."""
    if job["how"] == "trained":
        return _differences(job)
    rules = [SamplingRule(seed=f"{SEED}/{number}") for number in range(len(job["prompts"]))]
    with OurEngine(job["model"], job["threads"], precision=job["precision"]) as engine:
        engine.load(job["adapters"])
        asked = engine.fill_with_pauses(job["prompts"], job["named"], job["tokens"], rules, SEED)
    return [{"reply": each.reply, "logprobs": each.logprobs} for each in asked]


def _differences(job: dict[str, Any]) -> list[list[float]]:
    torch.set_num_threads(job["threads"])
    config = SFTConfig(base="base", dataset="none", name="none", rank=RANK, alpha=ALPHA, precision=job["precision"])
    policy = Policy(Path(job["model"]), config)
    untrained = policy.state()
    found: list[list[float]] = [[] for _ in job["prompts"]]
    for name in [None, *(Path(folder).name for folder in job["adapters"])]:
        policy.restore(untrained if name is None else _weights(policy, job["adapters"], name))
        numbers = [number for number, named in enumerate(job["named"]) if named == name]
        rows = [
            MaskedTokens(
                (*job["prompts"][number], *job["sampled"][number]["reply"]),
                (False,) * len(job["prompts"][number]) + (True,) * len(job["sampled"][number]["reply"]),
            )
            for number in numbers
        ]
        trained = [each for pack in pack_rows(rows, config.pack_tokens) for each in policy.logprobs(pack).tolist()]
        for number in numbers:
            ours = job["sampled"][number]["logprobs"]
            found[number] = [one - other for one, other in zip(ours, trained[: len(ours)], strict=True)]
            trained = trained[len(ours) :]
    return found


def _weights(policy: Policy, folders: list[str], name: str) -> dict[str, torch.Tensor]:
    folder = next(Path(each) for each in folders if Path(each).name == name)
    weights = load_file(folder / "adapter_model.safetensors")
    return {master: weights[master.replace(".default.", ".")] for master in policy.masters}
