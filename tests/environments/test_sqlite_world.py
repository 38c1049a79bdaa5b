"""Worlds in SQLite: forks in parallel share nothing, trials leave nothing."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from journeyman.environments.sqlite_world import SqliteWorld
from journeyman.errors import InvalidInput


@pytest.fixture
def world() -> SqliteWorld:
    made = SqliteWorld()
    made.run_many("create table accounts (id integer primary key, cents integer, note blob)")
    for number in range(200):
        made.run("insert into accounts values (?, ?, ?)", number, 100, bytes([number]) * 500)
    return made


def test_sixty_four_forks_in_parallel_share_nothing(world: SqliteWorld) -> None:
    before = world.digest()
    forks = world.fork(64)

    def work(number: int) -> int:
        for step in range(20):
            forks[number].run("update accounts set cents = cents + ? where id = ?", number, step)
            forks[number].run("insert into accounts values (?, ?, null)", 1000 + 100 * number + step, number)
        return forks[number].run("select sum(cents) from accounts")[0][0]

    with ThreadPoolExecutor(16) as pool:
        sums = list(pool.map(work, range(64)))
    assert sums == [200 * 100 + 20 * number + 20 * number for number in range(64)]
    assert world.digest() == before
    assert len({fork.digest() for fork in forks}) == 64
    for fork in forks:
        fork.close()
    assert world.run("select count(*) from accounts") == [(200,)]


def test_a_fork_of_a_fork_and_an_image_elsewhere_are_the_same(world: SqliteWorld) -> None:
    [fork] = world.fork(1)
    fork.run("delete from accounts where id = 7")
    again = SqliteWorld(fork.image())
    assert again.digest() == fork.digest() != world.digest()
    world.close()
    assert fork.run("select count(*) from accounts") == [(199,)]


def test_what_was_tried_is_taken_back(world: SqliteWorld) -> None:
    before = world.digest()
    with world.tried():
        world.run("delete from accounts")
        assert world.snapshot() == {"accounts": []}
        with pytest.raises(InvalidInput, match="under way"):
            world.fork(1)
        with pytest.raises(InvalidInput, match="a script would keep it"):
            world.run_many("insert into accounts values ('x', 1); select 1")
    assert world.digest() == before


def test_a_fork_holds_to_foreign_keys_as_its_origin_does() -> None:
    world = SqliteWorld()
    world.run_many("pragma foreign_keys = on; create table a (id primary key); create table b (a references a)")
    for each in (world, *world.fork(1), *world.fork(1)[0].fork(1)):
        with pytest.raises(sqlite3.IntegrityError):
            each.run("insert into b values (7)")


@pytest.mark.parametrize("image", [b"not a database" * 100, b"SQLite format 3\x00" + b"\xff" * 4096])
def test_bytes_that_are_no_database_are_refused(image: bytes) -> None:
    with pytest.raises(InvalidInput, match="no image"):
        SqliteWorld(image)
