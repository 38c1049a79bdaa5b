"""The seam between Journeyman and whatever turns a conversation into a reply."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from journeyman.engines.dialect import Dialect
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


class AdapterEngine(Engine, Protocol):
    """An engine that also answers under adapters, which come and go while it runs.

    A name stands for one version of weights for good (`name@hash`, `name@step`): new weights come under a new name.
    """

    async def load(self, name: str, folder: Path) -> None:
        """Answer under the adapter in `folder` when asked for `name`; loading the same again changes nothing.

        InvalidInput when it cannot be served exactly, or when the name stands for another folder.
        """
        ...

    async def unload(self, name: str) -> None:
        """Forget the adapter; replies under way are finished under it. NotFound when it was not loaded."""
        ...


class RunningEngine(Protocol):
    """A server that answers for one base model: where it is, what it was started for, and why it cannot answer."""

    @property
    def name(self) -> str:
        """The base model's name."""
        ...

    @property
    def url(self) -> str:
        """Where it listens, without `/v1`."""
        ...

    @property
    def epoch(self) -> int:
        """Another number after each start: an engine that was started again holds no adapters."""
        ...

    @property
    def failure(self) -> str | None:
        """Why it cannot answer now, in words for the person who called it; None while it runs."""
        ...

    @property
    def retry_after(self) -> float | None:
        """While it cannot answer: seconds after which trying again may help, None when it will not."""
        ...

    @property
    def ends_with_us(self) -> bool:
        """Whether it was started here: when it cannot be reached at the end, it is gone, and its counters with it."""
        ...

    @property
    def dialect(self) -> Dialect:
        """What it has to be asked differently."""
        ...
