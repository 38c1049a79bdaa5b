"""One reply being written: what was asked, what has been sampled, and the text that may already be shown."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from journeyman.engines.local.network.adapters import Registered
from journeyman.engines.local.network.cache import BASE, Lease
from journeyman.engines.local.network.lora import LoraWeights
from journeyman.engines.local.sampling.rule import TopToken
from journeyman.engines.local.sampling.sampler import Sampler
from journeyman.rendering.chat import ChatTokenizer

FinishReason = Literal["stop", "length", "cancelled"]
_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True)
class Update:
    """What one step added to a reply: words that may be shown, and in the last update why it ended."""

    text: str
    finish_reason: FinishReason | None = None
    error: Exception | None = None


@dataclass(slots=True, eq=False)
class Request:
    """A prompt to continue under an adapter (None: the base model). `tell` is called from the engine's thread."""

    prompt: Sequence[int]
    sampler: Sampler
    max_tokens: int
    stops: tuple[str, ...]
    tokenizer: ChatTokenizer
    tell: Callable[[Update], None]
    adapter: str | None = None
    top_logprobs: int = 0
    id: str = ""
    """By which its caller knows it; several choices of one call share it and differ in `choice`."""
    choice: int = 0
    priority: int = 0
    """Lower ones are admitted first: 0 for people who wait, 1 for rollouts."""
    deadline: float | None = None
    """`time.monotonic()` after which nobody wants the reply any more."""
    stop_ids: frozenset[int] = frozenset()
    """Ids that end the reply beside the model's own."""
    ignore_eos: bool = False
    prompt_tops: int | None = None
    """How many likeliest tokens to score at each place of the prompt; None scores none, 0 only the prompt's own."""
    prompt_logprobs: list[tuple[float, list[TopToken]]] = field(default_factory=list)
    """Of each prompt token after the first."""
    cancelled: bool = False
    reply: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    alternatives: list[list[TopToken]] = field(default_factory=list)
    cached: int = 0
    ids: list[int] = field(init=False)
    """Prompt and reply so far."""
    entry: Registered | None = None
    """The adapter as its name stood when the request arrived."""
    weights: LoraWeights | None = None
    lease: Lease | None = None
    names: list[bytes] | None = None
    """Of the pages that `ids` fill, where they were worked out already."""
    computed: int = 0
    """How many of `ids` are in the cache."""
    touched: bool = False
    """Whether it was ever let in: from then on its prompt counts."""
    arrived: float = field(default_factory=time.monotonic)
    finish_reason: FinishReason | None = None
    _decoded_from: int = 0
    _whole_until: int = 0
    """Tokens before it end with a whole character."""
    _told: int = 0
    """Characters of the tokens from `_decoded_from` on that are final."""
    _pending: str = ""
    """Text that may be the beginning of a stop string."""

    def __post_init__(self) -> None:
        self.ids = list(self.prompt)

    @property
    def root(self) -> bytes:
        """What its keys and values are computed under, as the cache tells it apart."""
        return BASE if self.entry is None else self.entry.digest.encode()

    def accept(self, token: int, logprob: float, alternatives: list[TopToken]) -> Update:
        """Take the next token; the update says what may be shown now, and whether the reply is over."""
        self.reply.append(token)
        self.ids.append(token)
        self.sampler.accept(token)
        self.logprobs.append(logprob)
        if self.top_logprobs:
            self.alternatives.append(alternatives)
        update = self._update(token)
        self.finish_reason = update.finish_reason
        return update

    def _update(self, token: int) -> Update:
        ended: FinishReason | None = None
        end = len(self.reply)
        if token in self.stop_ids or (token in self.tokenizer.stop_ids and not self.ignore_eos):
            ended, end = "stop", end - 1
        elif end >= self.max_tokens:
            ended = "length"
        self._pending += self._decode(end, last=ended is not None)
        stopped = self._cut_at_stop()
        if stopped is not None:
            return Update(stopped, "stop")
        return Update(self._take(keep=0 if ended else self._held()), ended)

    def _decode(self, end: int, last: bool) -> str:
        """The text that the newest tokens add, short of a last character that may still be completed."""
        # What tokens stand for can depend on their neighbours: each is decoded together with the ones before it.
        text = self.tokenizer.decode(self.reply[self._decoded_from : end])
        is_whole = last or not text.endswith(_INCOMPLETE)
        final = len(text) if is_whole else len(text) - 1
        added, self._told = text[self._told : final], final
        if is_whole:
            self._decoded_from, self._whole_until = self._whole_until, end
            self._told = len(self.tokenizer.decode(self.reply[self._decoded_from : end]))
        return added

    def _cut_at_stop(self) -> str | None:
        ends = [found for found in (self._pending.find(stop) for stop in self.stops) if found >= 0]
        return self._pending[: min(ends)] if ends else None

    def _held(self) -> int:
        """How many characters at the end could be the beginning of a stop string."""
        longest = max((len(stop) for stop in self.stops), default=1) - 1
        for length in range(min(longest, len(self._pending)), 0, -1):
            if any(stop.startswith(self._pending[-length:]) for stop in self.stops):
                return length
        return 0

    def _take(self, keep: int = 0) -> str:
        cut = len(self._pending) - keep
        text, self._pending = self._pending[:cut], self._pending[cut:]
        return text
