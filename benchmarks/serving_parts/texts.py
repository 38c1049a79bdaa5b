"""Real text to ask about: pieces of this project's documents, and of conversations with the bank's expert."""

import asyncio
import random
from pathlib import Path

from journeyman.demos.bank.players import gold, play
from journeyman.rendering.chat import ChatTokenizer

_ROOT = Path(__file__).parents[2]
SHORTEST, LONGEST = 5, 300


def text_prompts(model: Path, count: int, seed: int) -> list[list[int]]:
    """Prompts of different lengths, each cut from a text at any place; half of them from conversations."""
    tokenizer = ChatTokenizer(model)
    documents = [path.read_text(encoding="utf-8") for path in sorted(_ROOT.glob("docs/**/*.md"))]
    trajectories = asyncio.run(play(gold, "gold", "held-out", 12, seed))
    chats = [tokenizer.prompt(each.messages, each.tools) for each in trajectories]
    sources = [[tokenizer.encode(text) for text in documents], chats]
    draw = random.Random(seed)
    prompts = []
    for number in range(count):
        length = SHORTEST + (LONGEST - SHORTEST) * number // max(1, count - 1)
        ids = draw.choice([each for each in sources[number % 2] if len(each) > length])
        start = draw.randrange(len(ids) - length)
        prompts.append(ids[start : start + length])
    return draw.sample(prompts, len(prompts))
