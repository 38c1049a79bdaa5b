"""The store on SQLite: how fast it takes exchanges in, how fast it lists among two million, how much disk it needs.

Exchanges are made up, from a fixed seed: sessions of one to eight turns, 20 models, tags, feedback on some. All is
timed apart from their making, on one thread, in batches of 500. "Records to store" is the store's own way, from parsed
calls in memory to a committed transaction: hashing, compressing, rows, indexes and checkpoints; words are indexed
afterwards, and told apart. "Spool to store" is the whole ingester: reading frames, checking, joining and parsing, and
then the same; its memory is told too. A rate is by the clock, which other programs hold up; processor time is not.
`--quick` lists among 20,000 instead; `--exchanges N`
among N. `--keep FOLDER` keeps the database there, and uses it when it is there.
"""

import argparse
import gc
import math
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import orjson
import zstandard
from record import Row, kept_rows, row, write_results
from store_parts import ingester

from journeyman.capture.process import suit_ingesting
from journeyman.records import Exchange, Feedback, Filter, WireExchange
from journeyman.store.sql import SqlStore

SEED = 0
BATCH = 500
START = 1_780_000_000_000_000
PROMPTS = [
    f"You are assistant number {number}. " + "Follow the house rules and be brief. " * 40 for number in range(20)
]
FILTERS = {
    "no filter": "",
    "model and state": "model = model-7 and state = complete",
    "failed": "state = failed",
    "a session": "session = {session}",
    "a tag": "tags.stage = canary",
    "a rare tag": "tags.release = r-3",
    "a day": "at >= {day} and at < {next_day}",
    "feedback": "feedback.success = 0",
    "rare feedback": "feedback.flagged = 1",
    "cost": "cost_usd > 0.0499 and model = model-3",
    "a rare phrase": 'text ~ "{rare}"',
    "a phrase": 'text ~ "refund policy"',
    "a phrase and a model": 'text ~ "refund policy" and model = model-7',
}
"""Typical lists; what stands in braces differs from page to page."""
PARTS = ("ingest", "ingester", "session", "lists")


