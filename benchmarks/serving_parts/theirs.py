"""The speed of transformers' `generate`, and of PEFT with an adapter for each row of the batch."""

import time
from typing import Any

import torch
from transformers import AutoModelForCausalLM, StoppingCriteria, StoppingCriteriaList
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from serving_parts.speeds import decoding_speed, random_prompts, speed
from serving_parts.windows import Window


class _Clock(StoppingCriteria):  # type: ignore[misc]
    """Stops nothing; notes when each token of the batch came."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **more: Any) -> torch.Tensor:
        self.times.append(time.perf_counter())
        return torch.zeros(len(input_ids), dtype=torch.bool)


def side(job: dict[str, Any]) -> list[dict[str, Any]]:
    """One result for each of `job["cases"]`; PEFT comes in only where adapters are given."""
    disable_progress_bar()
    set_verbosity_error()
    torch.set_num_threads(job["threads"])
    network = load_network(job["model"], getattr(torch, job["precision"]), job.get("adapters", ()))
    return [_measure(network, case, job) for case in job["cases"]]


def load_network(model: str, dtype: torch.dtype, adapters: list[str]) -> Any:
    """The model as transformers loads it, with PEFT's adapters `a0`, `a1`… around it where there are any."""
    network = AutoModelForCausalLM.from_pretrained(model, dtype=dtype).eval()
    if not adapters:
        return network
    from peft import PeftModel

    options = {"autocast_adapter_dtype": False}
    network = PeftModel.from_pretrained(network, adapters[0], adapter_name="a0", **options)
    for number, folder in enumerate(adapters[1:], start=1):
        network.load_adapter(folder, adapter_name=f"a{number}", **options)
    return network.to(dtype).eval()


def _measure(network: Any, case: dict[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    seed = f"{job['seed']}/{case}"
    _generate(network, case, random_prompts(case["batch"], 8, f"warm/{seed}"), 2)
    prompts = random_prompts(case["batch"], job["prompt_tokens"], seed)
    window = Window()
    times = _generate(network, case, prompts, job["new_tokens"])
    spent = window.close()
    return speed(case, spent, case["batch"] * len(times), decoding_speed([times] * case["batch"]))


def _generate(network: Any, case: dict[str, Any], prompts: list[list[int]], tokens: int) -> list[float]:
    ids, clock = torch.tensor(prompts), _Clock()
    named = {}
    if case["adapters"]:
        named = {"adapter_names": [f"a{row % case['adapters']}" for row in range(case["batch"])]}
    with torch.inference_mode():
        output = network.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
            min_new_tokens=tokens, max_new_tokens=tokens, pad_token_id=0,
            stopping_criteria=StoppingCriteriaList([clock]), **named,
        )  # fmt: skip
    assert output.shape[1] == ids.shape[1] + tokens, output.shape
    return clock.times
