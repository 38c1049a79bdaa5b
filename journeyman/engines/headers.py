"""How a call's session, tags and id travel: HTTP headers between clients, the gateway and the local engine."""

from urllib.parse import quote, unquote

from journeyman.errors import InvalidInput

SESSION = "x-journeyman-session"
TAGS = "x-journeyman-tags"
EXCHANGE = "x-journeyman-exchange"
SPOOL = "x-journeyman-spool"
"""Into which folder a gateway has written the call, by the folder's random name."""
EXTERNAL_ID = "x-journeyman-external-id"
"""The caller's own name for the call, under which feedback may come later."""
PERSON = "x-journeyman-person"
"""Whom the call is made for."""
TRACE = "traceparent"
"""The caller's own trace, as W3C writes it."""
REQUEST = "x-request-id"
"""Under which the local engine counts what it serves: the exchange's id, so that both can be joined."""


def write_tags(tags: dict[str, str]) -> str:
    """`stage=eval,customer=7`; what would not survive a header is percent-encoded."""
    return ",".join(f"{quote(key, safe=' /:@')}={quote(value, safe=' /:@')}" for key, value in tags.items())


def read_tags(header: str) -> dict[str, str]:
    """The tags that a header carries; InvalidInput for a pair without `=` or without a key."""
    tags = {}
    for pair in filter(str.strip, header.split(",")):
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise InvalidInput(f"header {TAGS}: cannot read {pair.strip()!r}; write it as key=value,key2=value2")
        tags[unquote(key.strip())] = unquote(value.strip())
    return tags
