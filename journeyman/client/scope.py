"""What the program says of the calls that it is about to make: `capture()` and `session()`.

A scope lives in a context variable, so tasks and threads keep theirs apart. `asyncio.create_task` and
`asyncio.to_thread` pass it on; a thread that the program starts itself begins without one.
"""

import functools
import inspect
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from journeyman.client import patches
from journeyman.client.faults import quietly

Function = TypeVar("Function", bound=Callable[..., Any])
MOST_CALLS = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """Where calls are kept and what is known of them; whatever is None or empty here, an outer scope may tell."""

    captures: bool = False
    home: Path | None = None
    session: str | None = None
    person: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    heard: tuple[deque[str], ...] = ()
    """Where the ids of captured calls are noted: one for each `capture()` around the call."""
    outer: "Scope | None" = None

    def within(self, outer: "Scope | None") -> "Scope":
        """This scope, as it stands inside another one."""
        if outer is None:
            return self
        return Scope(
            captures=self.captures or outer.captures,
            home=self.home or outer.home,
            session=self.session or outer.session,
            person=self.person or outer.person,
            tags={**outer.tags, **self.tags},
            heard=outer.heard + self.heard,
            outer=outer,
        )


_current: ContextVar[Scope | None] = ContextVar("journeyman_scope", default=None)
CAPTURING = Scope(captures=True)


def current() -> Scope | None:
    """The scope that the running task or thread is in."""
    return _current.get()


def enter(scope: Scope | None) -> Scope | None:
    """Make this the running task's scope; gives the one before, to be entered again afterwards."""
    before = _current.get()
    _current.set(scope)
    return before


def capturing() -> Scope | None:
    """The scope, if calls made now are to be captured."""
    scope = _current.get()
    return scope if scope is not None and scope.captures else None


class Labels:
    """A `with` or `async with` block, or a decorator, whose calls carry a session, a person and tags."""

    _captures = False

    def __init__(
        self,
        session: str | None = None,
        *,
        person: str | None = None,
        tags: Mapping[str, str] | None = None,
        home: str | Path | None = None,
    ) -> None:
        self.calls: deque[str] = deque(maxlen=MOST_CALLS)
        """Ids of the calls captured in here, oldest first: what `journeyman.feedback(exchange_id=…)` takes."""
        self._given: dict[str, Any] = {"session": session, "person": person, "tags": tags, "home": home}
        self._scope = Scope(
            captures=self._captures,
            home=Path(home) if home is not None else None,
            session=session,
            person=person,
            tags={str(name): str(value) for name, value in (tags or {}).items()},
            heard=(self.calls,),
        )
        self._entered: list[Scope] = []

    @property
    def last(self) -> str | None:
        """The id of the newest call captured in here."""
        return self.calls[-1] if self.calls else None

    def __enter__(self) -> Self:
        if self._captures:
            quietly(patches.acquire)()
        scope = self._scope.within(_current.get())
        self._entered.append(scope)
        _current.set(scope)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        # Another context than the one that entered (a fixture's, a generator's) keeps what it has.
        scope = _current.get()
        if scope in self._entered:
            _current.set(scope.outer if scope is not None else None)
            self._entered.remove(scope)
        elif self._entered:
            self._entered.pop()
        if self._captures:
            quietly(patches.release)()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self.__exit__()

    def __call__(self, function: Function) -> Function:
        """The function, whose every run is a block of its own."""
        make = functools.partial(type(self), **self._given)
        wrapped: Any
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def wrapped(*arguments: Any, **named: Any) -> Any:
                with make():
                    return await function(*arguments, **named)

        elif inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
            raise TypeError(
                f"{function.__name__} is a generator, whose body runs in its callers' contexts; "
                "put `with journeyman.capture(…):` around the calls inside it instead"
            )
        else:

            @functools.wraps(function)
            def wrapped(*arguments: Any, **named: Any) -> Any:
                with make():
                    return function(*arguments, **named)

        return wrapped  # type: ignore[no-any-return]


class Capture(Labels):
    """A block whose calls through httpx, aiohttp and requests are captured."""

    _captures = True


@overload
def capture(function: Function, /) -> Function: ...


@overload
def capture(
    *,
    session: str | None = None,
    person: str | None = None,
    tags: Mapping[str, str] | None = None,
    home: str | Path | None = None,
) -> Capture: ...


def capture(function: Any = None, /, **named: Any) -> Any:
    """Capture the model calls of a block or a function, whatever client makes them.

    `session` and `person` are whom the calls belong to, `tags` what to find them by, `home` the installation that keeps
    them (by default `$JOURNEYMAN_HOME`, else `~/.journeyman`). Inside another block the inner one's labels win; tags
    add up.
    """
    return Capture(**named)(function) if function is not None else Capture(**named)


def session(name: str, *, person: str | None = None, tags: Mapping[str, str] | None = None) -> Labels:
    """Name the session that the calls of a block belong to; captures nothing by itself."""
    return Labels(name, person=person, tags=tags)
