"""LoRA against full fine-tuning in miniature: which claims of *LoRA Without Regret* hold for a model of two layers.

python benchmarks/lora_without_regret.py               all claims, three seeds
python benchmarks/lora_without_regret.py --quick       one claim, a few steps; not kept
python benchmarks/lora_without_regret.py --minutes 4   so much processor time; with the same --home it goes on later

Schulman and Thinking Machines Lab, 2025. The model is a Llama of 2 layers, 64 wide, that our trainer teaches the
language reference of Python first. Every run is one of our trainer, on one thread, in float32; it warms up and decays,
where the original holds the rate. A claim that lacks runs is told as not run.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import torch
from lora_parts.claims import CLAIMS, SEEDS, quick_claim
from lora_parts.runs import Notebook, Spec
from record import Row, row, write_results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="where runs are kept; a temporary folder if absent")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="processor time after which to stop")
    parser.add_argument("--quick", action="store_true", help="one claim, a few steps; not kept")
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.set_num_threads(1)
    home = options.home or Path(tempfile.mkdtemp(prefix="journeyman-lora-"))
    home.mkdir(parents=True, exist_ok=True)
    notebook = Notebook(home, pretraining=40 if options.quick else 500)
    claims = [quick_claim()] if options.quick else CLAIMS
    rows, done = list[Row](), list[Spec]()
    for claim in claims:
        missing = explore(notebook, claim.specs, options.minutes)
        if missing:
            rows.append(row(claim.title, f"not run: {missing} of {len(claim.specs)} runs are missing"))
            continue
        rows += claim.verdict(notebook.outcome)
        done += claim.specs
    rows.append(row("runs", len(set(done)), "runs"))
    rows.append(row("processor time of these runs, pretraining aside", notebook.cpu_seconds(done), "CPU-s"))
    extra = {"seeds": list(SEEDS), "runs": notebook.told(done)}
    write_results("lora_without_regret", rows, SEEDS[0], extra=extra, quick=options.quick)


def explore(notebook: Notebook, specs: list[Spec], minutes: float) -> int:
    """Do the runs that are not known yet, while there is time; how many are left."""
    for number, spec in enumerate(specs):
        if not notebook.knows(spec) and time.process_time() > 60 * minutes:
            return sum(not notebook.knows(each) for each in specs[number:])
        known = notebook.knows(spec)
        found = notebook.outcome(spec)
        if not known:
            print(f"{spec}: {found:.4f}", flush=True)
    return 0


if __name__ == "__main__":
    main()
