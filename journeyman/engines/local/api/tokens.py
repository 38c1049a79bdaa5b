"""`POST /tokenize` and `/detokenize`, in vLLM's shapes: what the model will read, without asking it."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response

from journeyman.engines.local.api.answers import read_json
from journeyman.engines.local.api.body import check_tool_names, read_as
from journeyman.engines.local.api.prompts import TokenId, check_ids, encode
from journeyman.engines.local.api.served import ServedModel
from journeyman.errors import InvalidInput
from journeyman.records import Message, Tool


class TokenizeBody(BaseModel):
    """A plain `prompt`, or `messages` under the model's chat template."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = Field(None, min_length=1)
    tools: list[Tool] | None = None
    add_special_tokens: bool | None = None
    """Around a plain prompt; a chat template writes its own."""
    add_generation_prompt: Literal[True] = True
    return_token_strs: bool = False

    @model_validator(mode="after")
    def _one_of_two(self) -> "TokenizeBody":
        if (self.prompt is None) == (self.messages is None):
            raise InvalidInput("give either prompt or messages")
        if self.messages is not None and self.add_special_tokens:
            raise InvalidInput("add_special_tokens: only with prompt; the chat template writes its own")
        if self.prompt is not None and self.tools:
            raise InvalidInput("tools: only together with messages")
        return self


class DetokenizeBody(BaseModel):
    """Ids to read as text."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    tokens: list[TokenId]


class TokenRoutes:
    """Answers with what the tokenizer of a model, or of an adapter with a template of its own, makes of a text."""

    def __init__(self, served: ServedModel) -> None:
        self._served = served

    async def tokenize(self, request: HTTPRequest) -> Response:
        """`POST /tokenize`: text or messages to ids."""
        body = read_as(TokenizeBody, await read_json(request))
        check_tool_names(body.tools or ())
        _, tokenizer = self._served.find(body.model or self._served.name)
        if body.messages is not None:
            ids = tokenizer.prompt(body.messages, body.tools or ())
        else:
            ids = encode(tokenizer, body.prompt or "", add_special_tokens=body.add_special_tokens is not False)
        answer: dict[str, Any] = {"count": len(ids), "max_model_len": self._served.model.context, "tokens": ids}
        answer["token_strs"] = [tokenizer.tokenizer.id_to_token(id) for id in ids] if body.return_token_strs else None
        return JSONResponse(answer)

    async def detokenize(self, request: HTTPRequest) -> Response:
        """`POST /detokenize`: ids to text, special tokens included."""
        body = read_as(DetokenizeBody, await read_json(request))
        _, tokenizer = self._served.find(body.model or self._served.name)
        return JSONResponse({"prompt": tokenizer.decode(check_ids(tokenizer, body.tokens), keep_special=True)})
