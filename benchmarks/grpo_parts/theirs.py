"""TRL's side: the same prompts in the same order, through its GRPOTrainer."""

import tempfile
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from grpo_parts.child import Steps, reward_of


class _Ticks(TrainerCallback):
    def __init__(self, clock: Steps) -> None:
        self._clock, self._is_begun = clock, False

    def on_step_begin(self, *arguments: Any, **options: Any) -> None:
        if not self._is_begun:
            self._is_begun = True
            self._clock.tick()

    def on_step_end(self, *arguments: Any, **options: Any) -> None:
        self._clock.tick()


def train(job: dict[str, Any]) -> dict[str, Any]:
    """Take the job's steps, and tell what each cost."""
    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    sampled: list[int] = []

    def reward(completions: list[Any], completion_ids: list[list[int]], **_: Any) -> list[float]:
        sampled.append(sum(len(each) for each in completion_ids))
        return [reward_of(each[0]["content"]) for each in completions]

    rows = [{"prompt": [{"role": "user", "content": text}]} for text in job["prompts"]]
    with tempfile.TemporaryDirectory() as scratch:
        attempts = job["scenarios"] * job["attempts"]
        config = GRPOConfig(
            output_dir=scratch, use_cpu=True, per_device_train_batch_size=job["trl_rows"],
            gradient_accumulation_steps=attempts // job["trl_rows"], num_generations=job["attempts"],
            max_completion_length=job["new_tokens"], temperature=1.0, top_p=1.0, top_k=0, beta=0.0, loss_type="grpo",
            epsilon=0.2, num_iterations=1, max_steps=job["steps"], learning_rate=job["learning_rate"],
            lr_scheduler_type="constant", weight_decay=0.0, max_grad_norm=1.0, gradient_checkpointing=False,
            logging_strategy="no", save_strategy="no", report_to=[], bf16=False, fp16=False, disable_tqdm=True,
            shuffle_dataset=False, use_vllm=False,
        )  # fmt: skip
        lora = LoraConfig(r=job["rank"], lora_alpha=job["alpha"], target_modules="all-linear", task_type="CAUSAL_LM")
        clock = Steps()
        trainer = GRPOTrainer(
            model, reward_funcs=reward, args=config, train_dataset=Dataset.from_list(rows), peft_config=lora,
            processing_class=tokenizer, callbacks=[_Ticks(clock)],
        )  # fmt: skip
        trainer.train()
    return clock.told() | {"sampled": sampled, "phases": [], "engine_mib": 0.0}
