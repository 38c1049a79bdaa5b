"""Keeps web pages away from a server on this machine: any page that somebody looks at can send requests to it.

A page cannot hide where it comes from (`Origin`), nor under which name it reached us (`Host`), and without being asked
it cannot declare its body to be JSON.
"""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from journeyman.errors import JourneymanError

JSON = b"application/json"


class ForeignVisitor(JourneymanError):
    """The request was sent by a web page of somebody else, or to a name that is not ours."""

    code = "foreign_origin"
    status = 403


class NotJson(JourneymanError):
    """The body declares to be something else than JSON."""

    code = "unsupported_media_type"
    status = 415


class Visitors:
    """Who may talk to the server that listens on `host`: whoever means this machine, or that name."""

    def __init__(self, host: str) -> None:
        self._host = host.strip("[]").lower()
        # On all addresses it is reached under names that it cannot know.
        self._any_name = _is_unspecified(self._host)

    def refusal(
        self, method: str, headers: Iterable[tuple[bytes, bytes]], *, json_only: bool = False
    ) -> JourneymanError | None:
        """Why the request is refused, if it is; with `json_only` also a POST of anything that says not to be JSON."""
        posts = method == "POST"
        for name, value in headers:
            if name == b"host":
                if not self._any_name and not self._is_ours(host_of(value)):
                    return ForeignVisitor(
                        f"the header Host names {_shown(value)}, which is not this server; nothing was done. Ask it "
                        "under the address that it listens on"
                    )
            elif name == b"origin" and posts:
                if not self._is_ours(origin_of(value)):
                    return ForeignVisitor(
                        f"a page of {_shown(value)} may not use this server; nothing was done. Ask it from a program, "
                        "or from a page of this machine"
                    )
            elif name == b"content-type" and posts and json_only:
                kind = value.partition(b";")[0].strip().lower()
                if kind and kind != JSON:
                    return NotJson(
                        f"the body is declared as {_shown(kind)}; nothing was done. Send JSON, with the header "
                        "content-type: application/json"
                    )
        return None

    def _is_ours(self, host: str) -> bool:
        return host == self._host or is_loopback(host)


@lru_cache(1024)
def host_of(header: bytes) -> str:
    """The name in a Host header, without its port."""
    return _name_in("//" + header.decode("latin-1"))


@lru_cache(1024)
def origin_of(header: bytes) -> str:
    """The host in an Origin header; nothing for `null`, which pages without an origin send."""
    return _name_in(header.decode("latin-1"))


@lru_cache(1024)
def is_loopback(host: str) -> bool:
    """Whether a name or an address means this machine."""
    try:
        return host == "localhost" or host.endswith(".localhost") or ip_address(host).is_loopback
    except ValueError:
        return False


def _is_unspecified(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def _name_in(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _shown(value: bytes) -> str:
    return repr(value[:100].decode("latin-1"))
