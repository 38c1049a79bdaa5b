"""Our engine in this process, as its server runs it: a model, a scheduler, and requests that can be waited for."""

import random
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from journeyman.engines.local.network.model import LocalModel
from journeyman.engines.local.request import Request, Update
from journeyman.engines.local.sampling.rule import SamplingRule
from journeyman.engines.local.sampling.sampler import Sampler
from journeyman.engines.local.scheduler import Scheduler
from journeyman.rendering.chat import ChatTokenizer

_PATIENCE = 3600


class Asked(Request):
    """A request that remembers when each of its tokens was picked."""

    def __init__(
        self, prompt: Sequence[int], tokens: int, tokenizer: ChatTokenizer, rule: SamplingRule, adapter: str | None,
        **more: Any,
    ) -> None:  # fmt: skip
        sampler = more.pop("sampler", None) or Sampler(rule, prompt)
        super().__init__(prompt, sampler, tokens, (), tokenizer, self._hear, adapter, **more)
        self.times: list[float] = []
        self.over = threading.Event()
        self.ended: Update | None = None

    def accept(self, token: int, logprob: float, alternatives: list[Any]) -> Update:
        """See `Request`."""
        self.times.append(time.perf_counter())
        return super().accept(token, logprob, alternatives)

    def wait(self) -> "Asked":
        """Until its reply is there; raises what went wrong."""
        if not self.over.wait(_PATIENCE):
            raise TimeoutError(f"no reply within {_PATIENCE} s")
        assert self.ended is not None
        if self.ended.error is not None:
            raise self.ended.error
        return self

    def _hear(self, update: Update) -> None:
        if update.error is not None or update.finish_reason is not None:
            self.ended = update
            self.over.set()


class OurEngine:
    """A model and the scheduler that runs it. The engine's thread computes with `threads`, this one with none."""

    def __init__(self, model: str, threads: int, *, precision: Any, rows: int = 32, **more: Any) -> None:
        # As the server does: a second pool of threads would let the engine's go to sleep between operations.
        torch.set_num_threads(1)
        self.model = LocalModel(Path(model), precision=precision, **more)
        self.tokenizer = ChatTokenizer(Path(model))
        self.scheduler = Scheduler(self.model, threads, rows=rows, waiting=20_000)

    def __enter__(self) -> "OurEngine":
        return self

    def __exit__(self, *failure: object) -> None:
        self.scheduler.close()

    def load(self, folders: Sequence[str]) -> list[str]:
        """Register adapters under their folders' names."""
        for folder in folders:
            self.model.load_adapter(Path(folder).name, Path(folder))
        return [Path(folder).name for folder in folders]

    def ask(
        self, prompt: Sequence[int], tokens: int, rule: SamplingRule, adapter: str | None = None, **more: Any
    ) -> Asked:
        """Submit one request."""
        asked = Asked(prompt, tokens, self.tokenizer, rule, adapter, **more)
        self.scheduler.submit(asked)
        return asked

    def run(
        self, prompts: Sequence[Sequence[int]], tokens: int, adapters: Sequence[str] = (), temperature: float = 1.0
    ) -> list[Asked]:
        """Replies of exactly `tokens` tokens to all prompts at once, the adapters taking turns."""
        rule = SamplingRule(temperature=temperature)
        asked = [
            self.ask(
                prompt, tokens, rule, adapters[row % len(adapters)] if adapters else None,
                ignore_eos=True,
            )
            for row, prompt in enumerate(prompts)
        ]  # fmt: skip
        return [each.wait() for each in asked]

    def fill_with_pauses(
        self,
        prompts: Sequence[Sequence[int]],
        adapters: Sequence[str | None],
        tokens: int,
        rules: Sequence[Any],
        seed: int,
    ) -> list[Asked]:
        """Replies to prompts that arrive one by one, in another order, at random moments."""
        draw = random.Random(seed)
        order = draw.sample(range(len(prompts)), len(prompts))
        asked: dict[int, Asked] = {}
        for number in order:
            asked[number] = self.ask(prompts[number], tokens, rules[number], adapters[number])
            time.sleep(draw.expovariate(50))
        return [asked[number].wait() for number in range(len(prompts))]
