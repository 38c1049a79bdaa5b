"""`python -m tests.training.reinforcement.kills KILLS MODELS FOLDER`: a run that is killed ends like one that is not.

Each life of the run is killed without warning after a random time: while the engine starts, while it samples, while
rewards are given, within the update, within a checkpoint. What a killed run leaves is compared with an unharmed one's.
"""

import os
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

from journeyman.config import Settings
from journeyman.records import Point, Run, Trajectory
from journeyman.store.sql import open_store
from journeyman.worker import last_event

ROOT = Path(__file__).parent.parent.parent.parent
STEPS_FOR_A_KILL = 5
"""A life that is killed within a step has made some before: so many steps outlast the kills."""
RUN = (
    "tests.training.reinforcement.conftest:LetterSuite", "--base", "tiny", "--name", "letters", "--rank", "4",
    "--scenarios", "4", "--attempts", "8", "--new-tokens", "8", "--max-calls", "1",
    "--learning-rate", "0.01", "--evaluate-every", "0", "--evaluate-scenarios", "2", "--precision", "float32",
    "--threads", "1",
)  # fmt: skip
CURVES = ("reward", "loss", "gradient_norm", "entropy", "silent groups")


def main() -> None:
    kills, models, folder = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    whole, cut = folder / "whole", folder / "cut"
    began, count = time.monotonic(), STEPS_FOR_A_KILL * kills
    run = (*RUN, "--steps", str(count))
    assert live(whole, models, run, None, None) == 0
    seconds = (time.monotonic() - began) / count
    generator, done, after = random.Random(0), 0, Counter[str]()
    # A life may be killed when its run is through, while its process ends.
    while done < kills and standing(cut, models) != "finished":
        # Some die before their first step: while models load, the engine starts, the first attempts are sampled.
        steps = generator.choice((0, 1, 1))
        delay = generator.uniform(0, 5 if steps == 0 else 2 * seconds)
        if live(cut, models, ("--resume", "last") if has_run(cut, models) else run, steps, delay) == 0:
            break
        done += 1
        after[place(cut, models)] += 1
    if standing(cut, models) != "finished":
        assert live(cut, models, ("--resume", "last"), None, None) == 0
    assert told(whole, models) == told(cut, models), "the killed run came to something else"
    print(f"{done} kills: {dict(after)}")


def live(home: Path, models: Path, arguments: tuple[str, ...], steps: int | None, delay: float | None) -> int:
    """One life of the run; killed so many seconds after it made so many steps, if at all."""
    environment = {**os.environ, "JOURNEYMAN_HOME": str(home), "JOURNEYMAN_MODELS": str(models)}
    command = [sys.executable, "-m", "journeyman", "train", "rl", *arguments]
    with subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        written, seen = "", 0
        while steps is None or seen < steps:
            line = process.stderr.readline()
            if not line:
                break
            written += line
            seen += line.startswith("step ")
        if steps is not None and delay is not None:
            try:
                process.wait(delay)
            except subprocess.TimeoutExpired:
                process.kill()
        written += process.stderr.read()
        status = process.wait()
    assert status in (0, -9), written[-2000:]
    return status


def told(home: Path, models: Path) -> object:
    """Everything that must not depend on kills: the adapter's hash, the curves, and which attempts were counted."""
    with closing(open_store(Settings(home=home, models=models))) as store:
        (run,) = store.find(Run)
        points = sorted(store.find(Point), key=lambda point: (point.step, point.id.removeprefix(run.id)))
        curves = [{name: point.values.get(name) for name in CURVES} for point in points]
        attempts = sorted(
            (each.id.removeprefix(run.id), each.score("reward"), each.tokens)
            for each in store.find(Trajectory, limit=100_000)
        )
        event = last_event(store, run)
        assert event is not None
        return event.status, event.detail, curves, attempts


def has_run(home: Path, models: Path) -> bool:
    with closing(open_store(Settings(home=home, models=models))) as store:
        return bool(store.find(Run))


def place(home: Path, models: Path) -> str:
    """How far the run had come when it was killed."""
    with closing(open_store(Settings(home=home, models=models))) as store:
        steps = [point.step for point in store.find(Point)]
    return f"step {max(steps)}" if steps else "before the first measurement"


def standing(home: Path, models: Path) -> str:
    with closing(open_store(Settings(home=home, models=models))) as store:
        event = next((last_event(store, run) for run in store.find(Run)), None)
    return event.status if event else "none"


if __name__ == "__main__":
    main()
