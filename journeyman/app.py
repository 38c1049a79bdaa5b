"""Puts an installation together: the store, the local engine in its own process, and the gateway."""

import asyncio
import errno
import ipaddress
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import uvicorn

from journeyman.config import Settings
from journeyman.engines.process import EngineProcess
from journeyman.errors import PortInUse, Refused
from journeyman.gateway.app import Gateway
from journeyman.store.sql import open_store

_LAST_CALLS_SECONDS = 10


async def serve(
    settings: Settings, model: Path | None = None, name: str = "", *, ready: Callable[[str], None] | None = None
) -> None:
    """Serve until SIGINT or SIGTERM; `ready` is told the gateway's URL once calls are answered.

    `model` is the folder of the local engine's weights, called `name` by clients; None serves providers only. A port
    in use is PortInUse before anything is started. On the way out, calls under way get ten seconds, what was captured
    is stored, and the engine is stopped.
    """
    with closing(listen(settings.host, settings.port)) as listener, closing(open_store(settings)) as store:
        url = f"http://{settings.host}:{listener.getsockname()[1]}"
        engine = EngineProcess.local(model, name, settings.home, threads=settings.threads) if model else None
        server = GatewayServer(Gateway(store, settings, engine), partial(ready, url) if ready else None)
        starting = asyncio.create_task(engine.start() if engine else asyncio.sleep(0))

        def stop() -> None:
            server.should_exit = True
            starting.cancel()

        with _on_stop_signals(stop):
            try:
                await starting
                await server.serve(sockets=[listener])
            except asyncio.CancelledError:
                if not server.should_exit:
                    raise
            finally:
                if engine is not None:
                    await engine.stop()


def run(coroutine: Coroutine[None, None, None]) -> None:
    """Run to the end on the fastest event loop there is (uvloop, where it is installed)."""
    with asyncio.Runner(loop_factory=uvicorn.Config("", loop="auto").get_loop_factory()) as runner:
        runner.run(coroutine)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; PortInUse when another program has the port, Refused for an address that others can reach."""
    if not _is_loopback(host):
        raise Refused(
            f"no keys are configured, so anyone who reaches {host} could use your models and read what is captured; "
            "nothing was started. Listen on --host 127.0.0.1, and let others in through a proxy that asks for a key"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise PortInUse(
            f"port {port} on {host} is used by another program, perhaps another `journeyman up`; nothing was started. "
            f"Stop that one, or choose another port with --port {port + 1}"
        ) from error


class GatewayServer(uvicorn.Server):
    """A gateway under uvicorn, which leaves signals to us: it would raise them again in the middle of our clean-up."""

    def __init__(self, gateway: Gateway, announce: Callable[[], None] | None = None) -> None:
        super().__init__(
            uvicorn.Config(
                gateway,
                lifespan="on",
                ws="none",
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=_LAST_CALLS_SECONDS,
            )
        )
        self._announce = announce

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then announce it."""
        await super().startup(sockets)
        if self.started and self._announce is not None:
            self._announce()


@contextmanager
def _on_stop_signals(stop: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
