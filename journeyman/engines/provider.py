"""An engine behind the OpenAI API: our own gateway, our local engine, vLLM, or any provider."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import aiohttp
from pydantic import SecretStr
from pydantic_core import from_json

from journeyman.engines.completion import error_message, read_completion
from journeyman.engines.engine import Reply
from journeyman.engines.headers import SESSION, TAGS, write_tags
from journeyman.errors import InvalidInput, JourneymanError, NotFound, UpstreamFailed
from journeyman.records import Message, Sampling, Tool, Usage


class ProviderEngine:
    """Asks a server for whole replies over one pool of connections; use it as `async with ProviderEngine(url)`.

    `base_url` ends with the API's version, such as `http://127.0.0.1:8600/v1`; `timeout` bounds each call, in seconds.
    """

    def __init__(self, base_url: str, api_key: str | SecretStr | None = None, timeout: float = 600.0) -> None:
        self.base_url = base_url.rstrip("/")
        self._key = api_key.get_secret_value() if isinstance(api_key, SecretStr) else api_key
        self._timeout = timeout
        self._client: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._client = aiohttp.ClientSession(
            headers={"authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=aiohttp.ClientTimeout(total=self._timeout, sock_connect=min(10.0, self._timeout)),
            # Most servers close an idle connection after 5 s; ours must not be used at that very moment.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Give the connections back."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def reply(
        self,
        model: str,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        sampling: Sampling = Sampling(),
        *,
        session: str | None = None,
        tags: dict[str, str] | None = None,
    ) -> Reply:
        """The model's reply. NotFound for an unknown model, InvalidInput for a request that the server refuses,
        UpstreamFailed for everything else; each carries the server's own words."""
        body: dict[str, Any] = {"model": model, "messages": [message.wire() for message in messages]}
        if tools:
            body["tools"] = [tool.wire() for tool in tools]
        headers = {SESSION: session} if session else {}
        if tags:
            headers[TAGS] = write_tags(tags)
        started = time.monotonic()
        status, answer = await self._post(body | sampling.wire(), headers)
        latency = time.monotonic() - started
        if status != 200:
            raise _failure(self.base_url, model, status, answer)
        try:
            completion = read_completion(from_json(answer))
        except (ValueError, InvalidInput) as error:
            raise UpstreamFailed(f"{self.base_url} answered with something unreadable: {error}") from error
        if not completion.choices:
            raise UpstreamFailed(f"{self.base_url} answered without a choice")
        return Reply(
            choices=completion.read_choices(),
            usage=completion.read_usage() or Usage(),
            latency=latency,
            served=completion.model or model,
        )

    async def _post(self, body: dict[str, Any], headers: dict[str, str]) -> tuple[int, bytes]:
        if self._client is None:
            raise RuntimeError("ProviderEngine is closed; use it as `async with ProviderEngine(url) as engine`")
        url = f"{self.base_url}/chat/completions"
        try:
            async with self._client.post(url, json=body, headers=headers) as response:
                return response.status, await response.read()
        except TimeoutError as error:
            raise UpstreamFailed(
                f"{self.base_url} did not answer within {self._timeout:g} s; allow more time, or ask for fewer tokens",
                504,
            ) from error
        except aiohttp.ClientError as error:
            raise UpstreamFailed(
                f"{self.base_url} cannot be reached ({error}); check that the server runs and that the URL is right"
            ) from error


def _failure(url: str, model: str, status: int, answer: bytes) -> JourneymanError:
    """The error that says what the server said."""
    try:
        said = error_message(from_json(answer))
    except ValueError:
        said = None
    said = said or answer[:500].decode(errors="replace") or "nothing"
    if status == 404:
        missing = NotFound("model", model, ())
        missing.args = (said,)
        return missing
    if status in (400, 413, 422):
        return InvalidInput(said)
    return UpstreamFailed(f"{url} answered {status}: {said}", status if status >= 500 else 502)
