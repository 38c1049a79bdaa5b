"""kill -9 of the gateway and of the ingester, under load: every call that was sent on is in the store, once."""

import asyncio
import random

import pytest

from tests.faults.conftest import Load

POINTS = 20


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_the_gateway_is_killed_at_20_points(installation, upstream, tally):
    draw = random.Random(4)
    load = Load(installation)
    upstream.pace = 0.001
    for point in range(POINTS):
        await installation.start()
        load.stopping = False
        clients = [asyncio.create_task(load.client(f"point {point} client {number}")) for number in range(8)]
        await asyncio.sleep(0.05 + draw.random() * 0.4)
        await installation.kill()
        load.stopping = True
        await asyncio.gather(*clients)
    await installation.drain()
    stored = installation.stored()
    tally(load, stored)
    assert len(load.answered) > POINTS
    # A call is written before its upstream is asked: whatever the upstream saw is here.
    assert set(upstream.asked) <= set(stored)
    assert set(stored) <= set(load.sent)
    assert load.answered <= set(stored)
    states = {name: each.state for name, each in stored.items()}
    # Of a call that ended in the very tick of the kill, the end may not have been written.
    late = [name for name in load.answered if states[name] != "complete"]
    assert len(late) <= 8 * POINTS
    assert all(states[name] == "killed" for name in late)
    assert {states[name] for name in load.failed & set(stored)} <= {"killed", "complete"}


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_the_ingester_is_killed_while_calls_come(installation, upstream, tally):
    await installation.start()
    load = Load(installation)
    clients = [asyncio.create_task(load.client(f"client {number}")) for number in range(4)]
    await installation.kill_ingester()
    for _ in range(3):
        await asyncio.sleep(0.3)
        await installation.kill_ingester()
    load.stopping = True
    await asyncio.gather(*clients)
    await installation.stop()
    await installation.drain()
    stored = installation.stored()
    tally(load, stored)
    assert not load.failed, "no caller noticed"
    assert {name: each.state for name, each in stored.items()} == dict.fromkeys(load.sent, "complete")
    assert set(upstream.asked.values()) == {1}
