"""What environments cost, and whether they hold: forks of a world in SQLite, the sandbox, BFCL's gold, admissions.

    python benchmarks/environments.py [--quick]

Times are processor milliseconds of this process (of the program too, for the sandbox), medians. Suites of packages that
are not installed are left out, loudly.
"""

import asyncio
import json
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import typer
from record import Row, row, write_results

from journeyman.environments.adapters.bfcl import bfcl_suite
from journeyman.environments.adapters.bfcl_tasks import CATEGORIES, read_tasks
from journeyman.environments.admission import check_suite
from journeyman.environments.admission.players import null_player
from journeyman.environments.admission.transcripts import play
from journeyman.environments.environment import Suite
from journeyman.environments.sandbox import run_sandboxed
from journeyman.environments.sqlite_world import SqliteWorld
from journeyman.environments.suites import load_suite
from journeyman.errors import InvalidInput

NAMES = (
    "bank", "price-tool", "few-shot", "bfcl/base", "bfcl/miss_func", "bfcl/miss_param", "bfcl/long_context",
    "reasoning-gym/chain_sum", "textworld-express/coin",
)  # fmt: skip
QUICK = NAMES[:4]
FORK_BAR, WORLD_BYTES, FORKS = 20.0, 4_500_000, 64


def main(
    quick: Annotated[bool, typer.Option("--quick", help="A first look within a minute.")] = False,
    seed: Annotated[int, typer.Option(help="Which scenarios, and how the random player plays.")] = 0,
) -> None:
    rows = [*forks(20 if quick else 100), *asyncio.run(sandbox(5 if quick else 40))]
    rows += asyncio.run(gold(20 if quick else 200))
    admissions = asyncio.run(admitted(QUICK if quick else NAMES, seed, 10 if quick else 20, rows))
    write_results("environments", rows, seed, {"admissions": admissions}, quick=quick)


def forks(times: int) -> list[Row]:
    world = SqliteWorld()
    world.run_many("create table records (id integer primary key, words text)")
    number = 0
    while len(world.image()) < WORLD_BYTES:
        for _ in range(200):
            world.run("insert into records values (?, ?)", number, f"{number:064x}" * 8)
            number += 1
    size = len(world.image()) / 1e6
    one = measured(lambda: [each.close() for each in world.fork(1)], times)
    tried = measured(lambda: try_out(world), times)
    before = world.digest()
    many = world.fork(FORKS)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda at: many[at].run("update records set words = ?", str(at)), range(FORKS)))
    found = [each.run("select distinct words from records") for each in many]
    apart = sum(rows == [(str(at),)] for at, rows in enumerate(found)) if world.digest() == before else 0
    return [
        row(f"fork of a world of {size:.1f} MB", one, "ms", bar=f"≤ {FORK_BAR:g}", holds=one <= FORK_BAR),
        row("a change tried and taken back", tried, "ms"),
        row(
            f"of {FORKS} forks written at once, those that share nothing",
            apart,
            "",
            bar=str(FORKS),
            holds=apart == FORKS,
        ),
    ]


def try_out(world: SqliteWorld) -> None:
    with world.tried():
        world.run("update records set words = 'x' where id = 1")


async def sandbox(times: int) -> list[Row]:
    took, isolated = list[float](), True
    for _ in range(times):
        before = spent()
        result = await run_sandboxed(["/bin/true"])
        took.append(1000 * (spent() - before))
        isolated &= result.isolated
    kind = "bubblewrap" if isolated else "limits alone: bubblewrap is not here"
    return [row(f"a program in the sandbox ({kind})", statistics.median(took), "ms")]


async def gold(tasks: int) -> list[Row]:
    won = nothing = played = 0
    began = time.process_time()
    for category in CATEGORIES:
        suite = bfcl_suite(category)
        for task in [*read_tasks(category).values()][:tasks]:
            scenario = suite.scenario(task)
            won += (await play(suite.environment(scenario), suite.gold(scenario))).is_success
            nothing += (await play(suite.environment(scenario), null_player)).is_success
            played += 1
    each = 1000 * (time.process_time() - began) / played
    return [
        row("BFCL multi-turn tasks won by gold", won, "tasks", bar=str(played), holds=won == played),
        row("BFCL multi-turn tasks won by doing nothing", nothing, "tasks", bar="0", holds=not nothing),
        row("playing and judging a BFCL task by both", each, "ms"),
    ]


async def admitted(names: Sequence[str], seed: int, count: int, rows: list[Row]) -> list[object]:
    found = list[object]()
    for name in names:
        try:
            suite: Suite = load_suite(name)
        except InvalidInput as missing:
            print(f"LEFT OUT: {name}: {missing}")
            continue
        before = spent()
        admission = await check_suite(suite, name, count=count, seed=seed)
        seconds = spent() - before
        for player in admission.players:
            rows.append(
                row(
                    f"{name}: {player.player} wins", player.success.estimate, "",
                    interval=(player.success.low, player.success.high),
                    bar="1" if player.player == "gold" else None,
                    holds=player.success.estimate == 1 if player.player == "gold" else None,
                )
            )  # fmt: skip
        failed = "; ".join(each.check for each in admission.failures)
        rows.append(row(f"{name}: admitted", failed or "yes", "", bar="yes", holds=admission.is_admitted))
        rows.append(row(f"{name}: a check of {count} scenarios", seconds, "CPU s"))
        found.append(json.loads(admission.model_dump_json()))
    return found


def measured(work: Callable[[], object], times: int) -> float:
    """Median processor milliseconds."""
    took = list[float]()
    for _ in range(times):
        before = time.process_time()
        work()
        took.append(1000 * (time.process_time() - before))
    return statistics.median(took)


def spent() -> float:
    """Processor seconds of this process and of those it has waited for."""
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in parts)


if __name__ == "__main__":
    typer.run(main)
