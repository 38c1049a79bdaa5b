"""Where a model thinks before it speaks: `<think>…</think>` at the beginning of a reply, kept apart from its words."""

OPENING, CLOSING = "<think>", "</think>"


def opens_thought(prompt: str) -> bool:
    """Whether the template has begun the model's thought for it: then the reply starts inside."""
    return prompt.rstrip().endswith(OPENING)


class ThoughtReader:
    """Parts a reply into thought and words while it is being written. Line breaks around a thought belong to neither.

    Only the beginning of a reply is looked at: words may speak of `<think>` as they like.
    """

    def __init__(self, inside: bool = False) -> None:
        self._inside, self._undecided = inside, not inside
        self._held = ""
        self._begun = False
        self._after = False

    def add(self, text: str, last: bool = False) -> tuple[str, str]:
        """Take more of the reply; returns what is certain by now: more of the thought, and more of the words."""
        self._held += text
        if self._undecided:
            start = self._held.lstrip()
            if start.startswith(OPENING):
                self._held, self._inside, self._undecided = start[len(OPENING) :], True, False
            elif not last and OPENING.startswith(start):
                return "", ""
            else:
                self._undecided = False
        thought = self._take_thought(last) if self._inside else ""
        return thought, "" if self._inside else self._take_words()

    def _take_thought(self, last: bool) -> str:
        if not self._begun:
            self._held = self._held.lstrip("\n")
        thought, closing, rest = self._held.partition(CLOSING)
        if closing:
            self._inside, self._after, self._held = False, True, rest
            return thought.rstrip("\n")
        kept = len(thought) if last else _before_closing(thought)
        if last:
            kept = len(thought.rstrip("\n"))
        self._held = thought[kept:]
        self._begun = self._begun or kept > 0
        return thought[:kept]

    def _take_words(self) -> str:
        if self._after:
            self._held = self._held.lstrip("\n")
            self._after = not self._held
        words, self._held = self._held, ""
        return words


def _before_closing(text: str) -> int:
    """How much of an unfinished thought is certain: not the beginning of its end, nor the line breaks before that."""
    for length in range(min(len(CLOSING) - 1, len(text)), 0, -1):
        if text.endswith(CLOSING[:length]):
            text = text[:-length]
            break
    return len(text.rstrip("\n"))
