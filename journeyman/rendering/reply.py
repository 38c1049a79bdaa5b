"""A model's text read as a message while it is being written: its thought, its words, its tool calls."""

from dataclasses import dataclass
from types import MappingProxyType

from journeyman.records import Message
from journeyman.rendering.reasoning import ThoughtReader
from journeyman.rendering.tool_calls import CallStyle, Offered

_NO_TOOLS: Offered = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Piece:
    """What became certain: more of the thought, more of the words."""

    thought: str = ""
    words: str = ""


class ReplyReader:
    """Reads one reply. Half a tool call is never told as words: what may become one is held back.

    `style` is None where calls are not to be read; `offered` are the tools that there are; `thinking` says that
    the prompt has begun a thought.
    """

    def __init__(self, style: CallStyle | None, offered: Offered = _NO_TOOLS, *, thinking: bool = False) -> None:
        self._style, self._offered = style, offered
        self._thoughts = ThoughtReader(thinking)
        self._thought, self._said = "", ""
        self._told = 0
        self._message: Message | None = None

    def add(self, text: str, *, last: bool = False) -> Piece:
        """Take more text, `last` with the end of it; returns what may be told now."""
        thought, words = self._thoughts.add(text, last)
        self._thought += thought
        self._said += words
        if last:
            content = self.message.text
            held, self._told = content[self._told :], len(content)
            return Piece(thought, held)
        certain = len(self._said) if self._style is None else self._style.certain(self._said)
        told, self._told = self._said[self._told : certain], max(self._told, certain)
        return Piece(thought, told)

    @property
    def message(self) -> Message:
        """The whole reply; asked for once its last text was added."""
        if self._message is None:
            if self._style is None:
                read = Message(role="assistant", content=self._said)
            else:
                read = self._style.read(self._said, self._offered)
            if self._thought:
                read = Message.model_validate(read.wire() | {"reasoning_content": self._thought})
            self._message = read
        return self._message
