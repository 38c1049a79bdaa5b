"""Makes the ledger's entries: from what the engine counted, and from what an answer said of itself."""

from collections.abc import Sequence
from dataclasses import dataclass

from journeyman.gateway.call import Call, Outcome
from journeyman.gateway.served import ServedEntry
from journeyman.gateway.usage import read_usage
from journeyman.prices import Price
from journeyman.records import Usage, UsageEntry

ENGINE = "engine"
"""`upstream` of what the local engine served."""
UNKNOWN = "unknown"
"""`key` of what was served to a caller that the gateway does not know: the engine was called past it."""


@dataclass(slots=True)
class OpenCall:
    """A call from its beginning until all of it is booked: how it ended, and what of it the engine has told so far."""

    call: Call
    epoch: str | None = None
    """Which start of the engine it was sent to."""
    outcome: Outcome | None = None
    ended_at: float = 0.0
    choices_booked: int = 0

    @property
    def settled(self) -> bool:
        """Whether it has ended and each of its choices is booked."""
        return self.outcome is not None and self.choices_booked >= (self.call.choices)

    def from_engine(self, served: ServedEntry, epoch: str) -> UsageEntry:
        """Book one of its choices as the engine counted it."""
        usage = used(served)
        self.choices_booked += 1
        return engine_entry(
            served,
            epoch,
            usage,
            key=self.call.key,
            alias=self.call.model,
            model=self.call.target.base,
            price=self.call.price,
        )

    def from_answer(self, listed: Sequence[UsageEntry] = ()) -> Sequence[UsageEntry]:
        """Book what its answer says was used, less what the engine has `listed` of it; nothing when that is all."""
        outcome, call, target = self.outcome, self.call, self.call.target
        if outcome is None or (outcome.state == "failed" and outcome.status != 200):
            return ()
        told = read_usage(outcome.body, outcome.streamed) if outcome.body else None
        if listed and (told is None or len(listed) >= call.choices):
            return ()
        usage = Usage() if told is None else _less(told, listed)
        entry = UsageEntry(
            id=answer_id(call.id),
            request=call.id,
            key=call.key,
            alias=call.model,
            upstream=ENGINE,
            model=target.base,
            adapter=target.adapter.id if target.adapter else None,
            usage=usage,
            picodollars=call.price.picodollars(usage) if call.price and told else None,
            ended=outcome.state,
            source="untold" if told is None else "answer",
            note="" if told else "the answer did not come far enough to say how many tokens it took",
        )
        return (entry,)


def used(served: ServedEntry) -> Usage:
    """The tokens of a choice that the engine counted."""
    return Usage(prompt_tokens=served.prompt, cached_prompt_tokens=served.cached, completion_tokens=served.completion)


def engine_entry(
    served: ServedEntry, epoch: str, usage: Usage, *, key: str, alias: str | None, model: str, price: Price | None
) -> UsageEntry:
    """A choice as the engine counted it; read twice it has the same id, and is booked once."""
    return UsageEntry(
        id=f"{epoch}-{served.number:012d}",
        request=served.request,
        key=key,
        alias=alias,
        upstream=ENGINE,
        model=model,
        adapter=served.adapter,
        usage=usage,
        picodollars=price.picodollars(usage) if price else None,
        ended=served.ended,
        source="engine",
        epoch=epoch,
        number=served.number,
    )


def answer_id(request: str) -> str:
    """Under which a call is booked as its answer told."""
    return f"answer-{request}"


def told_twice(served: ServedEntry, epoch: str, model: str) -> UsageEntry:
    """Says that the engine lists a choice of a call that was booked from its answer: its tokens count there alone."""
    note = f"call {served.request} was booked from its answer before the engine listed it; its tokens count once"
    entry = gap(model, epoch, f"{epoch}-{served.number:012d}", note)
    return entry.model_copy(
        update={
            "request": served.request, "adapter": served.adapter, "number": served.number, "usage": used(served),
        }
    )  # fmt: skip


def gap(model: str, epoch: str, id: str, note: str) -> UsageEntry:
    """Says in the ledger what it could not see."""
    return UsageEntry(
        id=id, request="", key=UNKNOWN, upstream=ENGINE, model=model, source="gap", epoch=epoch, note=note
    )


def _less(told: Usage, listed: Sequence[UsageEntry]) -> Usage:
    return Usage(
        prompt_tokens=max(0, told.prompt_tokens - sum(entry.usage.prompt_tokens for entry in listed)),
        completion_tokens=max(0, told.completion_tokens - sum(entry.usage.completion_tokens for entry in listed)),
        cached_prompt_tokens=max(
            0, told.cached_prompt_tokens - sum(entry.usage.cached_prompt_tokens for entry in listed)
        ),
    )
