"""The local engine behind the OpenAI API: the gateway reaches it as it reaches any other server."""

import asyncio
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp

from journeyman.engines.local.api.adapters import AdapterRoutes
from journeyman.engines.local.api.answers import Handle, failed, guarded, no_such_route
from journeyman.engines.local.api.chat import ChatRoute
from journeyman.engines.local.api.completions import CompletionsRoute
from journeyman.engines.local.api.door import DRAIN, Door
from journeyman.engines.local.api.embeddings import EmbeddingsRoute
from journeyman.engines.local.api.openapi import document
from journeyman.engines.local.api.operation import OperationRoutes
from journeyman.engines.local.api.responses import ResponsesRoute
from journeyman.engines.local.api.served import ServedModel, check_words
from journeyman.engines.local.api.tokens import TokenRoutes
from journeyman.engines.local.network.model import LocalModel
from journeyman.engines.local.scheduler import Scheduler
from journeyman.rendering.chat import ChatTokenizer

READ_SECONDS = 3.0
"""How long the last counts are kept for whoever follows them, once everything else is over."""


class EngineServer:
    """One base model and its adapters behind HTTP.

    At most `rows` requests are computed together and `queue` more may wait; adapters are taken from below
    `adapter_store` only, where one is given; `host` is the address that it is served on.
    """

    def __init__(
        self, model: LocalModel, name: str, threads: int | None = None, *,
        rows: int = 32, queue: int = 512, adapter_store: Path | None = None, host: str = "127.0.0.1",
    ) -> None:  # fmt: skip
        # What may be refused comes first: once the scheduler runs, it has to be stopped.
        tokenizer = ChatTokenizer(model.folder)
        check_words(tokenizer, model.vocabulary)
        self._scheduler = Scheduler(model, threads, rows=rows, waiting=queue)
        self._adapter_store = adapter_store
        self._served = ServedModel(name, model, self._scheduler, {None: tokenizer})
        self._door = Door(host)
        self._operation = OperationRoutes(self._served, self._door)

    def app(self) -> ASGIApp:
        """The ASGI application."""
        return self._door.around(
            Starlette(
                routes=[*self._answering(), *self._operating()],
                exception_handlers={HTTPException: no_such_route, Exception: failed},
            )
        )

    def close(self) -> None:
        """Stop the engine's thread; replies that are not finished end with an error."""
        self._scheduler.close()

    def start_draining(self) -> None:
        """Turn away what is new from now on; `drained` waits for the rest."""
        self._door.leaving.set()

    async def drained(self, seconds: float) -> None:
        """Wait until somebody asks to drain and what runs is finished; after `seconds` the rest is cut off."""
        await self._door.leaving.wait()
        if not await self._door.until_idle(seconds):
            await asyncio.to_thread(self.close)
            await self._door.until_idle(READ_SECONDS)
        # Whoever meters reads what was counted last; without this, the end of the process would outrun the reader.
        await self._operation.until_all_seen(READ_SECONDS)

    def _answering(self) -> list[Route]:
        adapters, tokens = AdapterRoutes(self._served, self._adapter_store), TokenRoutes(self._served)
        return [
            _post("/v1/chat/completions", ChatRoute(self._served).answer),
            _post("/v1/completions", CompletionsRoute(self._served).answer),
            _post("/v1/responses", ResponsesRoute(self._served).answer),
            _post("/v1/embeddings", EmbeddingsRoute(self._served).answer),
            _get("/v1/models", adapters.models),
            _get("/v1/models/{name:path}", adapters.model),
            _post("/v1/load_lora_adapter", adapters.load),
            _post("/v1/unload_lora_adapter", adapters.unload),
            *(_post(f"{prefix}/tokenize", tokens.tokenize) for prefix in ("", "/v1")),
            *(_post(f"{prefix}/detokenize", tokens.detokenize) for prefix in ("", "/v1")),
        ]

    def _operating(self) -> list[Route]:
        operation = self._operation
        return [
            _get("/healthz", operation.health),
            _get("/metrics", operation.metrics),
            _get("/v1/counters", operation.counters),
            _get("/v1/served", operation.served),
            _post(DRAIN, operation.drain),
            _get("/openapi.json", document),
        ]


def _get(path: str, handle: Handle) -> Route:
    return Route(path, guarded(handle), methods=["GET"])


def _post(path: str, handle: Handle) -> Route:
    return Route(path, guarded(handle), methods=["POST"])
