"""Trained weights, and which of them answers to which name."""

from journeyman.records.record import Record


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


class Promotion(Record):
    """From now on `alias` answers with `target` (an adapter's id, or a model's name); an alias *is* its last promotion.

    `report_id` is the evidence; `forced` is the recorded reason when the gate was overruled or a rollback was made;
    a rollback names in `undoes` the promotion that it took back.
    """

    alias: str
    target: str
    report_id: str | None = None
    forced: str | None = None
    undoes: str | None = None
    by: str = "cli"
