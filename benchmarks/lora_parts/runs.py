"""One run of our trainer on the miniature, and the notebook that keeps what each came to."""

import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from journeyman.records import Row, SFTConfig
from journeyman.training.loop import StepReport, Trainer
from lora_parts.material import english, pairs, python, write_tokenizer

SHAPE = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 4, "head_dim": 16, "max_position_embeddings": 512, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 0, "tie_word_embeddings": True,
}  # fmt: skip
PAIRS, LETTERS_OF_VALUE = 128, 6
TRAIN, VALIDATION = 320, 48


@dataclass(frozen=True)
class Spec:
    """What one run does. `rank` 0 is full fine-tuning; `task` is `python`, `pairs` or `letters`."""

    task: str
    rank: int
    rate: float
    seed: int
    targets: str = "all-linear"
    batch: int = 8
    steps: int = 40

    @property
    def config(self) -> dict[str, Any]:
        """The trainer's config, but for the number of epochs."""
        shape = {"full": True} if self.rank == 0 else {"rank": self.rank, "targets": self.targets}
        return shape | {
            "base": "miniature", "dataset": "none", "name": "none", "learning_rate": self.rate, "seed": self.seed,
            "batch_rows": self.batch, "pack_tokens": 8192, "validate_every": 10**6, "checkpoint_every": 10**6,
            "precision": "float32",
        }  # fmt: skip


class Notebook:
    """Runs by their spec, one line of JSON each; what is known is not run again."""

    def __init__(self, home: Path, pretraining: int = 500) -> None:
        self.base, self._pretraining = home / f"miniature-{pretraining}", pretraining
        self._path = home / "runs.jsonl"
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        self._known: dict[str, dict[str, Any]] = {json.dumps(each["spec"]): each for each in map(json.loads, lines)}

    def outcome(self, spec: Spec) -> float:
        """The held-out loss in nats per token (`letters`: the expected reward); runs it if need be."""
        key = json.dumps(asdict(spec))
        if key not in self._known:
            self._known[key] = self._run(spec) | {"spec": asdict(spec)}
            with self._path.open("a") as file:
                file.write(json.dumps(self._known[key]) + "\n")
        return float(self._known[key]["outcome"])

    def knows(self, spec: Spec) -> bool:
        """Whether it was run."""
        return json.dumps(asdict(spec)) in self._known

    def told(self, specs: list[Spec]) -> list[dict[str, Any]]:
        """Each run's spec and outcome, for whoever wants to look closer."""
        return [self._known[json.dumps(asdict(spec))] for spec in dict.fromkeys(specs)]

    def cpu_seconds(self, specs: list[Spec]) -> float:
        """Processor time of these runs, whenever they were run."""
        return sum(self._known[json.dumps(asdict(spec))]["cpu_seconds"] for spec in set(specs))

    def _run(self, spec: Spec) -> dict[str, float]:
        if not self.base.exists():
            pretrain(self.base, self._pretraining)
        began = time.process_time()
        if spec.task == "letters":
            from lora_parts.reinforce import learn_letters

            outcome = learn_letters(self.base, spec)
        else:
            outcome = fine_tune(self.base, spec)
        return {"outcome": outcome, "cpu_seconds": time.process_time() - began}


def fine_tune(base: Path, spec: Spec) -> float:
    """Supervised fine-tuning; the loss on the validation rows after the last step, 20 where it ran away."""
    rows = pairs(PAIRS, LETTERS_OF_VALUE, spec.seed) if spec.task == "pairs" else python(TRAIN, VALIDATION, spec.seed)
    found, _ = _train(base, rows, spec.config, spec.steps)
    return min(found, 20.0) if found == found else 20.0


def pretrain(folder: Path, steps: int) -> None:
    """A random network learns the language reference; every weight, by our trainer."""
    with tempfile.TemporaryDirectory() as scratch:
        blank = Path(scratch) / "blank"
        vocabulary = write_tokenizer(blank)
        torch.manual_seed(0)
        network = AutoModelForCausalLM.from_config(
            AutoConfig.for_model("llama", vocab_size=vocabulary, **SHAPE), dtype=torch.float32
        )
        network.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=0)
        network.save_pretrained(blank)
        config = Spec("english", 0, 4e-3, 0, batch=16).config
        found, trainer = _train(blank, english(4000, 1), config, steps)
        print(f"pretrained: {found:.3f} nats per token of held-out English", flush=True)
        partial = folder.with_suffix(".partial")
        trainer.policy.save_model(partial, trainer.tokenizer.template)
        partial.rename(folder)


def _train(base: Path, rows: list[Row], config: dict[str, Any], steps: int) -> tuple[float, Trainer]:
    training = sum(row.split == "train" for row in rows)
    complete = SFTConfig(**config, epochs=steps * config["batch_rows"] / training)
    found = list[float]()

    def log(report: StepReport) -> None:
        if report.validation_loss is not None:
            found.append(report.validation_loss)

    with tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(complete, rows, base, Path(scratch))
        if trainer.steps != steps:
            raise RuntimeError(f"{trainer.steps} steps were planned, not {steps}")
        trainer.train(log)
    return found[-1], trainer
