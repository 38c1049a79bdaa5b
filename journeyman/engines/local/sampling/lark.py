"""Pieces of llguidance's Lark."""

import json
from typing import Any

from journeyman.errors import InvalidInput

ON_ONE_LINE = " "


def quoted(text: str) -> str:
    """Fixed text."""
    return json.dumps(text, ensure_ascii=False)


def json_of(schema: dict[str, Any], where: str, space: str = ON_ONE_LINE) -> str:
    """JSON of a schema; `where` is its place in the request, `space` a pattern of what may stand between its parts."""
    if "x-guidance" in schema:
        raise InvalidInput(f"{where}: x-guidance is no part of JSON Schema; leave it out")
    written = json.dumps(schema | {"x-guidance": {"whitespace_pattern": space}}, ensure_ascii=False)
    try:
        written.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{where}: it holds half a character (a lone surrogate): {error.reason}") from error
    return f"%json {written}"
