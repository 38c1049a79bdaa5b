"""A world's own time, names and chance: the same again, and apart in forks."""

import asyncio
import datetime
import subprocess
import sys
from types import ModuleType

import pytest

from journeyman.environments.determinism import EPOCH, Draws, Identifiers, VirtualClock, on_virtual_time, ticking

SAID = """
from journeyman.environments.determinism import Draws, Identifiers
draws, names = Draws("a world"), Identifiers("a world")
print(draws.uniform("timeout", {"b": 1, "a": [2]}), draws.integer(1, 6, "die"), draws.choice("xyz", 3), names.uuid())
"""


def test_another_process_with_other_hashes_draws_the_same():
    said = {
        subprocess.run(
            [sys.executable, "-c", SAID], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True, timeout=60,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(said) == 1


def test_chance_follows_from_the_key_alone():
    draws = Draws("seed")
    first = [draws.uniform("call", number) for number in range(2000)]
    again = [draws.uniform("call", number) for number in reversed(range(2000))][::-1]
    assert first == again
    assert len(set(first)) == 2000
    assert abs(sum(first) / 2000 - 0.5) < 0.03
    assert Draws("other").uniform("call", 0) != first[0]
    with pytest.raises(TypeError):
        draws.uniform(object())


def test_forks_count_and_tick_apart():
    clock, names = VirtualClock(), Identifiers("seed")
    names.next("order")
    other, others = clock.fork(), names.fork()
    other.advance(90)
    assert (others.next("order"), names.next("order"), names.next("refund")) == ("order-2", "order-2", "refund-1")
    assert clock.now() == EPOCH
    assert (other.now() - clock.now()).total_seconds() == 90
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)


def module(source: str) -> ModuleType:
    made = ModuleType("somebody_elses")
    exec(source, vars(made))
    return made


@pytest.mark.parametrize("source", ["from datetime import datetime", "import datetime as d\ndatetime = d"])
async def test_code_of_others_reads_the_clock_it_is_given_and_no_other_task_does(source: str) -> None:
    theirs = module(source)
    on_virtual_time(theirs)
    cls = getattr(theirs.datetime, "datetime", theirs.datetime)
    assert abs((cls.now() - datetime.datetime.now()).total_seconds()) < 5

    async def reads(seconds: float) -> tuple[datetime.datetime, datetime.datetime]:
        clock = VirtualClock()
        with ticking(clock):
            before = cls.now()
            await asyncio.sleep(0)
            clock.advance(seconds)
            return before, cls.now(datetime.UTC)

    (a, b), (c, d) = await asyncio.gather(reads(1), reads(2))
    assert (a, c) == (EPOCH.replace(tzinfo=None), EPOCH.replace(tzinfo=None))
    assert ((b - EPOCH).total_seconds(), (d - EPOCH).total_seconds()) == (1, 2)
    assert isinstance(datetime.datetime(2020, 1, 1), cls)
    assert cls(2020, 1, 2) - datetime.datetime(2020, 1, 1) == datetime.timedelta(days=1)
