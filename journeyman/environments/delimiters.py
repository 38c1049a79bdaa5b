"""What an agent writes is never an environment's word: forged turns and tool results are taken out of its text.

A policy that is paid for what a transcript says learns to write transcripts. In prompts, what only spells a control
token is no control token already (`rendering/seams.py`); this is the other way out of the model, to the environment,
and to rewards and judges that read the attempt. The tokens that were sampled stay as they were.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from journeyman.records import Message

_TURNS = "tool|ipython|observation|environment|user|system|function"
_RESULTS = "tool_response|tool_result|tool_results|function_result|function_results|function_response|observation"
_FORGED = (
    # A whole turn of somebody else, in the form of ChatML, of Llama 3, and of Gemma, to its end or the text's.
    rf"<\|im_start\|>\s*(?:{_TURNS})\b.*?(?:<\|im_end\|>|\Z)",
    rf"<\|start_header_id\|>\s*(?:{_TURNS})\s*<\|end_header_id\|>.*?(?:<\|eot_id\|>|<\|eom_id\|>|\Z)",
    rf"<start_of_turn>\s*(?:{_TURNS})\b.*?(?:<end_of_turn>|\Z)",
    # A whole result of a tool.
    rf"<({_RESULTS})>.*?(?:</\1>|\Z)",
    r"\[TOOL_RESULTS\].*?(?:\[/TOOL_RESULTS\]|\Z)",
    # What is left of a delimiter by itself.
    r"<\|[a-z][a-z0-9_]{1,30}\|>",
    r"</?(?:start_of_turn|end_of_turn)>",
    rf"</(?:{_RESULTS})>",
    r"\[/?(?:INST|TOOL_RESULTS|AVAILABLE_TOOLS)\]",
)


class Stripped(NamedTuple):
    """A message without what only an environment may write, and how many such pieces it had."""

    message: Message
    pieces: int


def without_delimiters(message: Message, own: Sequence[str] = ()) -> Stripped:
    """The message as an environment and a reward may read it. `own` are delimiters of the environment's own.

    Calls are left as they are: their arguments are data, which the environment checks.
    """
    if not message.content:
        return Stripped(message, 0)
    if isinstance(message.content, str):
        text, count = _stripped(message.content, tuple(own))
        return Stripped(message.model_copy(update={"content": text}), count) if count else Stripped(message, 0)
    parts, found = list[dict[str, Any]](), 0
    for part in message.content:
        text, count = _stripped(part["text"], tuple(own)) if isinstance(part.get("text"), str) else ("", 0)
        parts.append(part | {"text": text} if count else part)
        found += count
    return Stripped(message.model_copy(update={"content": parts}), found) if found else Stripped(message, 0)


def delimiters_of(environment: object) -> Sequence[str]:
    """Words that only this environment writes: its optional attribute `delimiters`."""
    return tuple(getattr(environment, "delimiters", ()))


def _stripped(text: str, own: tuple[str, ...]) -> tuple[str, int]:
    """Again until nothing is left: what is taken out may have held two halves of another one apart."""
    found, pattern = 0, _pattern(own)
    while True:
        text, count = pattern.subn("", text)
        if not count:
            return text, found
        found += count


@lru_cache(maxsize=64)
def _pattern(own: tuple[str, ...]) -> re.Pattern[str]:
    written = [re.escape(each) for each in sorted(own, key=len, reverse=True) if each]
    return re.compile("|".join([*_FORGED, *written]), re.DOTALL | re.IGNORECASE)
