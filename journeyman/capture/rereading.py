"""Reads the archived raw calls again, for a newer parser or other redaction rules, and replaces what they became.

The archive holds what was captured within `keep_raw_days`; older exchanges stay as they are. An exchange is taken out
of the store and put back in one go of a few; should the process die in between, reading again brings them back.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from journeyman.capture.archive import archived, unpack
from journeyman.capture.frames import Frame, Kind, read_frames
from journeyman.capture.joining import EndedCall, Held, Joining
from journeyman.capture.metering import Meter
from journeyman.capture.options import Options
from journeyman.capture.parsing import PARSER, parse, parse_unended
from journeyman.capture.segments import list_segments
from journeyman.prices import PriceList
from journeyman.records import Condition, Exchange, Filter, WireExchange
from journeyman.store.store import Store

_AT_ONCE = 100


@dataclass
class Reread:
    """What reading again came to: calls that were replaced, that were as they should be, and that are not stored."""

    replaced: int = 0
    same: int = 0
    absent: int = 0
    unreadable: list[str] = field(default_factory=list)


def reread(
    folder: Path, store: Store, options: Options, *, since: float = 0.0, older_than: int | None = PARSER
) -> Reread:
    """Replace the exchanges of archived calls by what today's parser and rules make of them.

    `since`: only segments that were finished after it, in seconds since 1970. `older_than`: only exchanges which an
    older parser read; None: all, for changed redaction rules. What is not in the store any more stays out of it.
    """
    done, meter, waiting = Reread(), Meter(options.prices or PriceList({})), dict[str, WireExchange]()
    for call in _calls(folder, since, done):
        exchange = _exchange(call)
        if options.is_erased is not None and options.is_erased(exchange):
            continue
        meter.price(exchange)
        if options.redactor is not None:
            exchange = options.redactor.wire(exchange)
        waiting[exchange.id] = exchange
        if len(waiting) >= _AT_ONCE:
            _replace(store, waiting, older_than, done)
    _replace(store, waiting, older_than, done)
    return done


def _calls(folder: Path, since: float, done: Reread) -> Iterator[EndedCall]:
    writers: dict[str, Joining] = {}
    for path in archived(folder, since):
        try:
            data = unpack(path)
        except (OSError, ValueError) as error:
            done.unreadable.append(str(error))
            continue
        # All is held in memory: no place in a compressed file can be gone back to.
        joining = writers.setdefault(path.name.rpartition("-")[0], Joining(Held(most=inf)))
        for behind, found in read_frames(data):
            if isinstance(found, Frame) and found.kind != Kind.RECORD:
                call = joining.take(found, path, behind, 0)
                if call is not None:
                    yield call
    unfinished = {segment.writer for segment in list_segments(folder)}
    for writer, joining in writers.items():
        if writer not in unfinished:
            yield from joining.die()


def _exchange(call: EndedCall) -> WireExchange:
    if call.end is None:
        return parse_unended(call.start, call.body, call.answer)
    return parse(call.start, call.body, call.answer, call.end)


def _replace(store: Store, waiting: dict[str, WireExchange], older_than: int | None, done: Reread) -> None:
    if not waiting:
        return
    chosen = _any(waiting)
    known = {found.id: found for found in store.find(Exchange, chosen, limit=len(waiting))}
    stale = [id for id, found in known.items() if older_than is None or found.parser < older_than]
    if stale:
        store.forget(Exchange, _any(stale))
        store.put(*(waiting[id] for id in stale))
    done.replaced += len(stale)
    done.same += len(known) - len(stale)
    done.absent += len(waiting) - len(known)
    waiting.clear()


def _any(ids: dict[str, WireExchange] | list[str]) -> Filter:
    return Filter(join="or", conditions=tuple(Condition(field="id", operator="=", value=id) for id in ids))
