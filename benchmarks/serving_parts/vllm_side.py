"""The speed of vLLM, in a process of the interpreter that has it: nothing of ours is imported but the clocks."""

import os
import time
from typing import Any

from serving_parts.speeds import random_prompts, speed
from serving_parts.windows import Window

_OPTIONS = {
    # By itself it keeps one of two cores for its front end and computes on the other.
    "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
}


def side(job: dict[str, Any]) -> list[dict[str, Any]]:
    """One result for each of `job["cases"]`, `job["repeats"]` times. LoRA is enabled only where adapters are given."""
    for name, value in _OPTIONS.items():
        os.environ.setdefault(name, value)
    if job["threads"] != os.cpu_count():
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", f"0-{job['threads'] - 1}")
    from vllm import LLM

    adapters, cases = job["adapters"], job["cases"]
    lora = {"enable_lora": True, "max_loras": len(adapters), "max_lora_rank": 16} if adapters else {}
    begun = time.perf_counter()
    llm = LLM(
        model=job["model"], dtype=job["precision"], max_model_len=2048, generation_config="vllm", seed=0,
        max_num_seqs=max(case["batch"] for case in cases), enable_prefix_caching=False, disable_log_stats=False,
        enforce_eager=job["eager"], **lora,
    )  # fmt: skip
    started = time.perf_counter() - begun
    results = []
    for repeat in range(job["repeats"]):
        for case in cases:
            # The first compiles, and loads the adapters.
            _run(llm, case, adapters, random_prompts(case["batch"], job["prompt_tokens"], f"warm/{repeat}/{case}"), 4)
            prompts = random_prompts(case["batch"], job["prompt_tokens"], f"{job['seed']}/{repeat}/{case}")
            results.append(_run(llm, case, adapters, prompts, job["new_tokens"]) | {"start_seconds": started})
    return results


def _run(llm: Any, case: dict[str, Any], adapters: list[str], prompts: list[list[int]], tokens: int) -> dict[str, Any]:
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest

    rule = SamplingParams(temperature=1.0, max_tokens=tokens, ignore_eos=True)
    named = None
    if case["adapters"]:
        numbers = [row % case["adapters"] for row in range(case["batch"])]
        named = [LoRARequest(f"a{number}@1", number + 1, adapters[number]) for number in numbers]
    window = Window()
    outputs = llm.generate(
        [{"prompt_token_ids": prompt} for prompt in prompts], rule, lora_request=named, use_tqdm=False
    )
    spent = window.close()
    written = sum(len(output.outputs[0].token_ids) for output in outputs)
    assert written == case["batch"] * tokens, written
    return speed(case, spent, written, _decoding([output.metrics for output in outputs], tokens))


def _decoding(metrics: list[Any], tokens: int) -> float | None:
    """As if no row had decoded while others still read their prompts: a little in vLLM's favour."""
    if any(each is None or not each.first_token_ts for each in metrics):
        return None
    begun, ended = max(each.first_token_ts for each in metrics), max(each.last_token_ts for each in metrics)
    return len(metrics) * (tokens - 1) / (ended - begun) if ended > begun else None
