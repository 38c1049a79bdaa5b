"""kill -9 of the gateway and of the ingester, under load: every call that was sent on is in the store, once."""

import asyncio
import random

import pytest

from tests.faults.conftest import Load

POINTS = 20
CLIENTS = 8


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.fault("kill -9 of the gateway, at 20 points")
async def test_the_gateway_is_killed(installation, upstream, tally):
    draw = random.Random(4)
    load = Load(installation)
    upstream.pace = 0.001
    for point in range(POINTS):
        await installation.start()
        load.stopping = False
        clients = [asyncio.create_task(load.client(f"point {point} client {number}")) for number in range(CLIENTS)]
        await asyncio.sleep(0.05 + draw.random() * 0.4)
        await installation.kill()
        load.stopping = True
        await asyncio.gather(*clients)
    await installation.drain()
    stored = installation.stored()
    states = {name: each.state for name, each in stored.items()}
    late = {name for name in load.answered if states.get(name) == "killed"}
    tally(load, stored, killed_within=POINTS, answered=len(load.answered), end_not_written=len(late))
    assert len(load.answered) > POINTS
    # A call is written before its upstream is asked: whatever the upstream saw is here.
    assert set(upstream.asked) <= set(stored) <= set(load.sent)
    assert set(states.values()) <= {"complete", "killed"}
    # Only of a call that ended in the very tick of a kill the end may not have been given to the system.
    assert {states[name] for name in load.answered - late} == {"complete"}
    assert len(late) <= POINTS


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.fault("kill -9 of the ingester, at 20 points")
async def test_the_ingester_is_killed(installation, upstream, tally):
    draw = random.Random(5)
    await installation.start()
    upstream.pace = 0.002
    load = Load(installation)
    clients = [asyncio.create_task(load.client(f"client {number}")) for number in range(4)]
    for _ in range(POINTS):
        await asyncio.sleep(0.05 + draw.random() * 0.4)
        await installation.kill_ingester()
    load.stopping = True
    await asyncio.gather(*clients)
    await installation.end_ingesters()
    await installation.stop()
    await installation.drain()
    stored = installation.stored()
    tally(load, stored, killed_within=POINTS)
    assert not load.failed, "no caller noticed"
    assert {name: each.state for name, each in stored.items()} == dict.fromkeys(load.sent, "complete")
    assert set(upstream.asked.values()) == {1}
