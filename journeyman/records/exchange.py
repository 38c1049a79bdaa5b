"""One request to a model and its reply, as they crossed the gateway, and what people said of it."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from journeyman.records.message import Message, Tool
from journeyman.records.record import Frozen, Record

State = Literal["started", "streaming", "complete", "truncated_upstream", "aborted_client", "failed", "killed"]
UNFINISHED: tuple[State, ...] = ("started", "streaming")
Api = Literal["chat", "completions", "responses", "embeddings", "messages"]
"""The wire format of a call: OpenAI's four, and Anthropic's messages."""
Fidelity = Literal["exact", "reconstructed", "lossy"]
"""How true a record is to the wire: read from its very bytes; put together from complete parts; parts are missing."""


class Sampling(Frozen):
    """How a reply was sampled; unknown wire fields are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    n: int | None = None
    stop: str | list[str] | None = None

    def wire(self) -> dict[str, Any]:
        """The fields that were given, as a request body carries them."""
        return self.model_dump(mode="json", exclude_none=True)


class Usage(Frozen):
    """Tokens that were paid for; `cached_prompt_tokens` are part of `prompt_tokens`."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_prompt_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


class Tokens(Frozen):
    """What the engine saw and sampled. Training reads these and never tokenises a reply again.

    `logprobs` are natural logarithms of the probability of each reply token at temperature 1.
    """

    prompt: tuple[int, ...]
    reply: tuple[int, ...]
    logprobs: tuple[float, ...]


class Choice(Frozen):
    """One of the replies to a request."""

    message: Message
    finish_reason: str | None = None
    tokens: Tokens | None = None


class Attempt(Frozen):
    """One try at an upstream that came to nothing, before another was made for the same call."""

    upstream: str
    served: str
    status: int | None = None
    error: str
    latency: float


class Exchange(Record):
    """One request to a model and its reply, as they crossed the gateway.

    `model` is the name the client asked for, `upstream` who answered (`engine`, or a provider's name),
    `served` the model that answered there, `attempts` those that failed before it. `latency` and
    `time_to_first_token` are seconds. `source` says who captured it (`gateway`, `client`, `import:FORMAT`, `otlp`),
    `parser` which version of the parser read its bytes (0: none did). `key` is the fingerprint of the caller's token,
    `person` whom the call was made for, `external_id` the caller's own name for it, `response_id` the upstream's;
    `trace` and `span` are those of the caller's own trace.
    """

    model: str
    state: State
    api: Api = "chat"
    upstream: str | None = None
    served: str | None = None
    adapter: str | None = None
    messages: tuple[Message, ...] = ()
    tools: tuple[Tool, ...] = ()
    sampling: Sampling = Sampling()
    choices: tuple[Choice, ...] = ()
    usage: Usage = Usage()
    cost_usd: float | None = None
    latency: float | None = None
    time_to_first_token: float | None = None
    status: int | None = None
    error: str | None = None
    attempts: tuple[Attempt, ...] = ()
    session: str | None = None
    project: str | None = None
    key: str | None = None
    person: str | None = None
    external_id: str | None = None
    response_id: str | None = None
    trace: str | None = None
    span: str | None = None
    tags: dict[str, str] = Field(default_factory=dict)
    source: str = "gateway"
    fidelity: Fidelity = "exact"
    parser: int = 0

    @property
    def reply(self) -> Message | None:
        """The first choice's message; None when the call failed."""
        return self.choices[0].message if self.choices else None
