"""The seam between Journeyman and whatever turns a conversation into a reply."""

from collections.abc import Sequence
from typing import Protocol

from journeyman.records import Choice, Frozen, Message, Sampling, Tool, Usage


class Reply(Frozen):
    """What an engine answered. `latency` is seconds; `served` the model that answered."""

    choices: tuple[Choice, ...]
    usage: Usage
    latency: float
    served: str

    @property
    def message(self) -> Message:
        """The first choice's message."""
        return self.choices[0].message


class Engine(Protocol):
    """Turns a conversation into a reply, under a named model or adapter."""

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
        """The model's reply; UpstreamFailed or NotFound when there is none."""
        ...
