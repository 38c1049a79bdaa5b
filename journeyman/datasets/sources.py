"""Turns captured calls into rows: those that match, joined into conversations, with people's corrections."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from journeyman.datasets.corrections import Corrections
from journeyman.datasets.duplicates import essence
from journeyman.datasets.judgements import Judging, judged_row
from journeyman.datasets.soundness import what_is_wrong
from journeyman.records import Condition, Erasure, Exchange, Filter, Message, Row, Tool
from journeyman.store.store import Store

STAGE = {"stage": "dataset"}
"""Tags of the calls that are made in order to make a dataset; no source takes them, unless it asks for their stage."""
_PAGE = 1000


class Thread(NamedTuple):
    """What one exchange shows of a conversation: the request's messages and the reply to them."""

    exchange_id: str
    conversation: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    hashes: tuple[str, ...]
    """Of what was said up to each message; a thread that another continues has the last one in common with it."""
    worse: tuple[Message, ...] | None = None
    """The same with the reply that a person corrected."""


class Taken(NamedTuple):
    """Rows of captured calls, how many calls matched, and how many are left out, by the reason.

    `tokens` and `cost_usd` are those of all calls that matched, as they were captured; None when a price is unknown.
    """

    rows: list[Row]
    matched: int
    left_out: Counter[str]
    tokens: int = 0
    cost_usd: float | None = 0.0


class _Bill:
    """Adds up what calls took and cost."""

    def __init__(self) -> None:
        self.calls, self.tokens = 0, 0
        self.cost_usd: float | None = 0.0

    def add(self, exchange: Exchange) -> None:
        self.calls += 1
        self.tokens += exchange.usage.total_tokens
        if self.cost_usd is None or exchange.cost_usd is None:
            self.cost_usd = None
        else:
            self.cost_usd += exchange.cost_usd


def take_calls(
    store: Store,
    where: Filter,
    *,
    rate: float = 1.0,
    seed: int = 0,
    corrections: Corrections | None = None,
    judging: Judging = Judging(),
) -> Taken:
    """Rows of the exchanges that match, oldest first; with a `rate` below 1, of that share of the conversations.

    The calls of one conversation become one row, the last and longest; where it forked, one row per branch. `judging`
    says what preferences are to be learned from; calls that nobody judged so are left out.
    """
    bill, threads, left_out = _threads(store, where, corrections)
    if rate < 1:
        sampled = [thread for thread in threads if _place(seed, thread.conversation) < rate]
        left_out["not in the sample"] = len(threads) - len(sampled)
        threads = sampled
    if judging.pairs:
        corrected = [thread for thread in threads if thread.worse is not None]
        left_out["nobody corrected its reply"] = len(threads) - len(corrected)
        threads = corrected
    rows = []
    for thread in _longest(threads):
        problem = what_is_wrong(thread.messages) or (what_is_wrong(thread.worse) if thread.worse else None)
        row = problem or judged_row(store, _row(thread, judging.pairs), judging)
        if isinstance(row, str):
            left_out[row] += 1
        else:
            rows.append(row)
    return Taken(rows, bill.calls, +left_out, bill.tokens, bill.cost_usd)


def complete_only(where: Filter) -> Filter:
    """The filter, narrowed to complete exchanges, unless it speaks of `state` itself."""
    if "state" in where.fields():
        return where
    complete = Condition(field="state", operator="=", value="complete")
    if where.join == "and":
        return Filter(conditions=(complete, *where.conditions))
    return Filter(conditions=(complete, where))


def matching(store: Store, where: Filter) -> Iterator[Exchange]:
    """All exchanges that match, newest first, read page by page."""
    page = store.find(Exchange, where, limit=_PAGE)
    while page:
        yield from page
        page = store.find(Exchange, where, after=page[-1].id, limit=_PAGE)


def erased_ids(store: Store) -> set[str]:
    """Ids of all exchanges that were ever erased, so that no row comes from one, wherever it was kept."""
    ids: set[str] = set()
    page = store.find(Erasure, limit=_PAGE)
    while page:
        ids.update(id for erasure in page for id in erasure.exchanges)
        page = store.find(Erasure, after=page[-1].id, limit=_PAGE)
    return ids


def _threads(store: Store, where: Filter, corrections: Corrections | None) -> tuple[_Bill, list[Thread], Counter[str]]:
    """What the matching exchanges cost, what can be learned from them, newest first, and what is left out, and why."""
    bill, threads, problems = _Bill(), [], Counter[str]()
    corrected: set[tuple[str, str]] = set()
    own_calls_too = "tags.stage" in where.fields()
    for exchange in matching(store, where):
        if exchange.tags.get("stage") == STAGE["stage"] and not own_calls_too:
            continue
        bill.add(exchange)
        correction = corrections.of(exchange) if corrections else None
        reply = correction or exchange.reply
        if reply is None:
            problems["no reply"] += 1
            continue
        thread = _thread(exchange, reply)
        if correction is not None and exchange.reply is not None:
            given = _thread(exchange, exchange.reply)
            if given.hashes[-1] != thread.hashes[-1]:
                corrected.add((thread.conversation, given.hashes[-1]))
                thread = thread._replace(worse=given.messages)
        threads.append(thread)
    kept = [thread for thread in threads if corrected.isdisjoint((thread.conversation, said) for said in thread.hashes)]
    problems["it goes on from a reply that was corrected"] = len(threads) - len(kept)
    return bill, kept, problems


def _thread(exchange: Exchange, reply: Message) -> Thread:
    messages = (*exchange.messages, reply)
    hashes = essence(messages)
    opened = next((number for number, message in enumerate(messages) if message.role == "user"), 0)
    # Without a session, calls that begin alike are taken for one conversation.
    conversation = exchange.session or f"opening-{hashes[opened][:16]}"
    return Thread(exchange.id, conversation, messages, exchange.tools, tuple(hashes))


def _longest(threads: Sequence[Thread]) -> list[Thread]:
    """Threads that no other thread of their conversation continues, oldest first."""
    continued = {(thread.conversation, before) for thread in threads for before in thread.hashes[:-1]}
    return [thread for thread in reversed(threads) if (thread.conversation, thread.hashes[-1]) not in continued]


def _row(thread: Thread, pairs: bool) -> Row:
    # Split is left unset on purpose: `assign_splits` keeps one that was given.
    return Row(
        messages=thread.messages,
        tools=thread.tools,
        rejected=thread.worse if pairs else None,
        conversation=thread.conversation,
        source=thread.exchange_id,
    )


def _place(seed: int, conversation: str) -> float:
    """A number in [0, 1) for a conversation; not that of the split, or a sample would shift what is held out."""
    named = f"sample:{seed}:{conversation}".encode("utf-8", "replace")
    return int.from_bytes(hashlib.sha256(named).digest()[:8]) / 2**64
