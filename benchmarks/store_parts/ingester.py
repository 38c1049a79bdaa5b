"""The whole ingester: from the frames in a spool's segments to the rows of the store, in a process of its own.

A round writes calls into the spool, as the gateway does, and has the ingester's process store them. The process counts
its own processor time and its memory after each round; the spool is written by the process that measures.
"""

import multiprocessing
import os
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import orjson
from record import Row, row

from journeyman.capture.ingest import Ingester
from journeyman.capture.options import Options
from journeyman.capture.process import suit_ingesting
from journeyman.capture.spool import Spool
from journeyman.records import WireExchange
from journeyman.store.sql import SqlStore

_ROUND = 5000
_WARM_UP = 20_000
"""Calls after which the memory is taken as what the ingester needs."""
MOST_GROWTH = 20
"""MB."""


def measure(folder: Path, calls: list[WireExchange], rounds: int) -> Iterator[Row]:
    """`rounds` of 5,000 calls each, made from those given; the first four only warm up."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_ingest, args=(theirs, folder), daemon=True)
    process.start()
    bodies = [_bytes_of(call) for call in calls[:_ROUND]]
    spool = Spool(folder / "spool")
    measured: list[dict[str, Any]] = []
    try:
        for number in range(rounds):
            for place, (head, asked, answer, end) in enumerate(bodies):
                serial = number * _ROUND + place
                call = spool.start(
                    {**head, "id": f"{serial:032x}", "at": head["at"] + serial, "session": f"s-{serial}"}, asked
                )
                spool.chunk(call, answer)
                spool.end(call, end)
            spool.flush()
            ours.send("ingest")
            if not ours.poll(600):
                raise TimeoutError("the ingester did not store 5,000 calls within 10 minutes")
            measured.append(ours.recv())
    finally:
        spool.close()
        ours.close()
        process.join(30)
    if (stored := sum(each["stored"] for each in measured)) != rounds * _ROUND:
        raise RuntimeError(f"{rounds * _ROUND} calls were written to the spool, and {stored} were stored")
    yield from _rows(measured)


def _rows(measured: list[dict[str, Any]]) -> Iterator[Row]:
    warm = measured[_WARM_UP // _ROUND :] or measured[-1:]
    calls = len(warm) * _ROUND
    what = "spool to store, calls of 2.8 KB"
    yield row(f"{what}: rate", round(calls / sum(each["wall"] for each in warm)), "calls/s")
    yield row(f"{what}: CPU", round(1e6 * sum(each["processor"] for each in warm) / calls, 1), "µs a call")
    before = measured[min(_WARM_UP // _ROUND, len(measured)) - 1]["memory"]
    growth = max(each["memory"] for each in warm) - before
    yield row(f"{what}: memory after {_WARM_UP:,} calls", round(before), "MB")
    yield row(
        f"{what}: memory's growth over the next {calls:,} calls", round(growth, 1), "MB",
        bar=f"≤ {MOST_GROWTH} MB", holds=growth <= MOST_GROWTH,
    )  # fmt: skip


def _bytes_of(call: WireExchange) -> tuple[Any, bytes, bytes, Any]:
    """A call as a gateway sees it: its start, its request, its answer, its end."""
    asked = orjson.dumps({"model": call.model, "messages": call.messages, **call.sampling})
    said = call.choices[0]["message"] if call.choices else {"role": "assistant", "content": ""}
    answer = orjson.dumps({
        "id": call.response_id, "object": "chat.completion", "created": call.at // 1_000_000, "model": call.served,
        "choices": [{"index": 0, "message": {**said, "refusal": None}, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": call.prompt_tokens, "completion_tokens": call.completion_tokens},
    })  # fmt: skip
    head = {
        "api": "chat", "at": call.at, "source": "gateway", "model": call.model, "upstream": call.upstream,
        "served": call.served, "key": call.key, "project": call.project, "tags": call.tags,
    }  # fmt: skip
    end = {"state": "complete", "status": 200, "latency": call.latency, "content_type": "application/json"}
    return head, asked, answer, end


def _ingest(orders: Connection, folder: Path) -> None:
    """The ingester's process: stores what is in the spool whenever it is told to."""
    store = SqlStore(f"sqlite:///{folder / 'ingested.db'}")
    ingester = Ingester(folder / "spool", store, Options(keep_raw_days=0))
    suit_ingesting()  # as `python -m journeyman.capture` does
    while True:
        try:
            orders.recv()
        except EOFError:
            break
        began, processor = time.perf_counter(), time.process_time()
        stored = ingester.run_once()
        orders.send({
            "stored": stored, "wall": time.perf_counter() - began, "processor": time.process_time() - processor,
            "memory": _resident_mb(),
        })  # fmt: skip
    ingester.close()
    store.close()


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
