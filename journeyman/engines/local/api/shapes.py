"""What the routes answer, as the OpenAPI document describes it."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class Shape(BaseModel):
    """Part of an answer; more may be there than is described."""

    model_config = ConfigDict(extra="allow")


class ErrorDetails(Shape):
    """What went wrong and what to do next."""

    message: str
    type: Literal["invalid_request_error", "rate_limit_error", "server_error"]
    param: str | None
    code: str


class ErrorAnswer(Shape):
    """Any answer that is not a success."""

    error: ErrorDetails


class CachedTokens(Shape):
    """Of the prompt."""

    cached_tokens: int


class CompletionUsage(Shape):
    """Tokens of a call."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens


class ChatChoice(Shape):
    """One reply."""

    index: int
    message: dict[str, Any]
    finish_reason: Literal["stop", "length", "tool_calls"]
    logprobs: dict[str, Any] | None


class ChatAnswer(Shape):
    """A whole chat completion."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: CompletionUsage


class TextChoice(Shape):
    """One continued text."""

    index: int
    text: str
    finish_reason: Literal["stop", "length"]
    logprobs: dict[str, Any] | None


class CompletionAnswer(Shape):
    """A whole plain completion."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: CompletionUsage


class ResponseUsage(Shape):
    """Tokens of a response."""

    input_tokens: int
    input_tokens_details: CachedTokens
    output_tokens: int
    output_tokens_details: dict[str, int]
    total_tokens: int


class ResponseAnswer(Shape):
    """A whole response."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["completed", "incomplete"]
    model: str
    output: list[dict[str, Any]]
    usage: ResponseUsage


class Embedding(Shape):
    """The vector of one text: numbers, or base64 of little-endian float32."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingsUsage(Shape):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(Shape):
    """The vectors of all texts."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingsUsage


class ModelAnswer(Shape):
    """The base model or an adapter."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    parent: str | None
    max_model_len: int


class ModelsAnswer(Shape):
    """Every name that may be called."""

    object: Literal["list"]
    data: list[ModelAnswer]


class AdapterAnswer(Shape):
    """What became of an adapter."""

    status: Literal["loaded", "unloaded"]
    lora_name: str


class TokenizeAnswer(Shape):
    """Ids of a text."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


class DetokenizeAnswer(Shape):
    """The text of ids."""

    prompt: str


class HealthAnswer(Shape):
    """How the engine is, and how it computes."""

    status: Literal["ok", "draining"]
    model: str
    precision: str
    kernels: str
    path: str
    epoch: str


class TotalsShape(Shape):
    """Sums of ended choices."""

    requests: int
    prompt: int
    cached: int
    completion: int


class AllTotals(Shape):
    """Sums of the base model and of each adapter."""

    base: TotalsShape
    adapters: dict[str, TotalsShape]


class CountersAnswer(Shape):
    """Sums and gauges since the engine started; `epoch` is new with every start."""

    epoch: str
    totals: AllTotals
    gauges: dict[str, float]


class ServedEntry(Shape):
    """One ended choice."""

    number: int
    request: str
    adapter: str | None
    prompt: int
    cached: int
    completion: int
    ended: str


class ServedAnswer(Shape):
    """Entries after a number, oldest first; `missed` were dropped unread, `last` is the newest there is.

    `totals` only when asked for.
    """

    epoch: str
    last: int
    missed: int
    entries: list[ServedEntry]
    totals: AllTotals | None = None


class DrainAnswer(Shape):
    """The engine finishes what runs and ends."""

    status: Literal["draining"]
    running: int
