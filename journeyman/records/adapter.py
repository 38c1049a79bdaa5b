"""Trained weights, and which of them answers to which name."""

from pydantic import Field

from journeyman.records.record import Frozen, Record


class Adapter(Record):
    """Immutable LoRA weights in PEFT's format. `id` is the hash of the weights and their template.

    `path` is the folder; `base` the base model's name; `template` the version of the chat template it learned;
    `pruning` the text that was removed from the prompts it learned from, and is removed from those it answers.
    """

    name: str
    base: str
    rank: int
    path: str
    run_id: str | None = None
    parent: str | None = None
    template: str
    pruning: tuple[str, ...] = ()


class Share(Frozen):
    """A part of an alias's conversations: of all weights together, `weight` go to `target`."""

    target: str
    weight: float = Field(gt=0, allow_inf_nan=False)


class GateVerdict(Frozen):
    """What one gate said of `target` when it was to be promoted; `reason` names what was measured, and where."""

    gate: str
    target: str
    passed: bool
    reason: str


class Promotion(Record):
    """From now on `alias` answers with `target` (an adapter's id, or a model's name); an alias *is* its last promotion.

    With a `split`, several answer, each its share of the conversations, and `target` is the one with most of them.
    `report_id` is the evidence and `verdicts` what each gate said of it; `forced` is the recorded reason when a gate
    was overruled or a rollback was made; a rollback names in `undoes` the promotion that it took back.
    """

    alias: str
    target: str
    split: tuple[Share, ...] | None = None
    report_id: str | None = None
    verdicts: tuple[GateVerdict, ...] = ()
    forced: str | None = None
    undoes: str | None = None
    by: str = "cli"

    @property
    def shares(self) -> tuple[Share, ...]:
        """Who answers, and for how much: one target with everything where there is no split."""
        return self.split or (Share(target=self.target, weight=1),)
