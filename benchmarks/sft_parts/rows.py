"""What both trainers learn from: conversations of the bank's scripted expert, and rows of one full length."""

import asyncio
import random
from pathlib import Path

from journeyman.demos.bank.players import gold, play
from journeyman.records import Message, Row
from journeyman.records.message import assistant, user
from journeyman.rendering.chat import ChatTokenizer
from journeyman.rendering.masks import mask_conversation

FULL = 256
ROOT = Path(__file__).parent.parent.parent


def conversations(count: int, *, prompts: bool) -> list[Row]:
    """The expert's conversations, a fifth of them to validate on; with their long common beginning, or without it.

    The beginning is the system prompt and the tools: our packing computes it once for all rows of a pack.
    """
    played = asyncio.run(play(gold, "expert", "train", count, seed=1))
    rows = []
    for number, attempt in enumerate(played):
        messages = attempt.messages if prompts else tuple(each for each in attempt.messages if each.role != "system")
        tools = attempt.tools if prompts else ()
        rows.append(_row(number, count, messages, tools))
    return rows


def full_rows(count: int, model: Path) -> list[Row]:
    """Rows of 250 to 256 tokens, no two with the same beginning: nothing to share, nothing to pad."""
    tokenizer, draw, rows = ChatTokenizer(model), random.Random(2), []
    words = [word for page in sorted(ROOT.glob("docs/**/*.md")) for word in page.read_text().split()]
    while len(rows) < count:
        start = draw.randrange(len(words) - 400)
        question, most = f"{draw.randrange(10**6)}: what is meant by this?", 240
        while most > 40:
            messages = (user(question), assistant(" ".join(words[start : start + most])))
            length = len(mask_conversation(tokenizer, messages).ids)
            if length <= FULL:
                break
            most -= max(1, (length - FULL) // 4)
        if FULL - 6 <= length <= FULL:
            rows.append(_row(len(rows), count, messages, ()))
    return rows


def _row(number: int, count: int, messages: tuple[Message, ...], tools: tuple) -> Row:  # type: ignore[type-arg]
    split = "validation" if number >= count * 4 // 5 else "train"
    return Row(messages=messages, tools=tools, split=split, conversation=f"c{number}", source="benchmark")
