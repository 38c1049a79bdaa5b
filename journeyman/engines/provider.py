"""An engine behind the OpenAI API: our own gateway, our local engine, vLLM, or any provider."""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from pydantic import SecretStr
from pydantic_core import from_json

from journeyman.engines.completion import error_code, error_message, read_completion
from journeyman.engines.engine import Reply
from journeyman.engines.headers import SESSION, TAGS, write_tags
from journeyman.errors import ContextTooLong, InvalidInput, JourneymanError, NotFound, UpstreamFailed
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
        answer = await self._post("chat/completions", body | sampling.wire(), headers, model)
        latency = time.monotonic() - started
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

    async def load(self, name: str, folder: Path) -> None:
        """Ask the server to answer under the adapter in `folder`, by vLLM's route; it must see the same folder.

        InvalidInput, in the server's words, when it refuses; loading what it holds already changes nothing.
        """
        try:
            await self._post("load_lora_adapter", {"lora_name": name, "lora_path": str(folder)}, {}, name)
        except NotFound as error:
            raise InvalidInput(str(error)) from error
        except UpstreamFailed as error:
            # vLLM calls an adapter that it cannot serve an error of its own.
            if error.status != 500:
                raise
            raise InvalidInput(str(error)) from error
        except InvalidInput:
            # vLLM refuses a name that it holds; it is the same adapter when its folder is.
            if await self._folder_of(name) != str(folder):
                raise

    async def unload(self, name: str) -> None:
        """Ask the server to forget an adapter, by vLLM's route; NotFound when it holds none of that name."""
        await self._post("unload_lora_adapter", {"lora_name": name}, {}, name)

    async def served(self) -> dict[str, str | None]:
        """Each name that the server answers to, and the folder of its weights where it says so."""
        answer = await self._get("models")
        try:
            return {str(model["id"]): model.get("root") for model in from_json(answer)["data"]}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UpstreamFailed(f"{self.base_url}/models answered with something unreadable: {error}") from error

    async def _folder_of(self, name: str) -> str | None:
        with contextlib.suppress(NotFound, UpstreamFailed):
            return (await self.served()).get(name)
        return None

    async def _post(self, path: str, body: dict[str, Any], headers: dict[str, str], asked: str) -> bytes:
        return await self._ask("POST", path, asked, json=body, headers=headers)

    async def _get(self, path: str) -> bytes:
        return await self._ask("GET", path, path)

    async def _ask(self, method: str, path: str, asked: str, **sent: Any) -> bytes:
        """The body of a good answer; the error that says what the server said instead."""
        if self._client is None:
            raise RuntimeError("ProviderEngine is closed; use it as `async with ProviderEngine(url) as engine`")
        try:
            async with self._client.request(method, f"{self.base_url}/{path}", **sent) as response:
                answer = await response.read()
        except TimeoutError as error:
            raise UpstreamFailed(
                f"{self.base_url} did not answer within {self._timeout:g} s; allow more time, or ask for fewer tokens",
                504,
            ) from error
        except aiohttp.ClientError as error:
            raise UpstreamFailed(
                f"{self.base_url} cannot be reached ({error}); check that the server runs and that the URL is right"
            ) from error
        if response.status != 200:
            raise _failure(self.base_url, asked, response.status, answer, response.headers.get("retry-after", ""))
        return answer


def _failure(url: str, model: str, status: int, answer: bytes, retry_after: str) -> JourneymanError:
    """The error that says what the server said."""
    try:
        told = from_json(answer)
    except ValueError:
        told = None
    said = error_message(told) or answer[:500].decode(errors="replace") or "nothing"
    if status == 404:
        missing = NotFound("model", model, ())
        missing.args = (said,)
        return missing
    if status in (400, 413, 422):
        if error_code(told) != ContextTooLong.code:
            return InvalidInput(said)
        too_long = ContextTooLong(0, 0)
        too_long.args = (said,)
        return too_long
    again = float(retry_after) if retry_after.isdigit() else None
    return UpstreamFailed(f"{url} answered {status}: {said}", status if status >= 500 else 502, again)
