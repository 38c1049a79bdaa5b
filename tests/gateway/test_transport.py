"""One suite over both transports: whatever a server does on its socket, the answer is told alike."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from journeyman.errors import InvalidInput, JourneymanError, UpstreamFailed
from journeyman.gateway import plain
from journeyman.gateway.plain import PlainTransport
from journeyman.gateway.transport import Address, TlsTransport, Unreached

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


@pytest.fixture(params=[PlainTransport, TlsTransport], ids=["plain", "tls"])
async def transport(request) -> AsyncIterator[PlainTransport | TlsTransport]:
    made = request.param()
    yield made
    await made.close()


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[Address]:
    writers: list[asyncio.StreamWriter] = []

    async def scripted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await script(reader, writer)

    server = await asyncio.start_server(scripted, "127.0.0.1", 0)
    yield Address(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/chat/completions")
    server.close()
    for writer in writers:
        writer.transport.abort()
    await asyncio.sleep(0.01)


async def request_on(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    size = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return head, await reader.readexactly(size)


def says(*parts: bytes, pause: float = 0.005, end: str = "keep") -> Script:
    """Answer every request of a connection with these parts."""

    async def script(reader, writer):
        try:
            while True:
                await request_on(reader)
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(pause)
                if end == "abort":
                    writer.transport.abort()
                if end != "keep":
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    return script


async def whole(answer) -> bytes:
    parts = []
    while part := await answer.read():
        parts.append(part)
    answer.close()
    return b"".join(parts)


@pytest.mark.parametrize(
    ("parts", "end", "expected"),
    [
        ([OK + b"content-length: 5\r\n\r\nHello"], "keep", b"Hello"),
        ([OK, b"content-length: 5\r\n", b"\r\nHe", b"llo"], "keep", b"Hello"),
        ([OK + b"transfer-encoding: chunked\r\n\r\n3\r\nHel\r\n", b"2\r\nlo\r\n0\r\n\r\n"], "keep", b"Hello"),
        ([OK + b"\r\nHel", b"lo"], "close", b"Hello"),
        ([OK + b"connection: close\r\ncontent-length: 5\r\n\r\nHello"], "close", b"Hello"),
        ([b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", OK + b"content-length: 2\r\n\r\nok"], "keep", b"ok"),
        ([OK + b"content-length: 0\r\n\r\n"], "keep", b""),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], "keep", b""),
    ],
)
async def test_answers_in_every_framing(transport, parts, end, expected):
    async with serving(says(*parts, end=end)) as address:
        for _ in range(3):
            answer = await transport.post(address, [], b"{}")
            assert await whole(answer) == expected


async def test_what_is_sent_and_what_comes_back(transport):
    seen = []

    async def script(reader, writer):
        seen.append(await request_on(reader))
        writer.write(b"HTTP/1.1 429 Slow Down\r\nRetry-After: 3\r\nX-Two: a\r\nx-two: b\r\ncontent-length: 2\r\n\r\n{}")

    async with serving(script) as address:
        answer = await transport.post(
            address, [(b"x-custom", b"1"), (b"content-type", b"application/json")], b'{"a":1}'
        )
        assert (answer.status, await whole(answer)) == (429, b"{}")
    assert [value for name, value in answer.headers if name == b"x-two"] == [b"a", b"b"]
    assert (b"retry-after", b"3") in answer.headers
    [(head, body)] = seen
    lines = head.lower().split(b"\r\n")
    assert lines[0] == b"post /v1/chat/completions http/1.1"
    assert body == b'{"a":1}'
    assert sorted(line.partition(b":")[0] for line in lines[1:] if line) == [
        b"content-length", b"content-type", b"host", b"x-custom",
    ]  # fmt: skip


async def test_connections_are_used_again(transport):
    opened = []

    async def script(reader, writer):
        opened.append(writer)
        await says(OK + b"content-length: 2\r\n\r\nok")(reader, writer)

    async with serving(script) as address:
        for _ in range(5):
            assert await whole(await transport.post(address, [], b"{}")) == b"ok"
        assert len(opened) == 1
        answers = await asyncio.gather(*(transport.post(address, [], b"{}") for _ in range(3)))
        assert [await whole(answer) for answer in answers] == [b"ok"] * 3
        assert len(opened) == 3


@pytest.mark.parametrize("end", ["close", "abort"])
@pytest.mark.parametrize(
    "parts",
    [
        [OK + b"content-length: 9\r\n\r\nHel"],
        [OK + b"connection: close\r\ncontent-length: 9\r\n\r\nHel"],
        [OK + b"transfer-encoding: chunked\r\n\r\n3\r\nHel\r\n"],
        [OK + b"transfer-encoding: chunked\r\n\r\n9\r\nHel"],
    ],
)
async def test_an_answer_that_breaks_off_says_so_behind_what_came(transport, parts, end):
    async with serving(says(*parts, end=end, pause=0.05)) as address:
        answer = await transport.post(address, [], b"{}")
        assert await answer.read() == b"Hel"
        with pytest.raises(UpstreamFailed, match="broke off in the middle"):
            await answer.read()
        answer.close()


@pytest.mark.parametrize("parts", [[], [b"HTTP/1.1 200 OK\r\ncontent-"], [b"SSH-2.0-OpenSSH\r\n\r\n"]])
async def test_no_answer_at_all_is_a_failure_and_not_unreached(transport, parts):
    async with serving(says(*parts, end="close")) as address:
        with pytest.raises(UpstreamFailed) as caught:
            await transport.post(address, [], b"{}")
        assert not isinstance(caught.value, Unreached)


async def test_nobody_there_is_unreached(transport):
    with pytest.raises(Unreached, match="cannot be reached"):
        await transport.post(Address("http://127.0.0.1:9/v1"), [], b"{}")


async def test_compressed_answers_are_read(transport):
    packed = gzip.compress(b'{"a": 1}' * 100)
    head = OK + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed)
    async with serving(says(head, packed[:20], packed[20:])) as address:
        assert await whole(await transport.post(address, [], b"{}")) == b'{"a": 1}' * 100


async def test_a_large_request_arrives(transport):
    seen = []

    async def script(reader, writer):
        seen.append(await request_on(reader))
        writer.write(OK + b"content-length: 2\r\n\r\nok")

    body = b"x" * 3_000_000
    async with serving(script) as address:
        assert await whole(await transport.post(address, [], body)) == b"ok"
    assert seen[0][1] == body


async def test_leaving_early_ends_the_upstreams_work(transport):
    gone = asyncio.Event()

    async def script(reader, writer):
        await request_on(reader)
        writer.write(OK + b"transfer-encoding: chunked\r\n\r\n3\r\nHel\r\n")
        await reader.read()
        gone.set()

    async with serving(script) as address:
        answer = await transport.post(address, [], b"{}")
        assert await answer.read() == b"Hel"
        answer.close()
        async with asyncio.timeout(5):
            await gone.wait()


async def test_an_upstream_is_not_read_faster_than_its_answer_is_taken(transport):
    sent = 0

    async def script(reader, writer):
        nonlocal sent
        await request_on(reader)
        writer.write(OK + b"transfer-encoding: chunked\r\n\r\n")
        for _ in range(1000):
            writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            await writer.drain()
            sent += 65536
        writer.write(b"0\r\n\r\n")

    async with serving(script) as address:
        answer = await transport.post(address, [], b"{}")
        await asyncio.sleep(0.5)
        assert sent < 20_000_000
        assert len(await whole(answer)) == 65_536_000


@pytest.mark.parametrize("header", [(b"x", b"1\r\nevil: 2"), (b"x\r\ny", b"1"), (b"x", b"1\n2"), (b"x", b"1\r2")])
async def test_a_header_with_a_line_break_is_sent_by_nobody(transport, header):
    seen = []

    async def script(reader, writer):
        seen.append(await reader.read(1))

    async with serving(script) as address:
        with pytest.raises(JourneymanError):
            await transport.post(address, [header], b"{}")
    assert seen in ([], [b""])


@pytest.mark.parametrize(
    "url", ["ftp://x/v1", "x/v1", "http://", "http://a\r\nb/", "http://x:99999999/", "file:///etc"]
)
def test_what_is_no_address_of_a_service_is_refused(url):
    with pytest.raises((InvalidInput, ValueError)):
        Address(url)


async def test_a_connection_that_closes_just_when_it_is_used_again_is_replaced_once(monkeypatch):
    """A server that ends each connection behind its answer without saying so."""
    requests = []

    async def script(reader, writer):
        requests.append(await request_on(reader))
        writer.write(OK + b"content-length: 2\r\n\r\nok")
        await reader.readexactly(1)  # the next request has come: too late
        writer.transport.abort()

    transport = PlainTransport()
    async with serving(script) as address:
        for _ in range(3):
            assert await whole(await transport.post(address, [], b"{}")) == b"ok"
        assert len(requests) == 3
        monkeypatch.setattr(plain, "_RACE_SECONDS", -1.0)
        with pytest.raises(UpstreamFailed, match="before it answered"):
            await transport.post(address, [], b"{}")
    await transport.close()
