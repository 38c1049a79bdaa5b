"""Replies that cannot leave a grammar: what comes next is masked, token by token, by llguidance."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from llguidance import LLMatcher, LLTokenizer, grammar_from

from journeyman.errors import InvalidInput, JourneymanError
from journeyman.rendering.chat import ChatTokenizer
from journeyman.rendering.reasoning import CLOSING, OPENING

KEPT_GRAMMARS = 64
"""Compiled grammars that are kept for the next request: an agent sends the same tools with every call."""
_ACROSS = 16
"""The end of a thought is looked for in so many last tokens: more than its letters."""

_LISTING = re.compile(r"^\s*\d+ \| ", re.MULTILINE)
_PLACE = re.compile(r"\s*at (?P<line>\d+)\(\d+\):( failed to compile JSON schema:)?")


class Grammars:
    """Compiles grammars (llguidance's Lark) for one model's vocabulary."""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._decode, self.ends = tokenizer.decode, tokenizer.stop_ids
        self._tokenizer = LLTokenizer(tokenizer.tokenizer.to_str(), eos_token=sorted(tokenizer.stop_ids))
        self._token_id = tokenizer.tokenizer.token_to_id
        self._compiled: Callable[[str], LLMatcher] = lru_cache(KEPT_GRAMMARS)(self._compile)

    def single(self, marker: str) -> int | None:
        """The id of a marker that the vocabulary holds as one token of its own, outside of all text."""
        id = self._token_id(marker)
        return id if id is not None and self._tokenizer.is_special_token(id) else None

    def constraint(self, grammar: str, *, thinks: bool = False, thinking: bool = False) -> "Constraint":
        """A fresh constraint of a reply; InvalidInput with the reason when the grammar cannot be compiled.

        With `thinks` the model may think first, unconstrained; with `thinking` the prompt has begun its thought.
        """
        return Constraint(
            self._compiled(grammar).deep_copy(),
            self.ends,
            self._decode,
            thinking,
            self.single(OPENING) if thinks and not thinking else None,
        )

    def _compile(self, grammar: str) -> LLMatcher:
        text = grammar_from("lark", grammar)
        failed, found = LLMatcher.validate_grammar_with_warnings(text, self._tokenizer)
        if failed:
            raise InvalidInput(_refusal(found[0], grammar))
        matcher = LLMatcher(self._tokenizer, text, log_level=0)
        if matcher.is_error():
            raise InvalidInput(_refusal(matcher.get_error(), grammar))
        return matcher


def _refusal(error: str, grammar: str) -> str:
    """What is wrong with which schema, from a report that shows the grammar and points into it."""
    reason = _LISTING.split(error, maxsplit=1)[0]
    place = _PLACE.match(reason)
    rule = grammar.splitlines()[int(place["line"]) - 1].partition(":")[0] if place else ""
    of_arguments = rule.removeprefix("arguments_")
    number = of_arguments.partition("_")[0]
    field = f"tools.{number}.function.parameters" if rule != of_arguments else "response_format"
    reason = " ".join(reason[place.end() if place else 0 :].split())
    return f"{field}: this schema cannot be enforced: {reason}; change it, or leave it out"


@dataclass(slots=True)
class Constraint:
    """Keeps one reply inside its grammar; when the grammar is complete only end tokens are left.

    `failure` is set when the grammar engine gave up on the way: the reply ends there and is not what was promised.
    """

    _matcher: LLMatcher
    _ends: frozenset[int]
    _decode: Callable[[Sequence[int]], str]
    _thinking: bool = False
    """The reply is inside a thought, where everything but an end is free."""
    _may_think: int | None = None
    """The token that begins a thought, as long as one may begin."""
    failure: JourneymanError | None = None
    _thought: list[int] = field(default_factory=list)

    def mask(self, scores: torch.Tensor) -> None:
        """Put everything that may not come next at minus infinity; `scores` [vocabulary] is changed."""
        ends = torch.tensor(sorted(self._ends))
        if self._thinking:
            scores[ends] = -torch.inf
            return
        allowed = torch.zeros(len(scores), dtype=torch.bool)
        if self._failed():
            allowed[ends] = True
        else:
            bias = torch.frombuffer(bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8)[: len(scores)]
            allowed[: len(bias)] = bias != 0
            if self._may_think is not None:
                allowed[self._may_think] = True
        if self._failed() or not allowed.any():
            allowed[ends] = True
        scores.masked_fill_(~allowed, -torch.inf)

    def accept(self, token: int) -> None:
        """Go on behind the token that was picked."""
        if self._thinking:
            self._thought.append(token)
            self._thinking = CLOSING not in self._decode(self._thought[-_ACROSS:])
        elif token == self._may_think:
            self._thinking = True
        elif not self._failed():
            self._matcher.consume_token(token)
        self._may_think = None

    def _failed(self) -> bool:
        if self.failure is None and self._matcher.is_error():
            reason = " ".join(self._matcher.get_error().split())
            self.failure = JourneymanError(
                f"the grammar of this reply became too complex ({reason}); simplify its schema"
            )
        return self.failure is not None