class Writer:
    """Makes up texts and conversations."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        letters = "etaoinshrdlucmfw"
        self.words = ["".join(self.chance.choices(letters, k=self.chance.randint(2, 9))) for _ in range(20_000)]
        self.frequencies = [1 / (rank + 3) for rank in range(len(self.words))]
        self.pool = self.chance.choices(self.words, weights=self.frequencies, k=400_000)

    def text(self, size: int) -> str:
        """About `size` characters, of words as frequent as those of a language; now and then a certain phrase."""
        start = self.chance.randrange(len(self.pool) - size)
        said = " ".join(self.pool[start : start + size // 5])[:size]
        return said + " see the refund policy" if self.chance.random() < 0.002 else said

    def exchange(self, number: int, session: str, messages: list[dict], size: int) -> WireExchange:
        """A call at the moment of that number."""
        chance = self.chance
        state = "failed" if chance.random() < 0.01 else "complete"
        reply = {"message": {"role": "assistant", "content": self.text(size)}, "finish_reason": "stop", "tokens": None}
        return WireExchange(
            id=f"{number:032x}", at=START + number * 1_000_000, model=f"model-{chance.randrange(20)}", state=state,
            upstream="openai", served="gpt-5", messages=messages, sampling={"temperature": 0.5, "stream": True},
            choices=[reply] if state == "complete" else [], prompt_tokens=chance.randrange(3000),
            completion_tokens=chance.randrange(500), cost_usd=chance.random() / 20, latency=chance.random(),
            time_to_first_token=0.2, status=200, session=session, project="default", key="9f86d081884c",
            response_id=f"chatcmpl-{chance.getrandbits(120):030x}",
            tags={"stage": chance.choices(["production", "staging", "canary"], [97, 2, 1])[0],
                  "release": f"r-{int(chance.expovariate(0.004))}"},
        )  # fmt: skip

    def sessions(self, size: int, open_at_once: int = 50) -> Iterator[WireExchange]:
        """Calls of many sessions that go on at the same time, each of one to eight turns."""
        going: list[tuple[str, list[dict], int]] = []
        number = 0
        while True:
            if len(going) < open_at_once:
                prompt = {"role": "system", "content": self.chance.choice(PROMPTS)}
                going.append((f"s-{self.chance.getrandbits(64):016x}", [prompt], self.chance.randint(1, 8)))
            place = self.chance.randrange(len(going))
            session, said, left = going[place]
            asked = [*said, {"role": "user", "content": self.text(size)}]
            call = self.exchange(number, session, asked, size)
            number += 1
            yield call
            if left > 1 and call.choices:
                going[place] = (session, [*asked, call.choices[0]["message"]], left - 1)
            else:
                del going[place]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20,000 exchanges")
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, help="some parts; the other rows stay as they were measured"
    )
    parser.add_argument("--exchanges", type=int, help="how many to list among")
    parser.add_argument("--keep", type=Path, help="folder of the large database, kept and used again")
    options = parser.parse_args()
    number = options.exchanges or (20_000 if options.quick else 2_000_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts: dict[str, Callable[[], Iterator[Row]]] = {
            "ingest": lambda: ingest(folder, 10_000 if options.quick else 60_000),
            "ingester": lambda: whole_ingester(folder, rounds=5 if options.quick else 24),
            "session": lambda: long_session(folder),
            "lists": lambda: lists(options.keep or folder, number, pages=20 if options.quick else 60),
        }
        rows = [row for part in options.only or PARTS for row in parts[part]()]
    if options.only and not options.quick:
        rows = list(
            ({each["what"]: each for each in kept_rows("store")} | {each["what"]: each for each in rows}).values()
        )
    write_results("store", rows, seed=SEED, quick=options.quick)


def ingest(folder: Path, number: int) -> Iterator[Row]:
    """Calls of one turn, 2.7 KB each, from memory; and the turns of sessions."""
    writer = Writer(SEED)
    calls = one_turn_calls(writer, number)
    size = sum(len(orjson.dumps([call.messages, call.choices])) for call in calls[:1000]) / 1000
    what = f"records to store, calls of {size / 1000:.1f} KB"
    yield bare_sqlite(folder / "bare.db", calls)
    yield from timed_ingest(folder / "ingest.db", what, calls, bar=20_000)
    calls = list(islice(writer.sessions(size=600), number))
    yield from timed_ingest(folder / "sessions.db", "records to store, turns of sessions, 0.6 KB a message", calls)


def whole_ingester(folder: Path, rounds: int) -> Iterator[Row]:
    """The same calls as bytes in a spool: read, joined, parsed and stored by an ingester in its own process."""
    yield from ingester.measure(folder, one_turn_calls(Writer(SEED), 5000), rounds)


def one_turn_calls(writer: Writer, number: int) -> list[WireExchange]:
    """Calls of 2.8 KB, each of a session of its own."""
    prompt = {"role": "system", "content": "You are a helpful assistant."}
    return [
        writer.exchange(each, f"s-{each}", [prompt, {"role": "user", "content": writer.text(1300)}], 1300)
        for each in range(number)
    ]


def bare_sqlite(path: Path, calls: list[WireExchange]) -> Row:
    """What this machine can do at all: the same calls in two tables with three indexes, nothing shared or searched."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    database.execute("CREATE TABLE calls (number INTEGER PRIMARY KEY, id, at, model, state, session, tags)")
    database.execute("CREATE UNIQUE INDEX calls_id ON calls (id)")
    database.execute("CREATE INDEX calls_session ON calls (session, at)")
    database.execute("CREATE TABLE bodies (number INTEGER PRIMARY KEY, body BLOB)")
    compress = zstandard.ZstdCompressor(level=1).compress
    gc.collect()
    gc.freeze()
    processor = time.process_time()
    for start in range(0, len(calls), BATCH):
        batch = list(enumerate(calls[start : start + BATCH], start))
        database.execute("BEGIN IMMEDIATE")
        rows = [(n, call.id, call.at, call.model, call.state, call.session, str(call.tags)) for n, call in batch]
        database.executemany("INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        bodies = [(n, compress(orjson.dumps([call.messages, call.choices]))) for n, call in batch]
        database.executemany("INSERT INTO bodies VALUES (?, ?)", bodies)
        database.execute("COMMIT")
    processor = time.process_time() - processor
    database.close()
    return row("for comparison, two plain tables: CPU", round(1e6 * processor / len(calls), 1), "µs an exchange")


def timed_ingest(path: Path, what: str, calls: list[WireExchange], bar: int | None = None) -> Iterator[Row]:
    store = SqlStore(f"sqlite:///{path}")
    # What was made up beforehand is no work of the store's: the collector is not to walk through it.
    suit_ingesting()
    began, processor = time.perf_counter(), time.process_time()
    for start in range(0, len(calls), BATCH):
        store.put(*calls[start : start + BATCH])
    wall, processor = time.perf_counter() - began, time.process_time() - processor
    rate = len(calls) / wall
    if bar is None:
        yield row(f"{what}: rate", round(rate), "exchanges/s")
    else:
        yield row(f"{what}: rate", round(rate), "exchanges/s", bar=f"≥ {bar:,}", holds=rate >= bar)
    yield row(f"{what}: CPU", round(1e6 * processor / len(calls), 1), "µs an exchange")
    yield row(f"{what}: disk", round(path.stat().st_size / len(calls)), "bytes an exchange")
    began = time.process_time()
    store.index_text()
    yield row(
        f"{what}: words indexed, CPU", round(1e6 * (time.process_time() - began) / len(calls), 1), "µs an exchange"
    )
    yield row(f"{what}: disk with words", round(path.stat().st_size / len(calls)), "bytes an exchange")
    store.close()


def long_session(folder: Path) -> Iterator[Row]:
    """Twenty sessions of 50 turns, 1 KB a message, against the bodies of their requests."""
    writer, path = Writer(SEED), folder / "session.db"
    store, raw, number = SqlStore(f"sqlite:///{path}"), 0, 0
    store.shrink()
    empty = path.stat().st_size
    for session in range(20):
        said: list[dict] = []
        for _ in range(50):
            said = [*said, {"role": "user", "content": writer.text(1000)}]
            call = writer.exchange(number, f"s-{session}", said, 1000)
            call.choices = call.choices or [{"message": {"role": "assistant", "content": writer.text(1000)}}]
            raw += len(orjson.dumps({"model": call.model, "messages": said}))
            store.put(call)
            said = [*said, call.choices[0]["message"]]
            number += 1
    store.shrink()
    bare = path.stat().st_size - empty
    store.index_text()
    store.shrink()
    whole = path.stat().st_size - empty
    store.close()
    yield row(
        "50 turns of 1 KB messages: disk / raw requests", round(bare / raw, 4), bar="≤ 0.1", holds=bare <= raw / 10
    )
    yield row("50 turns of 1 KB messages: with words indexed", round(whole / raw, 4))


def lists(folder: Path, number: int, pages: int) -> Iterator[Row]:
    """First pages of 50, each through its own filter, and pages further on."""
    path = folder / f"{number}.db"
    store = SqlStore(f"sqlite:///{path}")
    if store.count(Exchange)[""] != number:
        began = time.process_time()
        fill(store, number)
        yield row(f"{number:,} exchanges: CPU to store and index", round(time.process_time() - began), "s")
    yield row(f"{number:,} exchanges: disk", round(path.stat().st_size / 1e9, 3), "GB")
    chance = random.Random(SEED)
    some = store.find(Exchange, limit=1000)
    for name, pattern in FILTERS.items():
        times, found = [], 0
        for _ in range(pages):
            day = chance.randrange(max(1, number // 86_400))
            where = Filter.parse(
                pattern.format(session=chance.choice(some).session, rare=rare_phrase(chance.choice(some)),
                               day=f"2026-{5 + (28 + day) // 31:02}-{1 + (28 + day) % 31 % 28:02}",
                               next_day=f"2026-{5 + (28 + day) // 31:02}-{2 + (28 + day) % 31 % 28:02}")
            )  # fmt: skip
            times.append(clocked(lambda where=where: store.find(Exchange, where, limit=50)))
            found = max(found, len(store.find(Exchange, where, limit=50)))
        yield from percentiles(f"list of 50, {name} ({found} found)", times, bar=0.05)
    page, times = some, []
    for _ in range(pages):
        last = page[-1].id
        times.append(clocked(lambda last=last: store.find(Exchange, after=last, limit=50)))
        page = store.find(Exchange, after=last, limit=50)
    yield from percentiles("list of 50, page after page", times, bar=0.05)
    for by in ("model", "state", "tags.stage"):
        wall, busy = clocked(lambda by=by: store.count(Exchange, by=by))
        yield row(f"count by {by}", round(wall, 2), "s")
        yield row(f"count by {by}: CPU", round(busy, 2), "s")
    store.close()


def fill(store: SqlStore, number: int) -> None:
    """That many exchanges, and feedback on every tenth session."""
    writer = Writer(SEED)
    calls = writer.sessions(size=250)
    for start in range(0, number, BATCH):
        batch = list(islice(calls, min(BATCH, number - start)))
        about = [call for call in batch if writer.chance.random() < 0.02]
        notes = [
            Feedback(session=call.session, name="success", value=writer.chance.randint(0, 1), by="user")
            for call in about
        ]  # fmt: skip
        flags = (
            [Feedback(exchange_id=about[0].id, name="flagged", value=1, by="user")]
            if about and not start % 20_000
            else []
        )
        store.put(*batch, *notes, *flags)
        store.index_text()


def rare_phrase(exchange: Exchange) -> str:
    """Five words that stand together in an exchange, and hardly anywhere else."""
    words = exchange.messages[-1].text.split()
    return " ".join(words[2:7])


class Took(NamedTuple):
    """Seconds by the clock, and on the processor: what others who use the machine do not change."""

    wall: float
    busy: float


def clocked(work: Callable[[], object]) -> Took:
    began, processor = time.perf_counter(), time.process_time()
    work()
    return Took(time.perf_counter() - began, time.process_time() - processor)


def percentiles(what: str, times: list[Took], bar: float) -> Iterator[Row]:
    walls, busy = (sorted(each) for each in zip(*times, strict=True))
    half, last = len(times) // 2, math.ceil(0.95 * len(times)) - 1
    most = walls[last]
    yield row(f"{what}: p50", round(1000 * walls[half], 1), "ms")
    yield row(f"{what}: p95", round(1000 * most, 1), "ms", bar=f"≤ {1000 * bar:g} ms", holds=most <= bar)
    yield row(f"{what}: CPU, p50", round(1000 * busy[half], 1), "ms")
    yield row(f"{what}: CPU, p95", round(1000 * busy[last], 1), "ms")


if __name__ == "__main__":
    main()
