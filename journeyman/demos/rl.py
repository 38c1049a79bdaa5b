"""Reinforcement learning before one's eyes: a real model learns a task with a tool, on two cores, in minutes."""

from contextlib import closing
from pathlib import Path

from rich.console import Console

from journeyman.config import Settings
from journeyman.demos.stack import run_command
from journeyman.records import Condition, Filter, Point, Run
from journeyman.store.sql import open_store

BASE, SUITE, ADAPTER = "smollm2-135m", "price-tool", "price-agent"
TRAINING = (
    "--rank", "1", "--learning-rate", "3e-4", "--steps", "10", "--scenarios", "8", "--attempts", "8",
    "--new-tokens", "24", "--max-calls", "2", "--evaluate-every", "10",
)  # fmt: skip


def run(home: Path, console: Console, seed: int) -> None:
    """Pull the model, train, and say what came of it; everything that was made stays in `home`."""
    environment = {"JOURNEYMAN_HOME": str(home)}
    home.mkdir(parents=True, exist_ok=True)
    console.print(
        "A customer asks for a price. The agent must call `price(item)` in exactly this form, and then say what came "
        "back. It is shown two examples, and rewarded 0.3 for a valid call and 0.7 for the right answer: nothing else."
    )
    console.print(f"[bold]$ journeyman models pull {BASE}[/]")
    run_command(["models", "pull", BASE], environment)
    command = ["train", "rl", SUITE, "--base", BASE, "--name", ADAPTER, "--seed", str(seed), *TRAINING]
    console.print(f"[bold]$ journeyman {' '.join(command)}[/]")
    run_command(command, environment)
    with closing(open_store(Settings(home=home))) as store:
        trained = next(run for run in store.find(Run) if run.kind == "rl")
        where = Filter(conditions=(Condition(field="run_id", operator="=", value=trained.id),))
        points = [each for each in store.find(Point, where) if "held-out reward" in each.values]
    first, last = points[-1].values, points[0].values
    console.print(
        f"Held-out reward, as it samples: [bold]{_said(first)}[/] before, [bold]{_said(last)}[/] after "
        f"{points[0].step} steps.\n"
        f"At its surest (greedy): {first['held-out greedy']:.2f} before, {last['held-out greedy']:.2f} after. Where "
        "only the first rises, the model does more often what it could do before."
    )


def _said(values: dict[str, float]) -> str:
    return f"{values['held-out reward']:.2f} [{values['held-out low']:.2f}, {values['held-out high']:.2f}]"
