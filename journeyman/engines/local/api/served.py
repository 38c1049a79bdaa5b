"""The model that the API serves, and the calls that are under way on it."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field

from starlette.requests import Request as HTTPRequest

from journeyman.engines.local.network.model import LocalModel
from journeyman.engines.local.request import Request, Update
from journeyman.engines.local.sampling.constraints import Grammars
from journeyman.engines.local.scheduler import Scheduler
from journeyman.engines.models import way_out
from journeyman.errors import ContextTooLong, InvalidInput, ModelFileBroken, NotFound
from journeyman.rendering.chat import ChatTokenizer


@dataclass(slots=True)
class ServedModel:
    """A base model under its public name, with the tokenizers of its adapters (None: its own)."""

    name: str
    model: LocalModel
    scheduler: Scheduler
    tokenizers: dict[str | None, ChatTokenizer] = field(default_factory=dict)
    _grammars: Grammars | None = None
    _preparing: threading.Lock = field(default_factory=threading.Lock)

    def grammars(self) -> Grammars:
        """The compiler of grammars for this vocabulary; made when it is first needed, which may take a second."""
        with self._preparing:
            if self._grammars is None:
                self._grammars = Grammars(self.tokenizers[None])
            return self._grammars

    def find(self, name: str) -> tuple[str | None, ChatTokenizer]:
        """The adapter that a client's model name stands for (None: the base model), and its tokenizer."""
        adapter = None if name == self.name else name
        tokenizer = self.tokenizers.get(adapter)
        if tokenizer is None:
            raise NotFound("model", name, [self.name, *self.model.adapters])
        return adapter, tokenizer

    def check_rollout(self, wants_tokens: bool) -> None:
        """InvalidInput where tokens and their log-probabilities would not be those of the model that is trained."""
        if wants_tokens and self.model.precision == "int8":
            raise InvalidInput(
                "return_token_ids: this engine computes with weights of 8 bits, which are for serving only; roll out "
                "on one that was started with float32 or bfloat16"
            )

    def check_known(self, prompt: Sequence[int]) -> None:
        """InvalidInput for a token that the tokenizer has and the weights do not, such as a placeholder of images."""
        if (greatest := max(prompt)) >= self.model.vocabulary:
            token = self.tokenizers[None].tokenizer.id_to_token(greatest)
            raise InvalidInput(f"the prompt holds the token {token}, for which this model has no weights; leave it out")

    def room(self, prompt: Sequence[int], limit: int | None) -> int:
        """How many tokens a reply may have: what was asked for, or all that the context leaves."""
        if not prompt:
            raise InvalidInput("the chat template makes nothing of this conversation; say something in it")
        self.check_known(prompt)
        room = self.model.context - len(prompt)
        if room < 1:
            raise ContextTooLong(len(prompt), self.model.context)
        if limit is not None and limit > room:
            raise ContextTooLong(len(prompt) + limit, self.model.context, f"prompt ({len(prompt)}) with max_tokens")
        return limit or room


def check_words(tokenizer: ChatTokenizer, vocabulary: int) -> None:
    """ModelFileBroken unless the tokenizer may be that of weights for so many tokens.

    Some models' files add tokens beyond their weights, for images, say; but words that nobody learned there are not.
    """
    folder, words = tokenizer.folder, tokenizer.vocabulary.words
    if words > vocabulary:
        raise ModelFileBroken(
            f"{folder.name}: tokenizer.json knows {words} words, and the weights only {vocabulary}: they are not of "
            f"one model; {way_out(folder)}"
        )
    if all(tokenizer.tokenizer.id_to_token(stop) is None for stop in tokenizer.stop_ids):
        stops = " or ".join(map(str, sorted(tokenizer.stop_ids)))
        raise ModelFileBroken(
            f"{folder.name}: a reply is to end with token {stops} (eos_token_id in generation_config.json or "
            f"config.json), which tokenizer.json does not have: they are not of one model; {way_out(folder)}"
        )


class Ongoing:
    """The choices of one call while the engine writes them. Made and read on the event loop."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._loop = asyncio.get_running_loop()
        self._updates: asyncio.Queue[tuple[int, Update]] = asyncio.Queue()

    def teller(self, index: int) -> Callable[[Update], None]:
        """What the engine's thread calls with each update of that choice."""

        loop, updates = self._loop, self._updates

        # It does not know the call, whose requests know it: what refers to itself stays in memory long after its end.
        def tell(update: Update) -> None:
            # The loop is closed when the server went down first: then nobody listens any more.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(updates.put_nowait, (index, update))

        return tell

    def submit(self, scheduler: Scheduler, requests: Sequence[Request]) -> None:
        """Queue every choice, or none: what was queued is cancelled when one of them is turned away."""
        try:
            for request in requests:
                scheduler.submit(request)
                self.requests.append(request)
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Nobody wants the rest."""
        for request in self.requests:
            request.cancelled = True

    async def updates(self) -> AsyncGenerator[tuple[int, Update]]:
        """Every update with its choice until all have ended; leaving early cancels what is still being written."""
        running = len(self.requests)
        try:
            while running:
                index, update = await self._updates.get()
                if update.error is not None:
                    raise update.error
                failure = self.requests[index].sampler.failure if update.finish_reason is not None else None
                if failure is not None:
                    raise failure
                running -= update.finish_reason is not None
                yield index, update
        finally:
            self.cancel()

    async def cancel_when_gone(self, http: HTTPRequest) -> None:
        """Cancel everything once the client has hung up. Runs beside the waiting for a whole reply."""
        while (await http.receive())["type"] != "http.disconnect":
            continue
        self.cancel()
