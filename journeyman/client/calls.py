"""A call as the HTTP hooks see it: begun in the spool before it is sent, followed, and ended with the truth."""

import os
import re
import threading
import time
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from journeyman.capture.frames import CallEnd, CallStart
from journeyman.capture.identity import identity_of
from journeyman.client.decoding import Decode, decoder
from journeyman.client.faults import counts, quietly
from journeyman.client.scope import Scope
from journeyman.config import CaptureSettings, Settings, default_home
from journeyman.engines.headers import EXCHANGE, PERSON, SESSION, SPOOL, TAGS, write_tags
from journeyman.records import Api, State, new_id

if TYPE_CHECKING:
    from journeyman.capture.spool import Spool

_APIS: tuple[tuple[str, Api], ...] = (
    ("/chat/completions", "chat"),
    ("/completions", "completions"),
    ("/responses", "responses"),
    ("/embeddings", "embeddings"),
    ("/messages", "messages"),
)
_UPSTREAMS = {"api.openai.com": "openai", "api.anthropic.com": "anthropic"}
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})
_END, _MARK = b"[DONE]", 16
"""What OpenAI's streams end with, and how many of an answer's last bytes are remembered to look for it."""
_WRITE_SECONDS, _WRITE_BYTES = 0.05, 1 << 16
"""How long, and how much of, an answer waits in memory: a write for every token would be most of what we cost."""
_READ_MODEL_UP_TO = 65536
"""Bytes of a body in which the model's name is looked for at once; in a longer one, the parser finds it later."""
_QUERY = re.compile(r"\?[^\s'\"]*")


def api_of(method: str, path: str) -> Api | None:
    """Which API a request speaks; None for all others, which are none of our business."""
    if method != "POST":
        return None
    path = path.rstrip("/")
    found = next((api for suffix, api in _APIS if path.endswith(suffix)), None)
    # The Assistants' messages are no model call.
    return None if found == "messages" and "/threads/" in path else found


class Call:
    """One HTTP attempt. Every method is safe to call in the caller's way: it raises nothing."""

    __slots__ = (
        "_decode",
        "_end",
        "_ended",
        "_first",
        "_heard",
        "_id",
        "_kept",
        "_kept_bytes",
        "_labelled",
        "_number",
        "_spool",
        "_started",
        "_tail",
        "_written_at",
    )

    def __init__(self, spool: "Spool", start: CallStart, body: bytes, scope: Scope, labelled: bool) -> None:
        self._spool, self._id, self._heard, self._labelled = spool, start["id"], scope.heard, labelled
        self._decode: Decode | None = None
        self._end: CallEnd = {"state": "complete"}
        self._ended = False
        self._first: float | None = None
        self._tail = b""
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._started = time.perf_counter()
        self._written_at = self._started
        self._number = spool.start(start, body)
        for heard in scope.heard:
            heard.append(self._id)

    @quietly
    def answered(self, status: int, content_type: str, encoding: str | None = None) -> None:
        """The answer's head has come; `encoding` is that of the bytes that `part` will be given."""
        self._end["status"] = status
        self._end["content_type"] = content_type
        self._end["streamed"] = content_type.startswith("text/event-stream")
        if encoding:
            self._decode = decoder(encoding)

    @quietly
    def answered_by(self, headers: Mapping[str, str]) -> None:
        """Leave the call to a gateway that has written it into the same spool, and says so.

        It is written down at once: were the gateway to die now, its own record tells how far it came. One that dies
        before its answer begins has said nothing, and this record stays.
        """
        place, exchange = headers.get(SPOOL), headers.get(EXCHANGE)
        if place is None or exchange is None or self._ended or not self._labelled:
            return
        if place != identity_of(self._spool.folder):
            return
        self._ended = True
        self._spool.end(self._number, {"state": "started", "elsewhere": exchange})
        self._spool.flush()
        for each in self._heard:
            for at, id in enumerate(each):
                if id == self._id:
                    each[at] = exchange

    @quietly
    def part(self, data: bytes) -> None:
        """Bytes of the answer's body have come."""
        if self._ended:
            return
        now = time.perf_counter()
        is_first = self._first is None
        if is_first:
            self._first = now
        if self._decode is not None:
            data = self._decode(data)
        if self._end.get("streamed"):
            self._tail = (self._tail + data[-_MARK:])[-_MARK:]
        else:
            is_first = False
        self._kept.append(data)
        self._kept_bytes += len(data)
        if is_first or now - self._written_at > _WRITE_SECONDS or self._kept_bytes > _WRITE_BYTES:
            self._written_at = now
            self._spool.chunk(self._number, self._taken())

    def _taken(self) -> bytes:
        """What of the answer is not written yet."""
        data = self._kept[0] if len(self._kept) == 1 else b"".join(self._kept)
        self._kept, self._kept_bytes = [], 0
        return data

    def complete(self) -> None:
        """The transfer ended well; what is in it, the parser says."""
        self._finish("complete")

    def left(self) -> None:
        """The program stopped reading; behind a stream's end mark, where openai always stops, the answer is whole."""
        self._finish("complete" if _END in self._tail else "aborted_client")

    def broke(self, error: BaseException) -> None:
        """Nothing more comes: the program was interrupted or cancelled, or the connection failed."""
        if not isinstance(error, Exception):
            state: State = "aborted_client"
        else:
            state = "truncated_upstream" if "status" in self._end else "failed"
        self._finish(state, error)

    @quietly
    def _finish(self, state: State, error: BaseException | None = None) -> None:
        if self._ended:
            return
        self._ended = True
        end = self._end
        end["state"] = state
        end["latency"] = time.perf_counter() - self._started
        if end.get("streamed") and self._first is not None:
            end["time_to_first_token"] = self._first - self._started
        if error is not None:
            # An error's words may hold a URL, and its query a key.
            end["error"] = _QUERY.sub("", f"{type(error).__name__}: {error}")[:500]
        self._spool.end(self._number, end, self._taken())
        # Not at the end of the event loop's tick: a program may leave by `os._exit`, and its loop may never run again.
        self._spool.flush()


