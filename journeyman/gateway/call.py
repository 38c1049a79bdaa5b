"""A call, how far it came, and the record that both make. Raw bytes first; what follows from them, here."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime

from journeyman.gateway.assemble import Assembled, assemble
from journeyman.gateway.validate import ChatRequest
from journeyman.prices import Price
from journeyman.records import UNFINISHED, Exchange, State, Usage, new_id, now
from journeyman.registry.resolve import Target

ANONYMOUS = "anonymous"
"""Whoever gives no token."""


def fingerprint(authorization: str) -> str:
    """Who asked, told from the Authorization header: 12 hex digits of a hash of the bearer token, never the token."""
    kind, _, token = authorization.partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        return ANONYMOUS
    return hashlib.sha256(token.strip().encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Call:
    """A call as it came in, who is to answer it, who asked (`fingerprint`), and what its tokens cost, if known."""

    request: ChatRequest
    target: Target
    key: str = ANONYMOUS
    price: Price | None = None
    session: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    id: str = field(default_factory=new_id)
    at: datetime = field(default_factory=now)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far a call came: the state as the transfer shows it, and the raw bytes of the answer.

    `complete` here means that the transfer ended well; whether the answer did, its bytes will tell.
    """

    state: State
    status: int | None = None
    body: bytes = b""
    streamed: bool = False
    error: str | None = None
    latency: float | None = None
    time_to_first_token: float | None = None

    @property
    def final(self) -> bool:
        """Whether nothing more will be recorded of the call."""
        return self.state not in UNFINISHED


def exchange_of(call: Call, outcome: Outcome) -> Exchange:
    """The record of a call that came this far."""
    answered = outcome.final and outcome.status == 200 and outcome.body
    answer = assemble(outcome.body, outcome.streamed) if answered else Assembled()
    state, error = _truth(outcome, answer)
    target, request = call.target, call.request
    return Exchange(
        id=call.id,
        at=call.at,
        model=request.model,
        state=state,
        upstream=target.provider or "engine",
        served=target.base,
        adapter=target.adapter.id if target.adapter else None,
        messages=request.messages,
        tools=request.tools,
        sampling=request.sampling,
        choices=answer.choices,
        usage=answer.usage or Usage(),
        cost_usd=call.price.usd(answer.usage) if call.price and answer.usage else None,
        latency=outcome.latency,
        time_to_first_token=outcome.time_to_first_token,
        status=outcome.status,
        error=error,
        session=call.session,
        tags=call.tags,
    )


def _truth(outcome: Outcome, answer: Assembled) -> tuple[State, str | None]:
    """What became of the call, by its transfer and by its answer's own words.

    A whole answer is complete, also when the client hung up right behind its last byte; nothing else is.
    """
    if answer.error is not None:
        return "failed", answer.error
    if outcome.state in ("complete", "aborted_client") and answer.finished:
        return "complete", None
    if outcome.state != "complete":
        return outcome.state, outcome.error
    if answer.unreadable is not None:
        return "failed", f"the answer cannot be read: {answer.unreadable}"
    return "truncated_upstream", "the upstream ended its answer without a finish_reason"
