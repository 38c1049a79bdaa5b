"""Does the local engine say what transformers says, and think of its tokens what the trainer thinks?

Greedy replies are compared token for token with transformers' `generate`, one prompt at a time there and all of them in
one running batch here, for the base model and under an adapter (a random LoRA that PEFT made, or `--adapter`). Then
replies are sampled at temperature 1, and the engine's log-probabilities held against the trainer's. All in float32.
`--quick` takes six prompts of sixteen tokens.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from record import Row, row, write_results
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from journeyman.config import Settings
from journeyman.engines.local.network.model import LocalModel
from journeyman.engines.local.request import Request, Update
from journeyman.engines.local.sampling.rule import SamplingRule
from journeyman.engines.local.sampling.sampler import Sampler
from journeyman.engines.local.scheduler import Scheduler
from journeyman.engines.models import find_model
from journeyman.records import SFTConfig, Tool
from journeyman.records.message import assistant, call, system, tool_result, user
from journeyman.rendering.chat import ChatTokenizer
from journeyman.rendering.masks import MaskedTokens
from journeyman.training.batches import pack_rows
from journeyman.training.policy import Policy

SEED = 0
TOPICS = (
    "the moon", "a lost bank card", "bread", "the French Revolution", "prime numbers", "rain in Zürich",
    "a dog named Bo", "the number 42", "tax returns", "photosynthesis", "a chess opening", "日本の電車",
)  # fmt: skip
ASKS = (
    "Tell me about {}.", "Write one sentence on {}", "Why does anybody care about {}?\n\nAnswer in a list.",
    "Translate to German: I like {}.",
)  # fmt: skip
BALANCE = Tool.model_validate(
    {
        "function": {
            "name": "balance",
            "description": "Balance of an account in cents.",
            "parameters": {"type": "object", "properties": {"account": {"type": "string"}}},
        }
    }
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a model; smollm2-135m of the model cache when absent")
    parser.add_argument("--adapter", type=Path, help="folder of an adapter in PEFT's format; a random one when absent")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="six prompts of sixteen tokens")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    disable_progress_bar()
    folder = options.model or find_model(Settings(), "smollm2-135m")
    prompts = make_prompts(ChatTokenizer(folder))
    tokens = 48
    if options.quick:
        prompts, tokens = prompts[:: len(prompts) // 6][:6], 16
    with tempfile.TemporaryDirectory() as made:
        adapter = options.adapter or write_random_adapter(folder, Path(made) / "random")
        base, plain = compare(folder, None, prompts, tokens)
        adapted, under = compare(folder, adapter, prompts, tokens)
    changed = sum(one.reply != other.reply for one, other in zip(plain, under, strict=True))
    rows = [*base, *adapted, row("adapter: replies that differ from the base model's", changed, f"of {len(prompts)}")]
    kind = str(options.adapter.name) if options.adapter else "random LoRA by PEFT, rank 16"
    extra = {"model": folder.name, "adapter": kind, "new_tokens": tokens}
    write_results("parity", rows, SEED, extra, quick=options.quick)


def make_prompts(tokenizer: ChatTokenizer) -> list[list[int]]:
    """Sixty prompts: questions, plain text to continue, tools, several turns, and long ones."""
    prompts = []
    for number, topic in enumerate(TOPICS):
        for ask in (ASKS[number % len(ASKS)], ASKS[(number + 1) % len(ASKS)]):
            prompts.append(tokenizer.prompt([user(ask.format(topic))]))
        prompts.append(tokenizer.encode(f"Once upon a time, {topic}"))
        opening = [system("You are a bank."), user("Hi, my account is A-1.")]
        prompts.append(tokenizer.prompt([*opening, user(f"How much for {topic}?")], [BALANCE]))
        turns = [call("c1", "balance", account="A-1"), tool_result("c1", '{"cents": 120}'), assistant("1.20 EUR.")]
        long = user(f"Enough for {topic}? " * (1 + 2 * number))
        prompts.append(tokenizer.prompt([*opening, *turns, long], [BALANCE]))
    return prompts


def write_random_adapter(folder: Path, target: Path) -> Path:
    """A LoRA on all linear layers whose B is not zero: it changes what the model says, and not into noise."""
    torch.manual_seed(SEED)
    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    network = get_peft_model(load_plain(folder), config)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.01)
    network.save_pretrained(target, save_embedding_layers=False)
    return target


def compare(
    folder: Path, adapter: Path | None, prompts: Sequence[list[int]], tokens: int
) -> tuple[list[Row], list[Request]]:
    """The rows of results for the base model (None) or an adapter, and the engine's greedy replies."""
    what = "base" if adapter is None else "adapter"
    greedy, sampled = ask_engine(folder, adapter, prompts, tokens)
    network = load_plain(folder)
    if adapter is not None:
        network = PeftModel.from_pretrained(network, adapter).eval()
    same = 0
    for number, (prompt, request) in enumerate(zip(prompts, greedy, strict=True)):
        expected = generate(network, prompt, tokens)
        same += request.reply == expected
        if request.reply != expected:
            print(f"{what}, prompt {number}: {explain(network, prompt, request.reply, expected)}")
    differences = torch.cat(logprob_differences(folder, adapter, sampled)).abs()
    mean, most = float(differences.mean()), float(differences.max())
    rows = [
        row(f"{what}: greedy replies identical to transformers' generate", same, f"of {len(prompts)} prompts",
            bar=f"all {len(prompts)}", holds=same == len(prompts)),
        row(f"{what}: mean |trainer − engine| of {len(differences)} sampled tokens' logprobs", mean, "nats",
            bar="≤ 1e-3", holds=mean <= 1e-3),
        row(f"{what}: greatest |trainer − engine|", most, "nats"),
    ]  # fmt: skip
    return rows, greedy


