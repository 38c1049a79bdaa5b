"""An exchange in wire form: for those who handle thousands of them a second and need none of them checked."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from journeyman.records.exchange import Api, Exchange, Fidelity, State

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Json = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class WireExchange:
    """The fields of an Exchange, its messages, tools, choices and the like as the JSON objects that they are.

    `at` is in microseconds since 1970. `exchange()` gives the checked record; whoever makes one of these answers for
    it that this works.
    """

    id: str
    at: int
    model: str
    state: State
    api: Api = "chat"
    upstream: str | None = None
    served: str | None = None
    adapter: str | None = None
    messages: list[Json] = field(default_factory=list)
    tools: list[Json] = field(default_factory=list)
    sampling: Json = field(default_factory=dict)
    choices: list[Json] = field(default_factory=list)
    """`{message, finish_reason, tokens}` each."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_prompt_tokens: int = 0
    cost_usd: float | None = None
    latency: float | None = None
    time_to_first_token: float | None = None
    status: int | None = None
    error: str | None = None
    attempts: list[Json] = field(default_factory=list)
    session: str | None = None
    project: str | None = None
    key: str | None = None
    person: str | None = None
    external_id: str | None = None
    response_id: str | None = None
    trace: str | None = None
    span: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    source: str = "gateway"
    fidelity: Fidelity = "exact"
    parser: int = 0

    @classmethod
    def of(cls, exchange: Exchange) -> "WireExchange":
        """The wire form of a record."""
        fields = exchange.model_dump(mode="json", exclude={"at", "usage"})
        at = (exchange.at if exchange.at.tzinfo else exchange.at.replace(tzinfo=UTC)) - _EPOCH
        return cls(at=at // timedelta(microseconds=1), **exchange.usage.model_dump(), **fields)

    def exchange(self) -> Exchange:
        """The checked record; ValueError when its parts are not what they should be."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        usage = {name: fields.pop(name) for name in ("prompt_tokens", "completion_tokens", "cached_prompt_tokens")}
        fields["at"] = _EPOCH + timedelta(microseconds=self.at)
        return Exchange.model_validate({**fields, "usage": usage})
