"""TRL's side: the same token sequences in the same order, through its SFTTrainer."""

import tempfile
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, TrainerCallback
from trl import SFTConfig, SFTTrainer

from sft_parts.child import Clock


class _Ticks(TrainerCallback):
    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def on_step_begin(self, *arguments: Any, **options: Any) -> None:
        if not self._clock.cpu:
            self._clock.tick()

    def on_step_end(self, *arguments: Any, **options: Any) -> None:
        self._clock.tick()


class _SameOrderAndRates(SFTTrainer):
    rates: tuple[float, ...] = ()
    """Of each step, as a share of the peak."""

    def _get_train_sampler(self, *arguments: Any) -> Any:
        return SequentialSampler(self.train_dataset)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        last = len(self.rates) - 1
        self.lr_scheduler = LambdaLR(optimizer or self.optimizer, lambda step: self.rates[min(step, last)])
        return self.lr_scheduler


def train(job: dict[str, Any]) -> dict[str, Any]:
    """Take the job's steps, and tell what each cost and what validation says in the end."""
    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    dtype = torch.bfloat16 if job["precision"] == "bfloat16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=dtype)
    parts = {split: Dataset.from_list([_example(each) for each in job[split]]) for split in ("train", "validation")}
    with tempfile.TemporaryDirectory() as scratch:
        config = SFTConfig(
            output_dir=scratch, use_cpu=True, per_device_train_batch_size=job["batch_rows"],
            per_device_eval_batch_size=job["batch_rows"], max_steps=job["steps"], learning_rate=job["learning_rate"],
            weight_decay=0.0, max_grad_norm=1.0, gradient_checkpointing=False, packing=False, max_length=4096,
            logging_strategy="no", save_strategy="no", report_to=[], bf16=False, fp16=False, disable_tqdm=True,
            dataset_kwargs={"skip_prepare_dataset": True}, dataloader_num_workers=0,
        )  # fmt: skip
        lora = LoraConfig(r=job["rank"], lora_alpha=job["alpha"], target_modules="all-linear", task_type="CAUSAL_LM")
        clock = Clock()
        trainer = _SameOrderAndRates(
            model, args=config, train_dataset=parts["train"], eval_dataset=parts["validation"], peft_config=lora,
            callbacks=[_Ticks(clock)],
        )  # fmt: skip
        trainer.rates = tuple(job["rates"])
        trainer.train()
        told = clock.told()
        return {"cpu": told["cpu"][1:-1], "wall": told["wall"][1:-1], "validation_loss": _loss(trainer, job)}


@torch.no_grad()
def _loss(trainer: SFTTrainer, job: dict[str, Any]) -> float:
    """Mean over every target token, as ours: the trainer's own is a mean of batches' means."""
    model, total, count = trainer.model.eval(), 0.0, 0
    for each in job["validation"]:
        ids, labels = torch.tensor([each["ids"]]), torch.tensor(_labels(each))
        logits = model(input_ids=ids).logits[0, :-1].float()
        kept = labels[1:] >= 0
        total += float(torch.nn.functional.cross_entropy(logits[kept], labels[1:][kept], reduction="sum"))
        count += int(kept.sum())
    return total / count


def _labels(each: dict[str, Any]) -> list[int]:
    return [id if learn else -100 for id, learn in zip(each["ids"], each["mask"], strict=True)]


def _example(each: dict[str, Any]) -> dict[str, Any]:
    return {"input_ids": each["ids"], "labels": _labels(each)}