def ask_engine(
    folder: Path, adapter: Path | None, prompts: Sequence[list[int]], tokens: int
) -> tuple[list[Request], list[Request]]:
    """Every prompt answered greedily, and sampled, by an engine that batches them all."""
    model = LocalModel(folder, precision="float32")
    if adapter is not None:
        model.load_adapter("adapter", adapter)
    tokenizer, scheduler = ChatTokenizer(folder), Scheduler(model)

    def submit(prompt: list[int], rule: SamplingRule) -> tuple[Request, Future[None]]:
        ended: Future[None] = Future()

        def tell(update: Update) -> None:
            if update.error is not None:
                ended.set_exception(update.error)
            elif update.finish_reason is not None:
                ended.set_result(None)

        request = Request(
            prompt, Sampler(rule), tokens, (), tokenizer, tell, "adapter" if adapter is not None else None
        )
        scheduler.submit(request)
        return request, ended

    asked = [submit(prompt, SamplingRule(temperature=0)) for prompt in prompts]
    asked += [submit(prompt, SamplingRule(seed=f"{SEED}/{number}")) for number, prompt in enumerate(prompts)]
    for _, ended in asked:
        ended.result(timeout=3600)
    scheduler.close()
    requests = [request for request, _ in asked]
    return requests[: len(prompts)], requests[len(prompts) :]


def load_plain(folder: Path) -> Any:
    """The model as transformers loads it."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def generate(network: Any, prompt: list[int], tokens: int) -> list[int]:
    """Transformers' own greedy reply."""
    ids = torch.tensor([prompt])
    mask = torch.ones_like(ids)
    output = network.generate(input_ids=ids, attention_mask=mask, max_new_tokens=tokens, do_sample=False)
    return list(output[0, len(prompt) :].tolist())


@torch.no_grad()
def explain(network: Any, prompt: list[int], ours: list[int], theirs: list[int]) -> str:
    """Where two replies part, and how far apart the two likeliest tokens were there: a tie, or an error of ours."""
    pairs = zip(ours, theirs, strict=False)
    place = next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(ours), len(theirs)))
    logits = network(torch.tensor([[*prompt, *theirs[:place]]])).logits[0, -1]
    first, second = logits.topk(2).values.tolist()
    return f"differs at token {place}, where the two greatest logits are {first - second:.2e} apart"


def logprob_differences(folder: Path, adapter: Path | None, replies: Sequence[Request]) -> list[torch.Tensor]:
    """Trainer minus engine for every sampled token; the trainer computes them in packs, as it does when it learns."""
    policy = load_policy(folder, adapter)
    differences = []
    for start in range(0, len(replies), 8):
        some = replies[start : start + 8]
        rows = [
            MaskedTokens((*reply.prompt, *reply.reply), (False,) * len(reply.prompt) + (True,) * len(reply.reply))
            for reply in some
        ]
        trained = torch.cat([policy.logprobs(pack) for pack in pack_rows(rows, most_tokens=1024)])
        differences.append(trained - torch.tensor([logprob for reply in some for logprob in reply.logprobs]))
    return differences


def load_policy(folder: Path, adapter: Path | None) -> Policy:
    """The trainer's model, holding the adapter's weights, or none that change anything."""
    shape: dict[str, Any] = {}
    if adapter is not None:
        config = json.loads((adapter / "adapter_config.json").read_text())
        shape = {"rank": config["r"], "alpha": config["lora_alpha"]}
    policy = Policy(folder, SFTConfig(base="base", dataset="none", name="parity", precision="float32", **shape))
    if adapter is not None:
        weights = load_file(adapter / "adapter_model.safetensors")
        policy.restore({name: weights[name.replace(".default.", ".")] for name in policy.masters})
    return policy


if __name__ == "__main__":
    main()
