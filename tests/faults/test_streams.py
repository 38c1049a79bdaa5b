"""What upstreams and clients do wrong: callers get exactly what the upstream sent, and the record says how it ended."""

import asyncio
import json

import aiohttp
import pytest

from tests.faults.conftest import EVENTS, WORDS, Load


async def raw_stream(installation, name, most=None, pause=0.0):
    """The bytes of a stream until it ends or breaks, and whether it broke; leave after `most` bytes."""
    got, broke = b"", False
    body = {"model": "acme/m", "messages": [{"role": "user", "content": name}], "stream": True}
    async with aiohttp.ClientSession(read_bufsize=4096) as session:
        try:
            async with session.post(f"{installation.url}/v1/chat/completions", json=body) as answer:
                async for piece in answer.content.iter_any():
                    got += piece
                    if most is not None and len(got) >= most:
                        return got, False
                    if pause:
                        await asyncio.sleep(pause)
        except aiohttp.ClientError:
            broke = True
    return got, broke


async def finish(installation):
    await installation.stop()
    await installation.drain()
    return installation.stored()


@pytest.mark.fault("upstream cut behind each event of a stream, and in the middle of each")
async def test_the_upstream_cuts_at_every_chunk(installation, upstream, tally):
    load = Load(installation)
    await installation.start()
    sent = {}
    for number, event in enumerate(EVENTS):
        for more in (0, len(event) // 2):
            name = f"cut {number} and {more} bytes"
            upstream.cut[name], upstream.cut_bytes[name] = number, more
            load.sent.append(name)
            got, broke = await raw_stream(installation, name)
            sent[name] = b"".join(EVENTS[:number]) + event[:more]
            assert sent[name].startswith(got) or b"error" in got, "nothing that the upstream did not say"
            assert b"[DONE]" not in got
            assert broke or b"error" in got, "the client sees that it is not whole"
    stored = await finish(installation)
    tally(load, stored)
    assert set(stored) == set(load.sent)
    for name, part in sent.items():
        found = stored[name]
        assert found.state == "truncated_upstream", name
        said = found.reply.text if found.reply else ""
        assert "".join(WORDS).startswith(said)
        assert len(said.split()) <= part.count(b"word")
        finished = b'"finish_reason": "stop"}' in part
        assert finished or all(choice.finish_reason is None for choice in found.choices), "no finish that was not told"


@pytest.mark.fault("upstream cut within an answer that is no stream")
async def test_the_upstream_cuts_a_whole_answer(installation, upstream, tally):
    load = Load(installation)
    await installation.start()
    async with aiohttp.ClientSession() as session:
        for number in range(20):
            upstream.cut[f"cut {number}"] = number * 20
            got = await load.ask(session, f"cut {number}")
            assert got is None or (b"upstream" in got and b"choices" not in got)
    stored = await finish(installation)
    tally(load, stored)
    assert not load.answered
    assert set(stored) == set(load.sent)
    assert {each.state for each in stored.values()} <= {"truncated_upstream", "failed"}
    assert all(choice.finish_reason is None for each in stored.values() for choice in each.choices)


@pytest.mark.fault("client gone in the middle of a stream")
async def test_clients_go_in_the_middle_of_a_stream(installation, upstream, tally):
    upstream.pace = 0.003
    # Far longer than anybody stays: a gateway that is held up for a moment still finds them gone in the middle.
    upstream.stream = [*EVENTS[:50] * 4, *EVENTS[50:]]
    load = Load(installation)
    await installation.start()
    for number in range(20):
        load.sent.append(f"gone {number}")
        await raw_stream(installation, f"gone {number}", most=1 + number * 300)
    await asyncio.sleep(0.3)
    stored = await finish(installation)
    tally(load, stored)
    assert set(stored) == set(load.sent)
    assert {each.state for each in stored.values()} == {"aborted_client"}


@pytest.mark.fault("slow client")
async def test_slow_clients_get_all_of_it_and_hold_up_nobody(installation, upstream, tally):
    filler = b": " + b"x" * 20_000 + b"\n\n"
    upstream.stream = [part for event in EVENTS for part in (filler, event)]
    load = Load(installation)
    await installation.start()
    slow = [asyncio.create_task(raw_stream(installation, f"slow {number}", pause=0.005)) for number in range(5)]
    load.sent += [f"slow {number}" for number in range(5)]
    async with aiohttp.ClientSession() as session, asyncio.timeout(5):
        await load.ask(session, "quick")
    for got, broke in await asyncio.gather(*slow):
        assert got == b"".join(upstream.stream)
        assert not broke
    stored = await finish(installation)
    tally(load, stored)
    assert {name: each.state for name, each in stored.items()} == dict.fromkeys(load.sent, "complete")


@pytest.mark.fault("malformed stream")
async def test_what_is_no_proper_stream_passes_as_it_is(installation, upstream, tally):
    bad = {
        "not json": [b"data: {broken\n\n", b"data: [DONE]\n\n"],
        "no events": [b"hello there"],
        "not utf-8": [b"data: \xff\xfe\n\n", b"data: [DONE]\n\n"],
        "no end": EVENTS[:10],
        "an array": [b"data: [1, 2]\n\n", b"data: [DONE]\n\n"],
        "nothing": [],
    }
    load = Load(installation)
    await installation.start()
    for name, parts in bad.items():
        upstream.stream = parts
        load.sent.append(name)
        got, _ = await raw_stream(installation, name)
        assert got.startswith(b"".join(parts)) or b"".join(parts).startswith(got), name
        assert got.count(b"[DONE]") == b"".join(parts).count(b"[DONE]"), name
    stored = await finish(installation)
    tally(load, stored)
    assert set(stored) == set(bad)
    assert "complete" not in {each.state for each in stored.values()}


@pytest.mark.fault("body of 10 MB")
async def test_a_body_of_10_megabytes(installation, upstream, tally):
    load = Load(installation)
    await installation.start()
    async with aiohttp.ClientSession() as session:
        for number in range(3):
            name = f"large {number}"
            await load.ask(session, name, tools=[], metadata={"filler": json.dumps("x" * (10 << 20))})
    stored = await finish(installation)
    tally(load, stored)
    assert not load.failed
    assert {name: each.state for name, each in stored.items()} == dict.fromkeys(load.sent, "complete")
