"""`POST /v1/embeddings`: mean-pooled last hidden states of the base model or of an adapter, of length 1."""

import asyncio
import base64
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response

from journeyman.engines.local.api.answers import caller_id, read_json
from journeyman.engines.local.api.body import read_as
from journeyman.engines.local.api.prompts import Prompts, read_prompts
from journeyman.engines.local.api.served import ServedModel
from journeyman.engines.local.network.model import LocalModel
from journeyman.errors import ContextTooLong, InvalidInput
from journeyman.records import new_id

MOST_INPUTS = 2048
"""Of one call, as at OpenAI."""
TOKENS_AT_ONCE = 1024
"""Between two groups of about this size, the replies that others wait for go on."""


class EmbeddingsBody(BaseModel):
    """Texts, or their token ids, to embed."""

    model_config = ConfigDict(extra="forbid")

    model: str
    input: Prompts
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1)
    """Accepted where it is what the model has anyway: a cut vector would be no embedding of this model."""
    user: str | None = None
    """Read by the gateway when it captures; the engine has no use for it."""


class EmbeddingsRoute:
    """Answers `POST /v1/embeddings`."""

    def __init__(self, served: ServedModel) -> None:
        self._served = served
        self._hidden = served.model.hidden

    async def answer(self, request: HTTPRequest) -> Response:
        """The route itself."""
        body = read_as(EmbeddingsBody, _without_nulls(await read_json(request)))
        adapter, tokenizer = self._served.find(body.model)
        prompts = read_prompts(tokenizer, body.input)
        if len(prompts) > MOST_INPUTS:
            raise InvalidInput(f"input: {len(prompts)} texts in one call; send at most {MOST_INPUTS}")
        context = self._served.model.context
        for prompt in prompts:
            if len(prompt) > context:
                raise ContextTooLong(len(prompt), context, "input")
            self._served.check_known(prompt)
        if body.dimensions not in (None, self._hidden):
            raise InvalidInput(f"dimensions: embeddings of {body.model} have {self._hidden}; leave it out")
        vectors = await self._embed(prompts, adapter, caller_id(request) or new_id())
        return JSONResponse(_answer(body, vectors, sum(map(len, prompts))))

    async def _embed(self, prompts: Sequence[Sequence[int]], adapter: str | None, id: str) -> torch.Tensor:
        found = []
        for group in _groups(prompts):
            work = self._served.scheduler.call(_embedding(group, adapter, self._served, id))
            found.append(await asyncio.wrap_future(work))
        return torch.cat(found)


def _embedding(
    group: Sequence[Sequence[int]], adapter: str | None, served: ServedModel, id: str
) -> Callable[[LocalModel], torch.Tensor]:
    def work(model: LocalModel) -> torch.Tensor:
        vectors = model.embed(group, adapter)
        served.scheduler.counters.serve(id, adapter, sum(map(len, group)), 0, 0, "stop")
        return vectors

    return work


def _groups(prompts: Sequence[Sequence[int]]) -> Iterator[Sequence[Sequence[int]]]:
    first, size = 0, 0
    for place, prompt in enumerate(prompts):
        if size and size + len(prompt) > TOKENS_AT_ONCE:
            yield prompts[first:place]
            first, size = place, 0
        size += len(prompt)
    yield prompts[first:]


def _answer(body: EmbeddingsBody, vectors: torch.Tensor, tokens: int) -> dict[str, Any]:
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _written(vector, body.encoding_format)}
            for index, vector in enumerate(vectors)
        ],
        "model": body.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _written(vector: torch.Tensor, form: str) -> list[float] | str:
    if form == "float":
        return vector.tolist()
    return base64.b64encode(vector.numpy().astype("<f4").tobytes()).decode()


def _without_nulls(parsed: object) -> object:
    # Clients send null for "not given".
    return {name: value for name, value in parsed.items() if value is not None} if isinstance(parsed, dict) else parsed
