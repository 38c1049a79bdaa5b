"""A small bank in SQLite: one in-memory database per episode, generated from a seed.

Full names belong to one split each, so that no customer of a training scenario appears in a held-out one.
"""

import hashlib
import random
import sqlite3
from typing import Any, Literal, Self, get_args

Split = Literal["train", "held-out"]
Snapshot = dict[str, list[tuple[Any, ...]]]

FIRST_NAMES = (
    "Anna", "Ben", "Clara", "David", "Elena", "Felix", "Grace", "Hugo", "Ida", "Jonas", "Karin", "Lukas", "Maria",
    "Nora", "Oscar", "Paula", "Robert", "Sofia", "Thomas", "Ursula", "Victor", "Wanda", "Simon", "Julia", "Martin",
    "Olivia", "Peter", "Laura", "Daniel", "Emma",
)  # fmt: skip
LAST_NAMES = (
    "Adler", "Bauer", "Costa", "Dietrich", "Egger", "Fischer", "Gruber", "Hofer", "Ivanov", "Jensen", "Keller",
    "Lang", "Moser", "Novak", "Olsen", "Pichler", "Quinn", "Reiter", "Steiner", "Taylor", "Ullman", "Varga", "Weber",
    "Young", "Zeller", "Berger", "Carter", "Duval", "Evans", "Fuchs", "Green", "Huber", "Kovac", "Lopez", "Mayer",
    "Nagy", "Parker", "Rossi", "Schmid", "Winter",
)  # fmt: skip
CITIES = ("Graz", "Linz", "Vienna", "Salzburg", "Munich", "Berlin", "Zurich", "Prague", "Trieste", "Hamburg")
MERCHANTS = (
    "Alpina", "Bluebird Cafe", "City Gym", "Dental Plus", "Esso", "Foodora", "Garden World", "Hotel Post", "Ikea",
    "Juwel", "Kino Star", "Lidl", "Mediashop", "Netflix", "Optik Hall", "Pizza Roma", "Quickprint", "Rail Tickets",
    "Spotify", "Tiger Toys", "Uber", "Vinoteca", "Wash House", "Xenos", "Yoga Loft", "Zalando", "Book Corner",
    "Bike Depot", "Flora", "Sushi Bar",
)  # fmt: skip
CUSTOMERS = 12
TABLES = ("customers", "accounts", "cards", "transactions", "transfers", "handovers")
SCHEMA = """
create table customers (id text primary key, name text, birth_date text, city text);
create table accounts (id text primary key, customer text references customers, type text, cents integer);
create table cards (id text primary key, customer text references customers, frozen integer default 0);
create table transactions (id text primary key, account text references accounts, position integer, merchant text,
                           cents integer, disputed integer default 0);
create table transfers (from_account text, to_account text, cents integer);
create table handovers (reason text);
"""


def split_of(name: str) -> Split:
    """The split that a full name belongs to; about a quarter of all names are held out."""
    return "held-out" if hashlib.sha256(name.encode()).digest()[0] % 4 == 0 else "train"


NAMES = [f"{first} {last}" for first in FIRST_NAMES for last in LAST_NAMES]
NAMES_OF = {split: [name for name in NAMES if split_of(name) == split] for split in get_args(Split)}


class Bank:
    """One bank. The first two customers share a name; the next two surely have a savings account."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def build(cls, seed: str, split: Split) -> Self:
        """The bank of that seed, always the same, with customers of that split only."""
        connection = sqlite3.connect(":memory:", isolation_level=None)
        connection.executescript(SCHEMA)
        _fill(connection, random.Random(f"bank/{split}/{seed}"), split)
        return cls(connection)

    def rows(self, sql: str, *values: str | int) -> list[tuple[Any, ...]]:
        """All rows of a query, or the effect of a statement."""
        return self._connection.execute(sql, values).fetchall()

    def row(self, sql: str, *values: str | int) -> tuple[Any, ...] | None:
        """The first row of a query; None when there is none."""
        return next(iter(self.rows(sql, *values)), None)

    def fork(self) -> "Bank":
        """An independent copy as the bank stands now."""
        copy = sqlite3.connect(":memory:", isolation_level=None)
        self._connection.backup(copy)
        return Bank(copy)

    def snapshot(self) -> Snapshot:
        """Every row of every table, sorted, to compare two banks."""
        return {table: sorted(self.rows(f"select * from {table}")) for table in TABLES}

    def close(self) -> None:
        """Free the database."""
        self._connection.close()


def _fill(connection: sqlite3.Connection, rng: random.Random, split: Split) -> None:
    chosen = rng.sample(NAMES_OF[split], CUSTOMERS - 1)
    cities = rng.sample(CITIES, 2) + rng.choices(CITIES, k=CUSTOMERS - 2)
    customers, cards = _ids(rng, "C", 10, CUSTOMERS), _ids(rng, "K", 10, CUSTOMERS)
    accounts, transactions = _ids(rng, "A", 10, 2 * CUSTOMERS), _ids(rng, "T", 100, 18 * CUSTOMERS)
    for index, name in enumerate([chosen[0], *chosen]):
        birth_date = f"{1945 + 5 * index + rng.randrange(5)}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}"
        customer = customers.pop()
        connection.execute("insert into customers values (?,?,?,?)", (customer, name, birth_date, cities[index]))
        connection.execute("insert into cards (id, customer) values (?,?)", (cards.pop(), customer))
        for kind in ("checking", "savings") if index in (2, 3) or rng.random() < 0.6 else ("checking",):
            account = accounts.pop()
            row = (account, customer, kind, rng.randrange(30_000, 900_000))
            connection.execute("insert into accounts values (?,?,?,?)", row)
            for position, (merchant, cents) in enumerate(_payments(rng)):
                connection.execute(
                    "insert into transactions (id, account, position, merchant, cents) values (?,?,?,?,?)",
                    (transactions.pop(), account, position, merchant, cents),
                )


def _ids(rng: random.Random, letter: str, low: int, count: int) -> list[str]:
    return [f"{letter}{number}" for number in rng.sample(range(low, 10 * low), count)]


def _payments(rng: random.Random) -> list[tuple[str, int]]:
    """Five to nine payments with different amounts; in some accounts one merchant was paid twice."""
    count = rng.randrange(5, 10)
    merchants = rng.sample(MERCHANTS, count)
    if rng.random() < 0.3:
        first, second = rng.sample(range(count), 2)
        merchants[second] = merchants[first]
    return list(zip(merchants, rng.sample(range(150, 20_000, 5), count), strict=True))
