"""A client that costs little: sends the same request over kept connections, in a closed loop or at a fixed pace.

`python -m gateway_parts.load --port P [--connections N] [--rate R] [--seconds S | --calls N] [--stream] [--pid PID]`
prints one JSON object: calls, calls a second, milliseconds to the whole answer and to its first byte (at a pace: from
the moment at which the call was due), and CPU microseconds a call of the process PID, from /proc.
"""

import argparse
import asyncio
import json
import math
import os
import time
from typing import Any, NamedTuple, cast

import uvicorn

MODEL = "mock/m"


def request_body(model: str, stream: bool) -> bytes:
    """A chat request of about 1.1 KB."""
    system = "You are a careful assistant of a bank. " * 12
    user = "A customer asks how to raise the limit of a card; answer in two sentences. " * 6
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
        "temperature": 0.7,
    }
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(body).encode()


def request_bytes(host: str, body: bytes, key: str = "sk-load") -> bytes:
    """With the headers of a common client."""
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\naccept: application/json\r\naccept-encoding: gzip\r\n"
        f"content-type: application/json\r\nuser-agent: load/1\r\nauthorization: Bearer {key}\r\n"
        f"x-stainless-lang: python\r\nx-stainless-retry-count: 0\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Client(asyncio.Protocol):
    """One connection; `ask` returns when the answer is whole. An answer that is not a 200 is an error."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._data = b""
        self._end = -1
        self.first = 0.0
        self.errors = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio calls it."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def connection_lost(self, error: Exception | None) -> None:
        """As asyncio calls it."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ConnectionError("the gateway closed the connection"))

    def data_received(self, data: bytes) -> None:
        """As asyncio calls it."""
        if not self._data:
            self.first = time.perf_counter()
        self._data += data
        if self._end < 0:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._data[:end].lower()
            self.errors += not head.startswith(b"http/1.1 200")
            at = head.find(b"content-length:")
            self._end = end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        whole = len(self._data) >= self._end if self._end else self._data.endswith(b"\r\n0\r\n\r\n")
        if whole and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def ask(self, request: bytes) -> None:
        """Send, and wait for the whole answer."""
        assert self._transport is not None
        self._data, self._end = b"", -1
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        await self._waiter


class Found(NamedTuple):
    """Seconds to each call's whole answer, and to its first byte; and how many answers were errors."""

    whole: list[float]
    first: list[float]
    errors: int


async def closed_loop(port: int, request: bytes, connections: int, seconds: float, calls: int) -> Found:
    """Each connection sends its next request when it has the answer, for so long, or (unless 0) so many altogether."""
    loop = asyncio.get_running_loop()
    clients = [(await loop.create_connection(Client, "127.0.0.1", port))[1] for _ in range(connections)]
    whole: list[float] = []
    first: list[float] = []
    until, sent = math.inf if calls else time.perf_counter() + seconds, 0

    async def keep_asking(client: Client) -> None:
        nonlocal sent
        while (began := time.perf_counter()) < until and (not calls or sent < calls):
            sent += 1
            await client.ask(request)
            whole.append(time.perf_counter() - began)
            first.append(client.first - began)

    await asyncio.gather(*map(keep_asking, clients))
    return Found(whole, first, sum(client.errors for client in clients))


async def open_loop(port: int, request: bytes, rate: float, seconds: float) -> Found:
    """Calls that are due at even distances, whatever became of those before: seconds from when each was due."""
    loop = asyncio.get_running_loop()
    idle: list[Client] = [(await loop.create_connection(Client, "127.0.0.1", port))[1] for _ in range(8)]
    everybody = list(idle)
    whole: list[float] = []
    first: list[float] = []

    async def one(due: float) -> None:
        if idle:
            client = idle.pop()
        else:
            client = (await loop.create_connection(Client, "127.0.0.1", port))[1]
            everybody.append(client)
        await client.ask(request)
        whole.append(time.perf_counter() - due)
        first.append(client.first - due)
        idle.append(client)

    start, number, tasks = time.perf_counter() + 0.05, 0, set()
    while number < rate * seconds:
        due = start + number / rate
        # The loop's timers are a millisecond coarse: the rest of the way is waited for awake.
        if (early := due - time.perf_counter() - 0.0015) > 0:
            await asyncio.sleep(early)
        while time.perf_counter() < due:  # noqa: ASYNC110
            await asyncio.sleep(0)
        task = asyncio.create_task(one(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        number += 1
    await asyncio.gather(*tasks)
    return Found(whole, first, sum(client.errors for client in everybody))


def cpu_seconds(pid: int) -> float:
    """What a process has computed so far, its own and in the kernel for it."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """The memory that a process has in use."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def percentile(sorted_values: list[float], share: float) -> float:
    """The value below which this share lies."""
    return sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))]


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run once as the options say."""
    request = request_bytes(f"127.0.0.1:{options.port}", request_body(options.model, options.stream), options.key)
    before = cpu_seconds(options.pid) if options.pid else 0.0
    began = time.perf_counter()
    if options.rate:
        times = await open_loop(options.port, request, options.rate, options.seconds)
    else:
        times = await closed_loop(options.port, request, options.connections, options.seconds, options.calls)
    took, calls = time.perf_counter() - began, len(times.whole)
    found = {"calls": calls, "errors": times.errors, "per_second": round(calls / took, 1)}
    for name, values in (("", sorted(times.whole)), ("first_", sorted(times.first))):
        for share in (0.5, 0.95, 0.99):
            found[f"{name}p{int(share * 100)}_ms"] = round(percentile(values, share) * 1e3, 3)
    if options.pid:
        found["cpu_us"] = round((cpu_seconds(options.pid) - before) / calls * 1e6, 1)
        found["resident_mb"] = round(resident_bytes(options.pid) / 1e6, 1)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--calls", type=int, default=0)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--pid", type=int, default=0)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--key", default="sk-load")
    with asyncio.Runner(loop_factory=uvicorn.Config("", loop="auto").get_loop_factory()) as runner:
        print(json.dumps(runner.run(measure(parser.parse_args()))))
