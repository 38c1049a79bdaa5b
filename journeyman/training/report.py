"""What came of a training run, and everything that is needed to do it again."""

from typing import Any

from pydantic import SerializeAsAny

from journeyman.records import Frozen
from journeyman.records.run import RunKind, TrainingConfig


class TrainingReport(Frozen):
    """One finished run. Losses are in `unit`; `seconds` are those of training steps alone."""

    run_id: str
    adapter: str
    base: str
    base_version: str
    kind: RunKind = "sft"
    unit: str = "nats per target token"
    config: SerializeAsAny[TrainingConfig]
    machine: dict[str, Any]
    steps: int
    planned_steps: int
    best_loss: float | None
    best_step: int
    tokens: int
    seconds: float
    curve: tuple[dict[str, float], ...]

    def summary(self) -> str:
        """The whole report in one line."""
        early = " (stopped early)" if self.steps < self.planned_steps else ""
        loss = "not validated" if self.best_loss is None else f"validation loss {self.best_loss:.4f}"
        return (
            f"{self.adapter}: best {loss} at step {self.best_step}; {self.steps} of {self.planned_steps} steps{early}, "
            f"{self.tokens:,} tokens, {self.seconds:,.0f} s of training"
        )

    def to_markdown(self) -> str:
        """The report as a page: outcome, curve at each validation, and provenance."""
        machine = dict(self.machine)
        versions = machine.pop("versions", {})
        facts = {
            "run": self.run_id,
            "method": self.kind,
            "base": f"{self.base} ({self.base_version})",
            "config": _listed({name: value for name, value in self.config if name != "base"}),
            "machine": _listed(machine),
            "versions": _listed(versions),
        }
        lines = [
            f"# {self.adapter}",
            "",
            f"{self.summary()}.",
            "",
            "| step | training loss | validation loss |",
            "| ---: | ---: | ---: |",
            *(
                f"| {point['step']:.0f} | {point['loss']:.4f} | {point['validation_loss']:.4f} |"
                for point in self.curve
                if "validation_loss" in point
            ),
            "",
            f"Losses are {self.unit}.",
            "",
            *(f"- {name}: {value}" for name, value in facts.items()),
        ]
        return "\n".join(lines) + "\n"


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
