"""An engine that somebody else started: found by its URL, watched, and never stopped by us."""

import asyncio
import contextlib
import logging
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from pydantic import BaseModel, ValidationError

from journeyman.config import Settings
from journeyman.engines.dialect import LOCAL, SERVING_ONLY, Dialect, vllm_dialect
from journeyman.engines.health import Health
from journeyman.errors import NotFound, UpstreamFailed

CHECK_EVERY = 10.0
DOWN_AFTER = 2
"""Failed checks in a row after which callers are told that it is down."""
_CONNECT_SECONDS = 10.0
_OURS = "journeyman"

log = logging.getLogger(__name__)


class _Model(BaseModel):
    id: str
    owned_by: str = ""
    parent: str | None = None
    root: str | None = None


class _Models(BaseModel):
    data: list[_Model]


class AttachedEngine:
    """A server that speaks the OpenAI API and takes adapters by vLLM's routes; use it as `async with`.

    `url` may end with `/v1`. `name` is the base model to answer for; None takes the first that the server lists. Both
    machines must see the same adapter folders.
    """

    def __init__(self, url: str, settings: Settings, name: str | None = None, check_every: float = CHECK_EVERY) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        self.name = name or ""
        self.epoch = 0
        self.failure: str | None = None
        self.dialect: Dialect = LOCAL
        self.ends_with_us = False
        self._settings, self._check_every = settings, check_every
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def retry_after(self) -> float | None:
        """While it does not answer: until we look again."""
        return self._check_every if self.failure else None

    async def start(self) -> None:
        """Find out what it serves; UpstreamFailed when it cannot be reached, NotFound when it serves another model."""
        bases = [model for model in await self._models() if model.parent is None]
        found = next((model for model in bases if self.name in ("", model.id)), None)
        if found is None:
            raise NotFound("model", self.name, [model.id for model in bases], f"Asked the engine at {self.url}")
        self.name = found.id
        if found.owned_by != _OURS:
            self.dialect = vllm_dialect(self._folder(found))
        else:
            self.dialect = await self._own_dialect()
        self.epoch += 1
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Let go of it; it runs on."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
            self._watching = None

    @property
    def _is_foreign(self) -> bool:
        return not self.dialect.checks_adapters

    async def _own_dialect(self) -> Dialect:
        """How one of our own engines has to be asked, which depends on the numbers that it computes in."""
        try:
            health = await self._read("/healthz")
            return SERVING_ONLY if health["precision"] == "int8" else LOCAL
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
            raise UpstreamFailed(
                f"the engine at {self.url} does not say what it computes in ({type(error).__name__} at "
                f"{self.url}/healthz); nothing was started. Look at its log"
            ) from error

    def _folder(self, model: _Model) -> Path | None:
        """The base model's folder, if the model lies on this machine, too."""
        places = [Path(model.root)] if model.root else []
        places.append(self._settings.models / model.id)
        return next((place for place in places if (place / "config.json").is_file()), None)

    async def _watch(self) -> None:
        """Note when it goes, and when it is back; then it may be another process, which holds no adapters."""
        async with Health(self, self._check_every) as health:
            while True:
                await health.until(lambda failed: failed >= DOWN_AFTER)
                self.failure = (
                    f"the engine at {self.url} does not answer; what was captured is safe. Start it again: we look for "
                    f"it every {self._check_every:g} s"
                )
                log.warning("%s", self.failure)
                await health.until(lambda failed: failed == 0)
                if not self._is_foreign:
                    # It may compute in other numbers than before. If it is gone again, the next check will see that.
                    with contextlib.suppress(UpstreamFailed):
                        self.dialect = await self._own_dialect()
                self.epoch += 1
                self.failure = None
                log.warning("the engine at %s answers again", self.url)

    async def _models(self) -> list[_Model]:
        try:
            return _Models.model_validate(await self._read("/v1/models")).data
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UpstreamFailed(
                f"no engine can be reached at {self.url} ({error or 'no answer'}); nothing was started. Check the URL, "
                "and that the engine runs"
            ) from error
        except (ValidationError, ValueError) as error:
            raise UpstreamFailed(
                f"{self.url} answers, but {self.url}/v1/models is no list of models; nothing was started. Check the URL"
            ) from error

    async def _read(self, path: str) -> Any:
        timeout = aiohttp.ClientTimeout(total=_CONNECT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as client, client.get(self.url + path) as answer:
            return await answer.json(content_type=None)
