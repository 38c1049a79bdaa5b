"""Start the local engine: `python -m journeyman.engines.local --model FOLDER --name NAME`.

Prints `ready URL` once it serves. SIGTERM, Ctrl-C and `POST /drain` make it finish what runs and then end; a second
signal makes it end at once. With `--exit-with-stdin` it ends when its standard input closes, so that it
never outlives the process that started it, however that one ended.
"""

import argparse
import asyncio
import os
import socket
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import get_args

import torch
import uvicorn

from journeyman.engines.local.api.server import EngineServer
from journeyman.engines.local.network.model import LocalModel
from journeyman.engines.local.network.precision import Precision
from journeyman.engines.models import check_model
from journeyman.errors import JourneymanError

_SHUTDOWN_SECONDS = 5
"""How long connections may stay open once nothing is being written any more."""
_KEEP_ALIVE_SECONDS = 75
"""Longer than clients keep an idle connection: one that we close is one on which they may just be sending a request."""


class _Server(uvicorn.Server):
    """A server that says where it listens as soon as it does, and that finishes its work before it ends."""

    def __init__(self, config: uvicorn.Config, engine: EngineServer, drain_seconds: float) -> None:
        super().__init__(config)
        self._engine, self._drain_seconds = engine, drain_seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None
        self._asked = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        self._draining = asyncio.create_task(self._end_when_drained())
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        print(f"ready http://{host}:{port}", flush=True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second one ends."""
        if self._loop is None or self._asked:
            self.force_exit = True
            super().handle_exit(sig, frame)
            return
        self._asked = True
        self._loop.call_soon_threadsafe(self._engine.start_draining)

    async def _end_when_drained(self) -> None:
        try:
            await self._engine.drained(self._drain_seconds)
        finally:
            self.should_exit = True


def main() -> None:
    """Load the model, then serve until stopped."""
    parser = argparse.ArgumentParser(prog="journeyman.engines.local", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of a Hugging Face model")
    parser.add_argument("--name", required=True, help="the name clients call the base model by")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free port")
    parser.add_argument("--precision", choices=get_args(Precision), default="auto")
    parser.add_argument("--rows", type=int, default=32, help="requests computed at once")
    parser.add_argument("--context", type=int, default=4096, help="longest prompt and reply together, in tokens")
    parser.add_argument("--cache-tokens", type=int, default=65_536, help="tokens of all requests held at once")
    parser.add_argument("--adapter-memory", type=int, default=2048, help="MiB for adapters; the others are on disk")
    parser.add_argument("--threads", type=int, help="threads of PyTorch; its own choice when absent")
    parser.add_argument("--queue", type=int, default=512, help="requests that may wait; more are told to come back")
    parser.add_argument("--drain-seconds", type=float, default=30, help="how long what runs may go on after the end")
    parser.add_argument("--adapters", type=Path, help="the only folder from which adapters are loaded; any when absent")
    parser.add_argument("--exit-with-stdin", action="store_true")
    options = parser.parse_args()
    threads = options.threads or torch.get_num_threads()
    # OpenMP keeps a pool for each thread that computes. With a second pool, this thread's, it would count more threads
    # than cores and let the engine's go to sleep after every operation: a decoding step took twice as long.
    torch.set_num_threads(1)
    if options.exit_with_stdin:
        threading.Thread(target=_exit_with_stdin, daemon=True).start()
    try:
        check_model(options.model)
        model = LocalModel(
            options.model, precision=options.precision, context=options.context, cache_tokens=options.cache_tokens,
            adapter_bytes=options.adapter_memory << 20,
        )  # fmt: skip
        engine = EngineServer(
            model, options.name, threads, rows=options.rows, queue=options.queue, adapter_store=options.adapters,
            host=options.host,
        )  # fmt: skip
    except JourneymanError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    try:
        config = uvicorn.Config(
            engine.app(), options.host, options.port, log_level="warning", access_log=False,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS, timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )  # fmt: skip
        asyncio.run(_Server(config, engine, options.drain_seconds).serve())
    finally:
        engine.close()


def _exit_with_stdin() -> None:
    # Below Python's buffers: a thread that waits inside them would abort an interpreter that exits meanwhile.
    while os.read(sys.stdin.fileno(), 4096):
        continue
    os._exit(0)


if __name__ == "__main__":
    main()
