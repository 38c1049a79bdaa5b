"""A gateway with a key in front of the small provider, served by uvicorn in a thread as `journeyman up` serves it."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from journeyman.app import GatewayServer, run
from journeyman.config import Provider as ProviderSettings
from journeyman.config import Settings
from journeyman.gateway.app import Gateway
from journeyman.gateway.keys import hash_of
from journeyman.records import ApiKey, Exchange
from journeyman.store.memory import MemoryStore
from journeyman.store.store import Store
from tests.clients.provider import Provider

KEY = "jm-" + "c" * 43
PROVIDER_KEY = "sk-the-providers-own"
SESSION = "x-journeyman-session"


@dataclass
class Serving:
    """The running gateway as clients see it, and what it kept."""

    url: str
    gateway: Gateway
    store: Store
    provider: Provider

    @property
    def v1(self) -> str:
        """What OpenAI's clients take as their base URL."""
        return f"{self.url}/v1"

    def exchanges(self, session: str, count: int) -> list[Exchange]:
        """The calls of a session in the order in which they were made, once there are `count`, all with their end."""
        found: list[Exchange] = []
        patience = time.monotonic() + 10
        while time.monotonic() < patience:
            self.gateway.settle(5)
            found = [each for each in self.store.find(Exchange, limit=1000) if each.session == session][::-1]
            if len(found) >= count and all(each.state not in ("started", "streaming") for each in found):
                break
            time.sleep(0.01)
        assert len(found) == count, f"{count} calls were made; there is {found}"
        return found


@contextlib.contextmanager
def serving(home: Path, provider: Provider, *keys: ApiKey, **more: object) -> Iterator[Serving]:
    """The gateway until the block ends; without keys anybody may ask. `more` are further settings."""
    here = f"http://127.0.0.1:{provider.port}/v1"
    providers = {
        "acme": ProviderSettings(base_url=here, api_key=PROVIDER_KEY),
        "open": ProviderSettings(base_url=here),
        "claude": ProviderSettings(base_url=here, api_key=PROVIDER_KEY, api="anthropic"),
        "nowhere": ProviderSettings(base_url="http://127.0.0.1:9/v1"),
    }
    store = MemoryStore()
    store.put(*keys)
    settings = Settings(home=home, providers=providers, upstream_timeout=5.0, **more)
    gateway, started = Gateway(store, settings), threading.Event()
    server = GatewayServer(gateway, started.set)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=lambda: run(server.serve(sockets=[listener])), daemon=True)
    with listener:
        thread.start()
        assert started.wait(10)
        try:
            yield Serving(f"http://127.0.0.1:{listener.getsockname()[1]}", gateway, store, provider)
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


def api_key(**more: object) -> ApiKey:
    """What the store keeps of KEY."""
    hashed = hash_of(KEY)
    return ApiKey(name="anna", hash=hashed, fingerprint=hashed[:12], **more)
