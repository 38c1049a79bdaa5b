"""The engine behind HTTP with everything that a test may want to know about it."""

import asyncio
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from journeyman.engines.local.api.server import EngineServer
from journeyman.engines.local.network.model import LocalModel
from tests.engines.local.conftest import WAIT, Served


@dataclass
class ServedEngine(Served):
    """An engine on a loopback port, and the loop it runs on."""

    loop: asyncio.AbstractEventLoop

    def get(self, path: str) -> Any:
        """The JSON that a path answers."""
        with urllib.request.urlopen(self.url + path, timeout=WAIT) as answer:
            return json.loads(answer.read())

    def load(self, name: str, folder: Path) -> None:
        """Load an adapter."""
        status, content = self.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})
        assert status == 200, content

    def wait_for(self, path: str, holds: Callable[[dict[str, Any]], bool]) -> None:
        """Return once `holds` is true of the JSON that a path answers."""
        deadline = time.monotonic() + WAIT
        while not holds(self.get(path)):
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.005)


@contextmanager
def serving(folder: Path, **options: Any) -> Iterator[ServedEngine]:
    """The engine named `tiny` over a model folder, served by uvicorn in a thread."""
    model = LocalModel(folder, precision="float32")
    engine = EngineServer(model, "tiny", **options)
    server = uvicorn.Server(uvicorn.Config(engine.app(), "127.0.0.1", 0, log_level="error"))
    listening: list[asyncio.AbstractEventLoop] = []
    started = threading.Event()
    startup = server.startup

    async def announced(sockets: Any = None) -> None:
        await startup(sockets)
        listening.append(asyncio.get_running_loop())
        started.set()

    server.startup = announced
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert started.wait(WAIT)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield ServedEngine(f"http://127.0.0.1:{port}", engine, model, listening[0])
    finally:
        server.should_exit = True
        thread.join(WAIT)
        engine.close()


@pytest.fixture(scope="module")
def served(tiny: Path, loras: dict[str, Path]) -> Iterator[ServedEngine]:
    """The engine named `tiny` with its adapters."""
    with serving(tiny) as served:
        for name, path in loras.items():
            served.load(name, path)
        yield served


@pytest.fixture
def serve(tiny: Path) -> Iterator[Callable[..., ServedEngine]]:
    """Serves engines of one's own, with options, until the test is over."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(serving(tiny, **options))
