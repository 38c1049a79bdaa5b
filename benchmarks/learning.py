"""Does reinforcement learning learn, on a real model, before one's eyes? Every number over seeds, with its interval.

python benchmarks/learning.py                      everything: hours
python benchmarks/learning.py --only price         one part; the rows of the others stay as they were measured
python benchmarks/learning.py --seeds 1 --quick    a first look: 2 steps; not kept

Tasks are learned from their reward, over 5 seeds; `sums`, `needles` and `coin` need the extra `environments`. The
other parts, each also in miniature (a tiny model, 8 seeds, half a CPU-minute each): `ruler` pays by RULER over a judge
that sees the truth through noise; `ppo` has one attempt at each scenario, where nothing can be compared.

`bank` teaches the bank's agent with captured conversations, goes on with GRPO in the bank, and measures both on the
same held-out scenarios. All seeds share one home and one SFT; with --keep FOLDER it goes on with what is there.

In the other parts each seed is one `journeyman train rl` in a home and a process of its own. Held-out scenarios are
never among those of training; they are attempted four times at temperature 1 and once greedily, before and after.
Results are written after each seed, so that a run that is cut short leaves what it found.
"""

import argparse
import json
from pathlib import Path
from statistics import mean
from typing import Any

from learning_parts.parts import PARTS
from learning_parts.runs import learn
from learning_parts.tasks import TASKS, Bar, LearningTask
from record import Row, kept_rows, row, write_results

from journeyman.statistics.intervals import clustered_mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = [*TASKS, *PARTS]
    parser.add_argument("--only", help=f"what, separated by commas: {', '.join(every)}")
    parser.add_argument("--seeds", type=int, help="5, in miniature 8, 3 of other parts")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder of what the bank's seeds begin from, kept and used again")
    parser.add_argument("--quick", action="store_true", help="2 steps; not kept")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else every
    if unknown := set(names) - set(every):
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}; there are: {', '.join(every)}")
    if options.keep and not any(name in PARTS and PARTS[name].keeps for name in names):
        parser.error(f"--keep: {', '.join(names)} begin anew each time; leave it out")
    for name in names:
        if name in PARTS:
            part = PARTS[name]
            where = {"keep": options.keep} if part.keeps else {}
            for rows in part.rows(
                options.seeds or part.seeds, options.threads, kept_rows("learning"), quick=options.quick, **where
            ):
                write(part.called, rows, quick=options.quick)
            continue
        task, found = TASKS[name], list[dict[str, Any]]()
        for seed in range(options.seeds or 5):
            found.append(learn(task, seed, options.threads, quick=options.quick)[0])
            print(f"{task.called}, seed {seed}: {json.dumps(found[-1])}", flush=True)
            write(task.called, rows_of(task, found, options.threads), quick=options.quick)


def write(called: str, rows: list[Row], *, quick: bool) -> None:
    """Keep all rows that are there, those of what is called so replaced."""
    others = [each for each in kept_rows("learning") if not each["what"].startswith((f"{called}:", f"{called},"))]
    write_results("learning", rows if quick else others + rows, 0, quick=quick)


def rows_of(task: LearningTask, found: list[dict[str, Any]], threads: int) -> list[Row]:
    """Each seed, then all of them: intervals are over seeds."""
    called, rows = task.called, list[Row]()
    for seed, each in enumerate(found):
        rows.append(row(f"{called}, seed {seed}: held-out reward before", each["before"]))
        rows.append(row(f"{called}, seed {seed}: held-out reward after {each['steps']} steps", each["after"]))
    if len(found) < 2:
        return rows
    for name, bar in (("before", task.before), ("after", task.after), ("greedy before", None), ("greedy after", None)):
        over = clustered_mean([[each[name]] for each in found])
        what = f"{called}: held-out reward {name}, {len(found)} seeds"
        rows.append(row(what, over.estimate, interval=(over.low, over.high), **_judged(bar, over.estimate)))
    gain = clustered_mean([[each["after"] - each["before"]] for each in found])
    what, judged = f"{called}: gain, {len(found)} seeds", _judged(task.gain, gain.low)
    rows.append(row(what, gain.estimate, interval=(gain.low, gain.high), **judged))
    rows.append(row(f"{called}: CPU time of a run, measurements included", mean(e["cpu"] for e in found), "CPU-s"))
    rows.append(row(f"{called}: a run by the wall clock, {threads} threads", mean(each["wall"] for each in found), "s"))
    rows.append(row(f"{called}: largest difference of engine and trainer", max(e["gap"] for e in found), "nats"))
    return rows


def _judged(bar: Bar | None, value: float) -> dict[str, Any]:
    return {} if bar is None else {"bar": bar.text, "holds": bar.holds(value)}


if __name__ == "__main__":
    main()
