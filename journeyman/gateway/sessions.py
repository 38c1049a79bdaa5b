"""A session in the path, for programs that can be told a base URL and nothing else.

`/v1/sessions/NAME/chat/completions` is `/v1/chat/completions` with the header `x-journeyman-session: NAME`, and so for
every route of a model; NAME is percent-encoded. Anthropic's clients add their own `/v1`, which may stand after NAME.
"""

import re
from urllib.parse import unquote

from journeyman.engines.headers import SESSION
from journeyman.errors import InvalidInput
from journeyman.gateway.asgi import Scope
from journeyman.gateway.calls import ROUTES

PREFIX = "/v1/sessions/"
_SESSION = SESSION.encode()
_PLAIN = re.compile(r"[ -~\xa0-\xff]+")
"""What a header can carry."""


def without_session(scope: Scope) -> Scope:
    """The request to a path below PREFIX as it would be with the session in its header; InvalidInput for no such."""
    # The path as it was sent: a `/` in a name is `%2F` there.
    raw = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
    name, slash, rest = raw.partition("?")[0].removeprefix(PREFIX).partition("/")
    session = unquote(name, errors="replace")
    path = f"/v1/{rest.removeprefix('v1/')}"
    if not slash or (path not in ROUTES and path != "/v1/models"):
        raise InvalidInput(
            f"{scope['path'][:200]!r} is not served here; under {PREFIX}NAME there is: "
            f"{', '.join(route.removeprefix('/v1') for route in (*ROUTES, '/v1/models'))}"
        )
    if not _PLAIN.fullmatch(session):
        raise InvalidInput(f"the session {session[:100]!r} is empty, or has characters that no header can carry")
    given = next((value for key, value in scope["headers"] if key == _SESSION), None)
    if given is not None and given.decode("latin-1") != session:
        raise InvalidInput(
            f"the path names the session {session[:100]!r}, and the header {SESSION} another; leave one out"
        )
    headers = [*scope["headers"], (_SESSION, session.encode("latin-1"))] if given is None else scope["headers"]
    return {**scope, "path": path, "raw_path": path.encode(), "headers": headers}
