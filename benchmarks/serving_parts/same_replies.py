"""Is a greedy reply the same whatever runs beside it, and the same as transformers' and PEFT's? All in float32."""

from typing import Any

import torch

from journeyman.engines.local.sampling.rule import SamplingRule
from journeyman.statistics import proportion
from serving_parts.our_engine import OurEngine
from serving_parts.plan import SEED, Plan
from serving_parts.rows import ServingRow, figure
from serving_parts.sides import run_side
from serving_parts.texts import text_prompts
from serving_parts.theirs import load_network

Difference = dict[str, Any]


def measure(plan: Plan) -> list[ServingRow]:
    """Rows for prompts of 5 to 300 tokens, each under one of the base model and 8 adapters."""
    count = plan.count(200, 9)
    folders = plan.adapters(8, "float32")
    job = plan.job(
        prompts=text_prompts(plan.model, count, SEED),
        adapters=folders,
        named=[None if number % 9 == 8 else f"a{number % 9}" for number in range(count)],
        tokens=plan.count(32, 8),
    )
    mixed = run_side("same_replies", job | {"how": "mixed"})
    alone = run_side("same_replies", job | {"how": "alone"})
    base = run_side("same_replies", job | {"how": "mixed", "named": [None] * count})
    found = run_side("same_replies", job | {"how": "reference", "mixed": mixed, "alone": alone}, seconds=7200)
    moved = sum(one != other for one, other in zip(mixed, base, strict=True))
    kind = f"greedy replies under any mix of adapters and neighbours, float32, {job['tokens']} tokens"
    return [
        _row(f"{kind}: identical to the request alone", count, found["to_alone"]),
        _row(f"{kind}: identical to transformers and PEFT", count, found["to_reference"]),
        figure("of these, replies that an adapter made differ from the base model's", moved, f"of {count}"),
    ]


def side(job: dict[str, Any]) -> Any:
    """The replies of our engine, mixed or one by one; or how they differ from the reference's."""
    if job["how"] == "reference":
        return _compare(job)
    rules = [SamplingRule(temperature=0)] * len(job["prompts"])
    with OurEngine(job["model"], job["threads"], precision="float32") as engine:
        engine.load(job["adapters"])
        if job["how"] == "mixed":
            asked = engine.fill_with_pauses(job["prompts"], job["named"], job["tokens"], rules, SEED)
        else:
            asked = [
                engine.ask(prompt, job["tokens"], rule, adapter).wait()
                for prompt, rule, adapter in zip(job["prompts"], rules, job["named"], strict=True)
            ]
    return [each.reply for each in asked]


def _compare(job: dict[str, Any]) -> dict[str, list[Difference]]:
    torch.set_num_threads(job["threads"])
    network = load_network(job["model"], torch.float32, job["adapters"])
    to_alone, to_reference = list[Difference](), list[Difference]()
    for prompt, adapter, mixed, alone in zip(job["prompts"], job["named"], job["mixed"], job["alone"], strict=True):
        if adapter is None:
            with network.disable_adapter():
                _judge(network, prompt, mixed, alone, to_alone)
                _judge(network, prompt, mixed, _generate(network, prompt, job["tokens"]), to_reference)
        else:
            network.set_adapter(adapter)
            _judge(network, prompt, mixed, alone, to_alone)
            _judge(network, prompt, mixed, _generate(network, prompt, job["tokens"]), to_reference)
    return {"to_alone": to_alone, "to_reference": to_reference}


@torch.inference_mode()
def _generate(network: Any, prompt: list[int], tokens: int) -> list[int]:
    ids = torch.tensor([prompt])
    output = network.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False
    )
    return list(output[0, len(prompt) :].tolist())


@torch.inference_mode()
def _judge(network: Any, prompt: list[int], ours: list[int], other: list[int], found: list[Difference]) -> None:
    """Note where two replies part, and how far apart the two greatest logits were there: a tie, or an error."""
    if ours == other:
        return
    pairs = zip(ours, other, strict=False)
    place = next((at for at, (one, two) in enumerate(pairs) if one != two), min(len(ours), len(other)))
    logits = network(input_ids=torch.tensor([[*prompt, *other[:place]]])).logits[0, -1]
    first, second = logits.topk(2).values.tolist()
    found.append({"prompt": len(prompt), "place": place, "gap": first - second})


def _row(what: str, count: int, differing: list[Difference]) -> ServingRow:
    same = count - len(differing)
    share = proportion(same, count)
    gaps = ", ".join(f"{each['gap']:.1e} at token {each['place']}" for each in differing[:10])
    note = f"{len(differing)} differ" + (f"; gap of the two greatest logits there: {gaps}" if gaps else "")
    row = figure(what, same, f"of {count}", at_least=count, note=f"{note}; share {share.estimate:.3f}, 95% interval "
                 f"{share.low:.3f} to {share.high:.3f}")  # fmt: skip
    return row
