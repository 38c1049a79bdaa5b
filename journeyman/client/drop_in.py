"""`OpenAI` and `AsyncOpenAI` of the `openai` package, whose calls are captured.

They are the installed package's own classes but for one method: `request`, through which every call goes in its lines
1, 2 and 3. It marks the call as one to capture, and hooks the `send` of the HTTP client in use, for marked calls only:
a client that others use too is none of our business when they do.
"""

import weakref
from typing import TYPE_CHECKING, Any

from journeyman.client import httpx_calls, scope
from journeyman.client.faults import quietly

try:
    import openai
except ModuleNotFoundError as error:
    if error.name != "openai":
        raise
    raise ModuleNotFoundError(
        "journeyman.OpenAI is the class of the package openai, which is not installed; nothing was done. "
        "Install it: pip install openai",
        name="openai",
    ) from None


class OpenAI(openai.OpenAI):
    """The installed `openai.OpenAI`; its calls are captured into the spool of `$JOURNEYMAN_HOME`.

    `journeyman.session(…)` and `journeyman.capture(…)` around a call say more of it.
    """

    if not TYPE_CHECKING:

        def request(self, *arguments: Any, **named: Any) -> Any:
            """Every call of this client."""
            _hook(self._client, httpx_calls.sending)
            before = scope.enter(_captured(scope.current()))
            try:
                return super().request(*arguments, **named)
            finally:
                scope.enter(before)


class AsyncOpenAI(openai.AsyncOpenAI):
    """The installed `openai.AsyncOpenAI`; its calls are captured as those of `OpenAI` here."""

    if not TYPE_CHECKING:

        async def request(self, *arguments: Any, **named: Any) -> Any:
            """Every call of this client."""
            _hook(self._client, httpx_calls.async_sending)
            before = scope.enter(_captured(scope.current()))
            try:
                return await super().request(*arguments, **named)
            finally:
                scope.enter(before)


def _captured(outer: scope.Scope | None) -> scope.Scope:
    return scope.CAPTURING if outer is None else outer if outer.captures else scope.CAPTURING.within(outer)


@quietly
def _hook(client: Any, hooked: Any) -> None:
    own = vars(client).get("send")
    if isinstance(own, _Hooked):
        return
    # Weakly: a client that is dropped must close its connections at once, as it does without us.
    client.send = _Hooked(weakref.ref(client), hooked(_of_class if own is None else _given(own)))


class _Hooked:
    """The `send` of one HTTP client."""

    def __init__(self, client: Any, send: Any) -> None:
        self._client, self._send = client, send

    def __call__(self, request: Any, **options: Any) -> Any:
        return self._send(self._client(), request, **options)


def _of_class(client: Any, request: Any, **options: Any) -> Any:
    """What the client would have called; looked up now: its class may be hooked by then, or no longer."""
    return type(client).send(client, request, **options)


def _given(send: Any) -> Any:
    """A `send` that the client had of its own."""

    def call(client: Any, request: Any, **options: Any) -> Any:
        return send(request, **options)

    return call
