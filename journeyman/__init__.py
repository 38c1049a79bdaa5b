"""Journeyman lets an agent learn from its own work."""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from journeyman.client.drop_in import AsyncOpenAI as AsyncOpenAI
    from journeyman.client.drop_in import OpenAI as OpenAI
    from journeyman.client.said import feedback as feedback
    from journeyman.client.scope import capture as capture
    from journeyman.client.scope import session as session

_FOR_PROGRAMS = {
    "AsyncOpenAI": "journeyman.client.drop_in",
    "OpenAI": "journeyman.client.drop_in",
    "feedback": "journeyman.client.said",
    "session": "journeyman.client.scope",
}
"""What users' programs import from here, and where it is; imported when it is asked for, so that we stay light."""


def __getattr__(name: str) -> Any:
    if name == "capture":
        return importlib.import_module("journeyman.capture")
    if name in _FOR_PROGRAMS:
        return getattr(importlib.import_module(_FOR_PROGRAMS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Callable(ModuleType):
    """The package `journeyman.capture`, which is also the function `journeyman.capture()`."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return importlib.import_module("journeyman.client.scope").capture(*arguments, **named)


class _Journeyman(ModuleType):
    """This module: whoever imports its package `capture`, in whatever order, finds it callable."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "capture" and type(value) is ModuleType:
            value.__class__ = _Callable
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Journeyman
