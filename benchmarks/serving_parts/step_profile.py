"""Where the time of one decoding step goes: the engine's operations, each with a clock around it."""

import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from journeyman.engines.local.sampling.rule import SamplingRule
from serving_parts.our_engine import Asked, OurEngine
from serving_parts.speeds import random_prompts

_OPERATIONS = {
    "norm": "norms, rotation, gate",
    "rotate_and_keep": "norms, rotation, gate",
    "gate": "norms, rotation, gate",
    "attend": "attention",
    "lora": "adapters",
    "draw": "sampling",
    "widen_logits": "head",
}
_LINEARS = ("mix", "leave", "widen", "narrow")
_SPARE = 32
"""Tokens that the replies are longer than what is measured: until the end the batch stays full."""


@dataclasses.dataclass(frozen=True)
class _Reading:
    """All clocks between two steps: seconds by kind, seconds of all steps, and their number."""

    parts: dict[str, float]
    busy: float
    steps: int


class _Clocks:
    """Adds up the seconds that each kind of operation takes."""

    def __init__(self, engine: OurEngine) -> None:
        self._engine = engine
        self._seconds: dict[str, float] = defaultdict(float)
        network: Any = engine.model._network
        ops = engine.model._ops
        for name, kind in _OPERATIONS.items():
            setattr(ops, name, self._timed(getattr(ops, name), kind))
        network._layers = [
            dataclasses.replace(layer, **{name: self._timed(getattr(layer, name), "linears") for name in _LINEARS})
            for layer in network._layers
        ]
        network._head = self._timed(network._head, "head")

    def read(self) -> _Reading:
        """What they show between two steps."""
        gauges = self._engine.scheduler.counters.gauges
        return self._engine.scheduler.call(
            lambda model: _Reading(dict(self._seconds), gauges.busy_seconds, gauges.steps)
        ).result(60)

    def _timed(self, act: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            begun = time.perf_counter()
            try:
                return act(*arguments, **named)
            finally:
                self._seconds[kind] += time.perf_counter() - begun

        return timed


def side(job: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds of a mean decoding step of a full batch, and of what it is made of."""
    with OurEngine(job["model"], job["threads"], precision=job["precision"]) as engine:
        if engine.model.path != "native":
            raise RuntimeError("this model is not computed natively: its operations cannot be told apart")
        adapters = engine.load(job["adapters"])
        engine.run(random_prompts(job["batch"], 16, "warm"), 4, adapters)
        clocks, rule = _Clocks(engine), SamplingRule()
        asked = [
            engine.ask(
                prompt, job["new_tokens"] + _SPARE, rule, adapters[row % len(adapters)] if adapters else None,
                ignore_eos=True,
            )
            for row, prompt in enumerate(random_prompts(job["batch"], job["prompt_tokens"], "profile"))
        ]  # fmt: skip
        _until(asked, 1)
        begun = clocks.read()
        _until(asked, job["new_tokens"])
        ended = clocks.read()
        for each in asked:
            each.wait()
    steps = ended.steps - begun.steps
    whole = 1000 * (ended.busy - begun.busy) / steps
    parts = {kind: 1000 * (spent - begun.parts.get(kind, 0)) / steps for kind, spent in ended.parts.items()}
    parts = {kind: spent for kind, spent in parts.items() if spent}
    return {"step": whole, "steps": steps, "parts": parts | {"the rest, in Python": whole - sum(parts.values())}}


def _until(asked: list[Asked], tokens: int) -> None:
    while any(len(each.reply) < tokens for each in asked):
        if any(each.over.is_set() for each in asked):
            raise RuntimeError("a reply ended before the batch was full: nothing can be told from these steps")
        time.sleep(0.002)
