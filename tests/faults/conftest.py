"""A whole installation under load, and an upstream that counts what it was asked: what was sent must be in the store.

With `JOURNEYMAN_FAULTS=FILE` the counts of each fault are written there as JSON.
"""

import asyncio
import io
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from journeyman.records import Exchange
from journeyman.store.sql import SqlStore

WORDS = [f"word{number} " for number in range(50)]
_MODEL = "acme/m"


def events() -> list[bytes]:
    """A stream of 52 events, as the upstream sends it."""
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    deltas = [({"content": word}, None) for word in WORDS] + [({}, "stop")]
    said = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": end}]} for delta, end in deltas]
    return [*(b"data: " + json.dumps(each).encode() + b"\n\n" for each in said), b"data: [DONE]\n\n"]


EVENTS = events()
WHOLE = {
    "id": "c1", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "".join(WORDS)}, "finish_reason": "stop"},
    ],
    "usage": {"prompt_tokens": 12, "completion_tokens": 50, "total_tokens": 62},
}  # fmt: skip


@dataclass
class Upstream:
    """Counts the calls by their name.

    `cut` tells after how many events a stream's connection is cut, and `cut_bytes` after how many more bytes; of an
    answer that is no stream, after how many bytes.
    """

    url: str = ""
    asked: Counter[str] = field(default_factory=Counter)
    pace: float = 0.0
    cut: dict[str, int] = field(default_factory=dict)
    cut_bytes: dict[str, int] = field(default_factory=dict)
    stream: list[bytes] = field(default_factory=lambda: EVENTS)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One chat completion."""
        body = json.loads(await request.read())
        name = body["messages"][0]["content"][:40]
        self.asked[name] += 1
        if not body.get("stream"):
            await asyncio.sleep(self.pace)
            return await self._cut_whole(request, name) if name in self.cut else web.json_response(WHOLE)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for number, event in enumerate(self.stream):
            if number == self.cut.get(name):
                return await _abort(request, response, event[: self.cut_bytes.get(name, 0)])
            await response.write(event)
            if self.pace:
                await asyncio.sleep(self.pace)
            elif name in self.cut:
                await asyncio.sleep(0.001)
        return response

    async def _cut_whole(self, request: web.Request, name: str) -> web.StreamResponse:
        whole = json.dumps(WHOLE).encode()
        response = web.StreamResponse(headers={"content-type": "application/json", "content-length": str(len(whole))})
        await response.prepare(request)
        return await _abort(request, response, whole[: self.cut[name]])


async def _abort(request: web.Request, response: web.StreamResponse, last: bytes) -> web.StreamResponse:
    """Cut the connection behind these bytes."""
    if last:
        await response.write(last)
        await asyncio.sleep(0.002)
    assert request.transport is not None
    request.transport.abort()
    return response


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    counting = Upstream()
    app = web.Application(client_max_size=1 << 30)
    app.router.add_post("/v1/chat/completions", counting.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    counting.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield counting
    await runner.cleanup()


@dataclass
class Installation:
    """`journeyman up` in a process of its own, with its ingester; started, killed and counted by the tests."""

    home: Path
    upstream: Upstream
    process: asyncio.subprocess.Process | None = None
    url: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    _killed: set[int] = field(default_factory=set)
    _ingesters: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """In which its processes run."""
        providers = json.dumps({"acme": {"base_url": self.upstream.url}})
        return {**os.environ, "JOURNEYMAN_HOME": str(self.home), "JOURNEYMAN_PROVIDERS": providers, **self.settings}

    @property
    def database(self) -> str:
        """Where its store is."""
        return self.settings.get("JOURNEYMAN_DATABASE_URL", f"sqlite:///{self.home / 'journeyman.db'}")

    async def start(self) -> None:
        """Until it answers."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "journeyman", "up", "--model", "none", "--port", "0",
            stdout=asyncio.subprocess.PIPE, env=self.environment,
        )  # fmt: skip
        assert self.process.stdout is not None
        async with asyncio.timeout(180):
            while "listens on" not in (line := (await self.process.stdout.readline()).decode()):
                assert line, "it ended before it listened"
        self.url = line.split("listens on ")[1].split()[0]

    async def ingests(self) -> None:
        """Wait until the first calls are in the store."""
        async with asyncio.timeout(60):
            while not (await self.health())["ingester"].get("stored"):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)

    async def kill(self) -> None:
        """kill -9 of the gateway."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()
        self.process = None

    async def stop(self) -> None:
        """As Ctrl-C does."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            assert await self.process.wait() == 0
            self.process = None

    async def kill_ingester(self) -> None:
        """kill -9 of the ingester that works, once it does, and a new one in its place.

        The gateway starts its own again, too, but ever later when that dies often.
        """
        told = self.home / "spool" / "ingester.json"
        async with asyncio.timeout(60):
            while not told.exists() or (pid := json.loads(told.read_bytes())["pid"]) in self._killed:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        os.kill(pid, signal.SIGKILL)
        self._killed.add(pid)
        self._ingesters.append(await self._start_ingester(asyncio.subprocess.PIPE))

    async def end_ingesters(self) -> None:
        """Those that were started in another's place."""
        for each in self._ingesters:
            if each.stdin is not None:
                each.stdin.close()
        async with asyncio.timeout(60):
            await asyncio.gather(*(each.wait() for each in self._ingesters))

    async def _start_ingester(self, stdin: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "journeyman.capture", "--home", str(self.home), stdin=stdin,
            stderr=asyncio.subprocess.DEVNULL, env=self.environment,
        )  # fmt: skip

    async def drain(self) -> None:
        """Bring the rest into the store: an ingester whose standard input is closed already."""
        until = time.monotonic() + 60
        while list((self.home / "spool").glob("*.spool")) and time.monotonic() < until:
            ingester = await self._start_ingester(asyncio.subprocess.DEVNULL)
            await ingester.wait()

    async def health(self) -> dict[str, Any]:
        """What the gateway tells of itself."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/healthz") as answer:
            return dict(await answer.json())

    def stored(self) -> dict[str, Exchange]:
        """All exchanges by the name of their call; a call that is there twice fails the test."""
        store = SqlStore(self.database)
        found: dict[str, Exchange] = {}
        after: str | None = None
        while page := store.find(Exchange, after=after):
            for each in page:
                name = str(each.messages[0].content)[:40]
                assert name not in found, f"{name} is in the store twice"
                found[name] = each
            after = page[-1].id
        store.close()
        return found


@pytest.fixture
async def installation(tmp_path: Path, upstream: Upstream) -> AsyncIterator[Installation]:
    made = Installation(tmp_path / "home", upstream)
    yield made
    if made.process is not None:
        await made.kill()
    await made.end_ingesters()


@dataclass
class Load:
    """Clients that ask one call after the other; `answered` are those that came whole, byte for byte."""

    installation: Installation
    sent: list[str] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    stopping: bool = False
    meanwhile: int = 0
    """How many were answered while something was away."""

    async def ask(self, session: aiohttp.ClientSession, name: str, **more: Any) -> bytes | None:
        """One call; None when the connection broke."""
        self.sent.append(name)
        body = {"model": _MODEL, "messages": [{"role": "user", "content": name}], **more}
        try:
            url, data = f"{self.installation.url}/v1/chat/completions", io.BytesIO(json.dumps(body).encode())
            async with session.post(url, data=data, headers={"content-type": "application/json"}) as answer:
                got = await answer.read()
        except aiohttp.ClientError:
            self.failed.add(name)
            return None
        right = b"".join(EVENTS) if more.get("stream") else None
        if answer.status == 200 and (got == right if right else json.loads(got) == WHOLE):
            self.answered.add(name)
        else:
            self.failed.add(name)
        return got

    async def client(self, who: str) -> None:
        """Ask until told to stop, or until nobody answers."""
        async with aiohttp.ClientSession() as session:
            number = 0
            while not self.stopping:
                name = f"{who} call {number}"
                if await self.ask(session, name, **({"stream": True} if number % 2 else {})) is None:
                    return
                number += 1


_counts = pytest.StashKey[dict[str, dict[str, Any]]]()


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Note what was sent, and what of it is stored in which state."""
    note = _noted(request.node)

    def counted(load: Load, stored: dict[str, Exchange], dropped: int = 0, **more: Any) -> None:
        note.update({
            "sent": len(load.sent), "asked": sum(load.installation.upstream.asked.values()), "stored": len(stored),
            "dropped": dropped, "states": dict(Counter(each.state for each in stored.values())),
            "failed_calls": len(load.failed), **more,
        })  # fmt: skip

    return counted


def _noted(item: pytest.Item) -> dict[str, Any]:
    [what] = [str(mark.args[0]) for mark in item.iter_markers("fault")]
    return item.config.stash.setdefault(_counts, {}).setdefault(what, {"outcome": "did not run"})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Whether the test held, or why it could not run, goes beside its counts; a failed setup or teardown counts."""
    report = yield
    if item.get_closest_marker("fault") and (report.when == "call" or report.outcome != "passed"):
        _noted(item)["outcome"] = report.outcome
        if isinstance(report.longrepr, tuple):
            _noted(item)["why"] = report.longrepr[2]
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """The counts of every fault go where `JOURNEYMAN_FAULTS` says."""
    if path := os.environ.get("JOURNEYMAN_FAULTS"):
        Path(path).write_text(json.dumps(session.config.stash.get(_counts, {}), indent=2) + "\n")
