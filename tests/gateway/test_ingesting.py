"""The ingester beside a gateway: started, started again when it dies, and ended with what waits in the store."""

import asyncio
import os
import signal
import time

from journeyman.capture.spool import Spool
from journeyman.gateway.call import CallIds
from journeyman.gateway.ingesting import IngesterProcess, ingester_report
from journeyman.records import Exchange
from journeyman.store.sql import SqlStore

ANSWER = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]}'


async def pid_of_ingester(home, besides=None):
    for _ in range(800):
        found = ingester_report(home / "spool").get("pid")
        if found not in (None, besides):
            return found
        await asyncio.sleep(0.05)
    raise AssertionError("waited 40 s for an ingester, in vain")


async def test_an_ingester_that_is_killed_is_started_again_and_stores_what_waits_before_it_ends(tmp_path):
    spool = Spool(tmp_path / "spool")
    async with IngesterProcess(tmp_path) as process:
        first = await pid_of_ingester(tmp_path)
        os.kill(first, signal.SIGKILL)
        await pid_of_ingester(tmp_path, besides=first)
        assert process.restarts == 1
        for number in range(20):
            start = {"id": f"call-{number}", "at": 1, "api": "chat", "source": "gateway", "model": "acme/m"}
            call = spool.start(start, b'{"model":"acme/m","messages":[{"role":"user","content":"Hi"}]}')
            spool.chunk(call, ANSWER)
            spool.end(call, {"state": "complete", "status": 200})
        spool.close()
    store = SqlStore(f"sqlite:///{tmp_path / 'journeyman.db'}")
    assert store.count(Exchange, by="state") == {"complete": 20}
    store.close()


def test_ids_of_calls_are_unique_and_sort_by_time():
    ids, now = CallIds(), time.time_ns() // 1000
    made = [ids.new(now + 1000 * number) for number in range(2000)]
    assert made == sorted(made)
    assert len(set(made)) == 2000
    assert {len(each) for each in made} == {32}
