"""Books every served token once: joins what the engine counted with who asked for it, prices it, and stores it.

The local engine counts in its step loop, whatever becomes of a client's stream; the ledger reads its list about every
second. An engine that keeps no such list is believed the usage that its answers tell. What providers served is booked
from their captured answers, by the ingester.
Entries are written under ids that follow from what they book, so reading something twice books it once.
"""

import asyncio
import contextlib
import logging
import time
from typing import Any

from journeyman.engines.engine import RunningEngine
from journeyman.errors import UpstreamFailed
from journeyman.gateway.booking import UNKNOWN, OpenCall, answer_id, engine_entry, gap, told_twice, used
from journeyman.gateway.call import Call, Outcome
from journeyman.gateway.served import Served, ServedEntry, ServedReader
from journeyman.prices import Price, PriceList
from journeyman.records import Adapter, Condition, Exchange, Filter, UsageEntry
from journeyman.registry.resolve import Target
from journeyman.store.store import Store

READ_EVERY_SECONDS = 1.0
_STOP_SECONDS = 10.0
_LAST_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 0.0)
"""How long the engine gets, when we stop, to list the calls that have just ended."""
PATIENCE_SECONDS = 60.0
"""A call that ended so long ago and is not in the engine's list is not coming into it."""
REFUSED_SECONDS = 5.0
"""The same for a call that was answered with an error: few of them were served anything."""
_MOST_OPEN = 50_000

log = logging.getLogger(__name__)