@quietly
def begin(scope: Scope, api: Api, host: str, headers: MutableMapping[str, str], body: Any) -> Call | None:
    """A call that is about to be sent, written to the spool; None when it cannot be captured."""
    if not isinstance(body, bytes):
        if not isinstance(body, str | bytearray | memoryview):
            return None
        body = body.encode() if isinstance(body, str) else bytes(body)
    start: CallStart = {
        "id": new_id(),
        "at": time.time_ns() // 1000,
        "api": api,
        "source": "client",
        "model": _model(body),
        "upstream": _UPSTREAMS.get(host, host),
        "session": scope.session,
        "person": scope.person,
        "traceparent": headers.get("traceparent"),
        "tags": dict(scope.tags),
        "books": True,
    }
    spool = _spool_of(scope.home)
    return Call(spool, start, body, scope, _label(host, headers, scope, spool.folder))


def _label(host: str, headers: MutableMapping[str, str], scope: Scope, folder: Path) -> bool:
    """Tell our own gateway on this machine whose call it is, as it will keep the call in our stead.

    Whether it knows all that we know. No other server is told: without a gateway, the spool has no identity.
    """
    told = {SESSION: scope.session, PERSON: scope.person, TAGS: write_tags(dict(scope.tags)) or None}
    labels = {name: value for name, value in told.items() if value is not None}
    if not labels:
        return True
    if host not in _HERE or not all(each.isascii() and each.isprintable() for each in labels.values()):
        return False
    if identity_of(folder) is None:
        return False
    for name, value in labels.items():
        headers.setdefault(name, value)
    return True


def _model(body: bytes) -> str:
    if len(body) > _READ_MODEL_UP_TO:
        return ""
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    model = asked.get("model") if isinstance(asked, dict) else None
    return model if isinstance(model, str) else ""


_lock = threading.Lock()
_spools: "dict[Path | str | None, Spool]" = {}
"""By home; also by what the environment says the home is, so that a call need not work that out again."""


def _spool_of(home: Path | None) -> "Spool":
    key = home if home is not None else os.environ.get("JOURNEYMAN_HOME")
    spool = _spools.get(key)
    return spool if spool is not None else _new_spool(key, home or default_home())


def _new_spool(key: Path | str | None, home: Path) -> "Spool":
    from journeyman.capture.spool import Spool

    with _lock:
        home = home.absolute()
        if home not in _spools:
            settings = _settings(home) or CaptureSettings()
            most, segment = settings.spool_bytes, settings.segment_bytes
            _spools[home] = Spool(home / "spool", most_bytes=most, segment_bytes=segment, writer="client")
        _spools[key] = _spools[home]
        return _spools[home]


@quietly
def _settings(home: Path) -> CaptureSettings:
    """What the installation allows; a settings file that is wrong is its gateway's to complain of."""
    return Settings(home=home).capture


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()  # another thread of the parent may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def record(home: Path | None, what: str, about: dict[str, Any], body: bytes) -> bool:
    """Something said of calls, written to a home's spool; False when it could not be."""
    return _spool_of(home).record(what, about, body)


def report() -> dict[str, Any]:
    """What capture in this process did and had to drop: faults of ours by their name, and each home's spool."""
    spools = {str(home): spool.report() for home, spool in _spools.items() if isinstance(home, Path)}
    return {"faults": dict(counts), "spools": spools}
