"""Puts an installation together: the store, the engine in its own process, and the gateway."""

import asyncio
import errno
import gc
import ipaddress
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from functools import partial

import uvicorn

from journeyman.config import Settings
from journeyman.engines.attached import AttachedEngine
from journeyman.engines.models import find_model
from journeyman.engines.process import EngineProcess
from journeyman.engines.supervisor import SupervisedEngine
from journeyman.engines.vllm import check_vllm, vllm_process
from journeyman.errors import InvalidInput, PortInUse, Refused
from journeyman.gateway.app import Gateway
from journeyman.gateway.ingesting import IngesterProcess
from journeyman.gateway.keys import has_keys
from journeyman.gateway.server import Http
from journeyman.store.sql import open_store
from journeyman.store.store import Store

DEFAULT_MODEL = "smollm2-135m"
_LAST_CALLS_SECONDS = 10


ServingEngine = SupervisedEngine | AttachedEngine


def choose_engine(settings: Settings, model: str | None) -> ServingEngine:
    """The engine that the settings name, over the base model `model`; not started yet.

    An engine that runs already knows its models: None takes its first. NotFound or InvalidInput say what is missing.
    """
    if settings.engine.startswith(("http://", "https://")):
        return AttachedEngine(settings.engine, settings, model)
    if settings.engine not in ("local", "vllm"):
        raise InvalidInput(f"engine: {settings.engine!r} is none; there is local, vllm, and http://… of one that runs")
    folder = find_model(settings, model or DEFAULT_MODEL)
    if settings.engine == "vllm":
        check_vllm(settings)
        return SupervisedEngine(vllm_process(folder, folder.name, settings))
    process = EngineProcess.local(
        folder, folder.name, settings.home,
        threads=settings.threads, precision=settings.precision, arguments=settings.local_arguments,
    )  # fmt: skip
    return SupervisedEngine(process)


async def serve(
    settings: Settings, engine: ServingEngine | None = None, *, ready: Callable[[str], None] | None = None
) -> None:
    """Serve until SIGINT or SIGTERM; `ready` is told the gateway's URL once calls are answered.

    Without an engine only providers answer. A port in use is PortInUse before anything is started. On the way out,
    calls under way get ten seconds, what was captured is stored, and the engine is stopped if we started it.
    """
    with closing(open_store(settings)) as store, closing(_listen(settings, store)) as listener:
        url = f"http://{settings.host}:{listener.getsockname()[1]}"
        starting = asyncio.create_task(engine.start() if engine else asyncio.sleep(0))
        servers: list[GatewayServer] = []
        stopping = asyncio.Event()

        def stop() -> None:
            stopping.set()
            starting.cancel()
            for server in servers:
                server.should_exit = True

        with _on_stop_signals(stop):
            try:
                await starting
                async with IngesterProcess(settings.home):
                    gateway = Gateway(store, settings, engine, embedded=False)
                    # What is here by now stays: looking through it again and again took a twelfth of a call's time.
                    gc.collect()
                    gc.freeze()
                    gc.set_threshold(20_000, 20, 50)
                    servers.append(GatewayServer(gateway, partial(ready, url) if ready else None))
                    await servers[0].serve(sockets=[listener])
            except asyncio.CancelledError:
                if not stopping.is_set():
                    raise
            finally:
                if engine is not None:
                    await engine.stop()


def run(coroutine: Coroutine[None, None, None]) -> None:
    """Run to the end on the fastest event loop there is (uvloop, where it is installed)."""
    with asyncio.Runner(loop_factory=uvicorn.Config("", loop="auto").get_loop_factory()) as runner:
        runner.run(coroutine)


def listen(host: str, port: int, *, keys: bool = False) -> socket.socket:
    """A listening socket; PortInUse when another program has the port.

    Without `keys`, which callers must have, Refused for an address that others can reach.
    """
    if not keys and not _is_loopback(host):
        raise Refused(
            f"no keys are configured, so anyone who reaches {host} could use your models and read what is captured; "
            "nothing was started. Make a key with `journeyman keys add NAME`, or listen on --host 127.0.0.1"
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


def _listen(settings: Settings, store: Store) -> socket.socket:
    return listen(settings.host, settings.port, keys=has_keys(store))


class GatewayServer(uvicorn.Server):
    """A gateway under uvicorn, which leaves signals to us: it would raise them again in the middle of our clean-up."""

    def __init__(self, gateway: Gateway, announce: Callable[[], None] | None = None) -> None:
        super().__init__(
            uvicorn.Config(
                gateway,
                http=Http,
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
