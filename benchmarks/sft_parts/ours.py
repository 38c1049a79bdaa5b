"""Our trainer's side."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from journeyman.records import Row, SFTConfig
from journeyman.training.loop import StepReport, Trainer
from sft_parts.child import Clock


def train(job: dict[str, Any]) -> dict[str, Any]:
    """Take the job's steps, and tell what each cost and what validation says in the end."""
    torch.set_num_threads(job["threads"])
    rows = [Row.model_validate(each) for each in job["rows"]]
    config = config_of(job, rows)
    clock, losses = Clock(), list[float]()
    with tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(config, rows, Path(job["model"]), Path(scratch))
        assert trainer.steps == job["steps"], (trainer.steps, job["steps"])
        clock.tick()

        def log(report: StepReport) -> None:
            losses.append(report.validation_loss if report.validation_loss is not None else float("nan"))
            clock.tick()

        trainer.train(log)
    # The last step validates too: its time is not the step's.
    told = clock.told()
    return {"cpu": told["cpu"][1:-1], "wall": told["wall"][1:-1], "validation_loss": losses[-1]}


def config_of(job: dict[str, Any], rows: list[Row]) -> SFTConfig:
    """The job's config; it ends after the job's steps and validates once."""
    training = sum(row.split == "train" for row in rows)
    return SFTConfig(
        base="base", dataset="none", name="none", rank=job["rank"], alpha=job["alpha"], precision=job["precision"],
        learning_rate=job["learning_rate"], batch_rows=job["batch_rows"], pack_tokens=job["pack_tokens"],
        epochs=job["steps"] * job["batch_rows"] / training, validate_every=10**6, checkpoint_every=10**6,
    )  # fmt: skip
