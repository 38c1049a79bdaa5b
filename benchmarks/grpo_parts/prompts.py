"""Prompts of a chosen length, which invite long replies, so that both sides sample as many tokens as they may."""

from pathlib import Path

from journeyman.records.message import user
from journeyman.rendering.chat import ChatTokenizer

_TOPICS = (
    "a lighthouse", "a market", "the winter sea", "an old printer", "two rivers", "a small theatre", "the night train",
    "an orchard", "a glass roof", "the first bridge", "a paper map", "a clock tower", "an island",
    "the archive", "a mountain pass", "a radio", "the bakery", "a desert road", "the greenhouse", "a violin",
    "the ferry", "the harbour", "a stone wall", "the observatory",
)  # fmt: skip
_FILLER = (
    "Here is what I noted on the way: the weather changed often, people were friendly, and every house had a story of "
    "its own that somebody was glad to tell. "
)


def prompts(model: Path, count: int, tokens: int) -> list[str]:
    """`count` texts that are close to `tokens` tokens as a rendered question."""
    tokenizer, found = ChatTokenizer(model), []
    for number in range(count):
        topic = _TOPICS[number % len(_TOPICS)]
        ending = f"Write a very long and detailed story, number {number}, about {topic}."
        text, filler = ending, ""
        words = (_FILLER * 40).split()
        low, high = 0, len(words)
        while low < high:
            middle = (low + high + 1) // 2
            filler = " ".join(words[:middle])
            if len(tokenizer.prompt((user(f"{filler} {ending}"),))) <= tokens:
                low = middle
            else:
                high = middle - 1
        text = f"{' '.join(words[:low])} {ending}"
        found.append(text)
    return found
