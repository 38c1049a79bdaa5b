"""The one guard between our code and the program that we run in: a fault of ours stays ours."""

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

log = logging.getLogger("journeyman.client")
counts: dict[str, int] = {}
"""How often each kind of fault was swallowed, by its error's name; `journeyman.client.calls.report` shows it."""


def quietly(function: Callable[Parameters, Result]) -> Callable[Parameters, Result | None]:
    """A hook that raises nothing: its error is counted and logged (a kind's first as a warning), and it gives None.

    This is the only place that catches every Exception: the caller's own call must end as it would without us.
    """

    @functools.wraps(function)
    def guarded(*arguments: Parameters.args, **named: Parameters.kwargs) -> Result | None:
        try:
            return function(*arguments, **named)
        except Exception as error:
            _count(function.__name__, error)
            return None

    return guarded


def _count(where: str, error: Exception) -> None:
    kind = type(error).__name__
    counts[kind] = counts.get(kind, 0) + 1
    level = logging.WARNING if counts[kind] == 1 else logging.DEBUG
    log.log(
        level,
        "A call is not captured, or not wholly: %s: %s (in %s). The call itself is untouched.",
        kind,
        error,
        where,
        exc_info=log.isEnabledFor(logging.DEBUG),
    )
