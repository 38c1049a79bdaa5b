"""What a soak asks: requests of every kind, drawn at random."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from serving_parts.speeds import random_prompts

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}, "zip": {"type": "integer"}},
    "required": ["city", "zip"],
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {"name": "balance", "parameters": {"type": "object", "properties": {"account": {"type": "string"}}}},
}
LONGEST_REPLY = 16
_SHARED = random_prompts(1, 48, "shared")[0]
"""The beginning of some prompts."""


@dataclass(frozen=True)
class Drawn:
    """A request's route and body, and after how many seconds its client hangs up (None: never)."""

    path: str
    body: dict[str, Any]
    cut_after: float | None = None


def draw_ids(draw: random.Random) -> list[int]:
    """A prompt: short mostly, now and then long, some with the same beginning as others."""
    longest = 400 if draw.random() < 0.02 else 40
    ids = [draw.randrange(100, 49_000) for _ in range(draw.randint(1, longest))]
    return [*_SHARED, *ids] if draw.random() < 0.3 else ids


def draw_request(draw: random.Random, models: Sequence[str]) -> Drawn:
    """One request to one of `models`."""
    body: dict[str, Any] = {
        "model": draw.choice(models),
        "max_tokens": draw.randint(1, LONGEST_REPLY),
        "temperature": draw.choice((0, 0.7, 1)),
        "priority": draw.randint(0, 1),
        "n": draw.choice((1, 1, 1, 1, 1, 3)),
        "stream": draw.random() < 0.5,
    }
    if body["stream"]:
        body["stream_options"] = {"include_usage": True}
    if draw.random() < 0.05:
        body["timeout"] = draw.choice((0.05, 0.3, 1.0))
    cut = draw.uniform(0.01, 1.5) if draw.random() < 0.08 else None
    kind = draw.random()
    if kind < 0.1:
        return Drawn("/v1/chat/completions", body | _constrained(draw), cut)
    if kind < 0.2:
        ruled = {"top_p": 0.9, "top_k": 50, "frequency_penalty": 0.5, "seed": draw.randrange(1000), "logprobs": 2}
        body |= ruled | {"stop": ["the", "\n"]}
    return Drawn("/v1/completions", body | {"prompt": draw_ids(draw), "ignore_eos": draw.random() < 0.5}, cut)


def _constrained(draw: random.Random) -> dict[str, Any]:
    said = {"messages": [{"role": "user", "content": f"Where do I live? {draw.randrange(100)}"}]}
    if draw.random() < 0.5:
        form = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
        return said | {"response_format": form}
    return said | {"tools": [TOOL], "tool_choice": "required"}
