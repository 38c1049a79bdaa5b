"""Makes a dataset: from captured exchanges that a filter finds, or from a file."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from journeyman.datasets.corrections import Corrections
from journeyman.datasets.duplicates import essence, without_duplicates
from journeyman.datasets.formats import import_rows
from journeyman.datasets.soundness import what_is_wrong
from journeyman.datasets.split import assign_splits
from journeyman.datasets.versions import check_name, keep_dataset
from journeyman.errors import InvalidInput
from journeyman.records import Condition, Dataset, Exchange, Filter, Message, Row, Tool
from journeyman.store.store import Store

_PAGE = 1000


class Thread(NamedTuple):
    """What one exchange shows of a conversation: the request's messages and the reply to them."""

    exchange_id: str
    conversation: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    hashes: tuple[str, ...]
    """Of what was said up to each message; a thread that another continues has the last one in common with it."""


def build_dataset(
    store: Store,
    folder: Path,
    name: str,
    where: Filter,
    validation_share: float = 0.1,
    seed: int = 0,
    *,
    corrections: bool = True,
) -> Dataset:
    """A new version of the dataset `name`, from the exchanges that match.

    Only complete exchanges are taken, unless the filter itself speaks of `state`. The calls of one conversation become
    one row, the last and longest; where it forked, one row per branch. Of a request with several choices the first is
    learned. With `corrections` a reply's newest correction is learned in its place, and calls that went on from the
    reply itself are left out, because it would be learned with them. InvalidInput says what matched when nothing, or
    one conversation only, is left to learn from.
    """
    check_name(name)
    where = _complete_only(where)
    matched, threads, problems = _threads(store, where, Corrections(store) if corrections else None)
    if not matched:
        total = store.count(Exchange)[""]
        raise InvalidInput(
            f"no exchange matches {str(where)!r}, of {total} in the store; nothing was built. "
            "Try filters with: journeyman traces list --where FILTER"
        )
    rows = []
    for thread in _longest(threads):
        problem = what_is_wrong(thread.messages)
        if problem is None:
            rows.append(_row(thread))
        else:
            problems[problem] += 1
    rows, duplicates = without_duplicates(rows)
    _refuse_too_few(rows, matched, where, problems)
    rows = assign_splits(rows, validation_share, seed)
    left_out = problems.total()
    return keep_dataset(store, folder, name, rows, where=where, duplicates=duplicates, left_out=left_out)


def import_dataset(
    store: Store, folder: Path, name: str, path: Path, validation_share: float = 0.1, seed: int = 0
) -> Dataset:
    """A new version of the dataset `name`, from a file in OpenAI's chat fine-tuning format.

    A `split` in the file is kept; a conversation may not be on both sides.
    """
    check_name(name)
    rows, duplicates = without_duplicates(import_rows(path))
    sides = defaultdict(set)
    for row in rows:
        if "split" in row.model_fields_set:
            sides[row.conversation].add(row.split)
    torn = sorted(conversation for conversation, found in sides.items() if len(found) > 1)
    if torn:
        raise InvalidInput(f"{path}: conversations in both train and validation: {', '.join(torn)}; choose one side")
    rows = assign_splits(rows, validation_share, seed)
    return keep_dataset(store, folder, name, rows, duplicates=duplicates)


def _complete_only(where: Filter) -> Filter:
    if "state" in where.fields():
        return where
    complete = Condition(field="state", operator="=", value="complete")
    if where.join == "and":
        return Filter(conditions=(complete, *where.conditions))
    return Filter(conditions=(complete, where))


def _matching(store: Store, where: Filter) -> Iterator[Exchange]:
    """All exchanges that match, newest first, read page by page."""
    page = store.find(Exchange, where, limit=_PAGE)
    while page:
        yield from page
        page = store.find(Exchange, where, after=page[-1].id, limit=_PAGE)


def _threads(store: Store, where: Filter, corrections: Corrections | None) -> tuple[int, list[Thread], Counter[str]]:
    """How many exchanges match, what can be learned from them, newest first, and how many are left out, and why."""
    matched, threads, problems = 0, [], Counter[str]()
    corrected: set[tuple[str, str]] = set()
    for exchange in _matching(store, where):
        matched += 1
        correction = corrections.of(exchange) if corrections else None
        reply = correction or exchange.reply
        if reply is None:
            problems["no reply"] += 1
            continue
        thread = _thread(exchange, reply)
        threads.append(thread)
        if correction is not None and exchange.reply is not None:
            given = _thread(exchange, exchange.reply).hashes[-1]
            if given != thread.hashes[-1]:
                corrected.add((thread.conversation, given))
    kept = [thread for thread in threads if corrected.isdisjoint((thread.conversation, said) for said in thread.hashes)]
    problems["it goes on from a reply that was corrected"] = len(threads) - len(kept)
    return matched, kept, problems


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


def _row(thread: Thread) -> Row:
    # Split is left unset on purpose: `assign_splits` keeps one that was given.
    return Row(
        messages=thread.messages, tools=thread.tools, conversation=thread.conversation, source=thread.exchange_id
    )


def _refuse_too_few(rows: Sequence[Row], matched: int, where: Filter, problems: Counter[str]) -> None:
    """InvalidInput unless there are two conversations: one to train on and one to measure."""
    conversations = {row.conversation for row in rows}
    if len(conversations) > 1:
        return
    found = f"{matched} exchanges match {str(where)!r}"
    reasons = "; ".join(f"{problem} ({times})" for problem, times in problems.most_common(3) if times)
    if not conversations:
        raise InvalidInput(f"{found}, but none can be learned from: {reasons}. Nothing was built; widen the filter")
    raise InvalidInput(
        f"{found}, but they are one conversation ({conversations.pop()}); a dataset needs two, to hold one out. "
        + (f"Left out: {reasons}. " if reasons else "")
        + "Nothing was built; widen the filter, or send x-journeyman-session to tell conversations apart"
    )