class Ledger:
    """The gateway's bookkeeper. `begin` and `end` return at once; what cannot be booked is counted and shown."""

    def __init__(self, store: Store, prices: PriceList, engine: RunningEngine | None) -> None:
        self._store, self._prices, self._engine = store, prices, engine
        self._open: dict[str, OpenCall] = {}
        self._unwritten: list[UsageEntry] = []
        self._turn = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._reader: ServedReader | None = None
        self._task: asyncio.Task[None] | None = None
        self._engine_counts: bool | None = None
        self._epoch: str | None = None
        self._position = 0
        self._seen = {"entries": 0, "unknown": 0, "missed": 0, "restarts": 0, "unmatched": 0}
        self._last_error: str | None = None

    def start(self) -> None:
        """Begin to read, about every second."""
        self._reader = ServedReader()
        self._task = asyncio.create_task(self._keep_reading())

    def price_of(self, target: Target) -> Price | None:
        """What a target's tokens cost; None when nobody said."""
        if target.adapter is not None:
            return self._prices.find(target.base, target.adapter.id, target.adapter.name)
        return self._prices.find(target.base, *([f"{target.provider}/{target.base}"] if target.provider else []))

    def begin(self, call: Call) -> None:
        """A call is about to be sent to the engine."""
        if len(self._open) >= _MOST_OPEN:
            self._drop_oldest()
        self._open[call.id] = OpenCall(call, epoch=self._epoch)

    def end(self, call: Call, outcome: Outcome) -> None:
        """Nothing more will come of a call."""
        ended = self._open.get(call.id)
        if ended is None:
            return
        ended.outcome, ended.ended_at = outcome, time.monotonic()
        if ended.settled:
            del self._open[call.id]

    async def catch_up(self) -> None:
        """Book all that is known to have been served by now; UpstreamFailed when the engine does not tell."""
        async with self._turn:
            await self._write()
            await self._book_answers(self._told_by_answers())
            await self._write()
            await self._read_engine()
            await self._book_answers(self._told_by_answers())
            await self._let_go(PATIENCE_SECONDS)
            await self._write()

    async def engine_totals(self) -> Served | None:
        """The engine's own sums, every entry behind them booked; None when there is no engine that counts."""
        await self.catch_up()
        if self._engine is None or self._reader is None or self._engine.failure or not self._engine_counts:
            return None
        served = await self._reader.after(self._engine.url, self._position, limit=1, totals=True)
        await self.catch_up()
        return served

    async def close(self) -> None:
        """Read once more, until the calls that have just ended are in the list, and stop."""
        if self._task is None or self._reader is None:
            return
        self._stopping.set()
        await asyncio.wait({self._task}, timeout=_STOP_SECONDS)
        self._task.cancel()
        for pause in _LAST_PAUSES:
            if not await self._try_to_catch_up() or not self._awaited():
                break
            await asyncio.sleep(pause)
        if self._engine is None or not self._engine.failure:
            await self._let_go(0)
        elif self._engine.ends_with_us:
            self._engine_counts = False  # it took its list with it; of one that runs on, the next gateway will read it
        await self._try_to_catch_up()
        if self._awaited() or self._unwritten:
            log.error("the ledger was closed before all that was served could be booked: %s", self.report())
        await self._reader.close()

    def report(self) -> dict[str, Any]:
        """How the bookkeeping goes, for `/healthz`.

        `unknown` entries have no caller that the gateway knows, `missed` ones were dropped by the engine before they
        were read, `unmatched` calls were answered without an entry; `restarts` are those of the engine.
        """
        counts = {True: "the engine", False: "answers", None: "not known yet"}[self._engine_counts]
        pending = len(self._unwritten) + len(self._awaited())
        return {**self._seen, "pending": pending, "counted_by": counts, "last_error": self._last_error}

    async def _keep_reading(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), READ_EVERY_SECONDS)
            await self._try_to_catch_up()

    async def _try_to_catch_up(self) -> bool:
        try:
            await self.catch_up()
        except Exception as error:  # whatever store or engine raise: calls must go on, and the delay must show
            said = f"{type(error).__name__}: {error}"
            if said != self._last_error:
                log.warning("the ledger waits: %s", said)
            self._last_error = said
            return False
        self._last_error = None
        return True

    async def _read_engine(self) -> None:
        """Book what the engine has listed since the last reading."""
        engine, reader = self._engine, self._reader
        if engine is None or reader is None or engine.failure:
            return
        while True:
            served = await reader.after(engine.url, self._position)
            if served is None and self._engine_counts:
                raise UpstreamFailed("the engine refuses to tell its counters, which it has told before; asking again")
            self._engine_counts = served is not None
            if served is None:
                return
            if served.epoch != self._epoch:
                await self._begin_epoch(engine, served.epoch)
                continue
            if served.missed:
                self._note_missed(engine, served)
            for entry in served.entries:
                self._unwritten.append(await self._booked(entry, served.epoch, engine))
                self._position = entry.number
            if not served.entries or self._position >= served.last:
                return
            await self._write()

    async def _begin_epoch(self, engine: RunningEngine, epoch: str) -> None:
        """Go on behind what is booked of this start of the engine."""
        position = await asyncio.to_thread(self._booked_until, epoch)
        before, self._epoch, self._position = self._epoch, epoch, position
        if before is None:
            for call in self._open.values():
                call.epoch = epoch
            return
        self._seen["restarts"] += 1
        note = "the engine was started anew; what it served just before, and nobody read, is booked from the answers"
        log.warning("%s: %s", engine.name, note)
        self._unwritten.append(gap(engine.name, epoch, f"{epoch}-restart", note))

    def _booked_until(self, epoch: str) -> int:
        mine = (Condition(field="epoch", operator="=", value=epoch), Condition(field="number", operator=">", value=0))
        newest = self._store.find(UsageEntry, Filter(conditions=mine), limit=1)
        return (newest[0].number or 0) if newest else 0

    def _note_missed(self, engine: RunningEngine, served: Served) -> None:
        self._seen["missed"] += served.missed
        first = self._position + 1
        note = f"{served.missed} entries from number {first} on were dropped by the engine before they were read"
        log.error("%s: %s; `journeyman usage reconcile` shows how many tokens that was", engine.name, note)
        self._unwritten.append(gap(engine.name, served.epoch, f"{served.epoch}-missed-{first:012d}", note))

    async def _booked(self, served: ServedEntry, epoch: str, engine: RunningEngine) -> UsageEntry:
        call = self._open.get(served.request)
        if call is None:
            return await asyncio.to_thread(self._of_unknown_caller, served, epoch, engine.name)
        entry = call.from_engine(served, epoch)
        if call.settled:
            del self._open[served.request]
        return entry

    def _is_booked(self, id: str) -> bool:
        waiting = any(entry.id == id for entry in self._unwritten)
        return waiting or self._store.get(UsageEntry, id) is not None

    def _of_unknown_caller(self, served: ServedEntry, epoch: str, base: str) -> UsageEntry:
        """An entry of a call that came past this gateway, or before it was started, or was booked from its answer."""
        if served.request and self._is_booked(answer_id(served.request)):
            return told_twice(served, epoch, base)
        self._seen["unknown"] += 1
        exchange = self._store.get(Exchange, served.request) if served.request else None
        adapter = self._store.get(Adapter, served.adapter) if served.adapter else None
        price = self._prices.find(base, *([served.adapter or ""]), *([adapter.name] if adapter else []))
        alias = exchange.model if exchange else None
        return engine_entry(served, epoch, used(served), key=UNKNOWN, alias=alias, model=base, price=price)

    def _told_by_answers(self) -> list[str]:
        """Calls that have ended, and that the engine does not list."""
        return [id for id, call in self._open.items() if call.outcome] if self._engine_counts is False else []

    async def _book_answers(self, ids: list[str]) -> None:
        calls = [self._open[id] for id in ids]
        # What a list told of a call before is in the ledger, whoever read it.
        known = {call.call.id: await asyncio.to_thread(self._listed, call) for call in calls}
        entries = await asyncio.to_thread(
            lambda: [entry for call in calls for entry in call.from_answer(known[call.call.id])]
        )
        self._unwritten += entries
        for id in ids:
            del self._open[id]

    def _listed(self, call: OpenCall) -> list[UsageEntry]:
        """What is booked of a call as the engine counted it; nothing where the engine has never counted."""
        if self._epoch is None:
            return []
        mine = (
            Condition(field="request", operator="=", value=call.call.id),
            Condition(field="source", operator="=", value="engine"),
        )
        waiting = [each for each in self._unwritten if each.request == call.call.id and each.source == "engine"]
        stored = self._store.find(UsageEntry, Filter(conditions=mine))
        return list({entry.id: entry for entry in (*waiting, *stored)}.values())

    async def _write(self) -> None:
        """Store what is booked. What the store refuses stays, and is tried again."""
        writing = list(self._unwritten)
        if not writing:
            return
        await asyncio.to_thread(self._store.put, *writing)
        del self._unwritten[: len(writing)]
        self._seen["entries"] += len(writing)

    def _awaited(self) -> list[str]:
        """Calls whose end the client has seen, but not yet the ledger."""
        ended = {id: call.outcome for id, call in self._open.items() if call.outcome is not None}
        return [id for id, outcome in ended.items() if outcome.status in (None, 200)]

    async def _let_go(self, patience: float) -> None:
        """Give up calls that ended `patience` seconds ago and are not in the engine's list.

        Most never reached it. If it was started anew meanwhile, their tokens went with its old list: answers tell.
        """
        if not self._engine_counts:
            return
        now, awaited = time.monotonic(), set(self._awaited())
        late = {
            id: call
            for id, call in self._open.items()
            if call.outcome and now - call.ended_at >= (patience if id in awaited else min(patience, REFUSED_SECONDS))
        }
        await self._book_answers([id for id, call in late.items() if call.epoch != self._epoch])
        for id in [id for id in late if id in self._open]:
            outcome = self._open.pop(id).outcome
            if outcome is not None and outcome.state == "complete":
                self._seen["unmatched"] += 1
                log.error("call %s was answered by the engine, which has not listed it", id)

    def _drop_oldest(self) -> None:
        oldest = next((id for id, call in self._open.items() if call.outcome is not None), None)
        if oldest is not None:
            del self._open[oldest]
            self._seen["unmatched"] += 1
