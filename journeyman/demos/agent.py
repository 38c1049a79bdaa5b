"""The example agent's road to its model: the stock OpenAI client, with nothing changed but the base URL."""

import time
from collections.abc import Sequence
from typing import Any

from openai import AsyncOpenAI

from journeyman.engines.completion import read_completion
from journeyman.engines.engine import Reply
from journeyman.engines.headers import SESSION, TAGS, write_tags
from journeyman.records import Message, Sampling, Tool, Usage


class StockClientEngine:
    """An Engine that asks through `openai.AsyncOpenAI`, as an agent in production would."""

    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client

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
        """The model's reply; the client's own exceptions when there is none."""
        headers = {SESSION: session} if session else {}
        if tags:
            headers[TAGS] = write_tags(tags)
        started = time.monotonic()
        body: dict[str, Any] = {
            "model": model,
            "messages": [message.wire() for message in messages],
            "tools": [tool.wire() for tool in tools],
            **sampling.wire(),
        }
        answer = await self._client.chat.completions.create(**body, extra_headers=headers)
        completion = read_completion(answer.model_dump(exclude_unset=True))
        return Reply(
            choices=completion.read_choices(),
            usage=completion.read_usage() or Usage(),
            latency=time.monotonic() - started,
            served=completion.model or model,
        )
