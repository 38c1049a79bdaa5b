"""Whether a stream came to its own end, told from its last bytes as they pass."""

import re

from journeyman.records import Api

_DONE = re.compile(rb"(?:^|[\r\n])data: ?\[DONE\]\s*$")
_STOPPED = re.compile(rb'(?:^|[\r\n])data: ?\{"type": ?"message_stop"[^\r\n]*\}\s*$')
_RESPONSE_ENDS = re.compile(rb'"type": ?"response\.(?:completed|incomplete|failed|cancelled)"')
_TAIL = 256


def is_done(stream: bytes | bytearray) -> bool:
    """Whether a stream's last event is `[DONE]`."""
    return _DONE.search(stream[-64:]) is not None


class StreamEnd:
    """Watches a stream pass, and knows the mark with which its API ends one."""

    __slots__ = ("_api", "_marked", "_tail")

    def __init__(self, api: Api) -> None:
        self._api = api
        self._tail = b""
        self._marked = False

    def feed(self, chunk: bytes) -> None:
        """The stream's next bytes."""
        if self._api == "responses" and not self._marked:
            # Its last event repeats the whole answer: the mark stands far from the end.
            self._marked = _RESPONSE_ENDS.search(self._tail + chunk) is not None
        self._tail = chunk[-_TAIL:] if len(chunk) >= _TAIL else (self._tail + chunk)[-_TAIL:]

    @property
    def well(self) -> bool:
        """Whether the stream may end here."""
        if self._api == "responses":
            return self._marked
        if self._api == "messages":
            return _STOPPED.search(self._tail) is not None or is_done(self._tail)
        return is_done(self._tail)
