"""Hooks in the HTTP libraries: there while a `capture()` is open anywhere in the process, and exactly undone after.

A library that is imported only while one is open gets its hook then.
"""

import importlib.util
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from journeyman.client.faults import quietly


class Patch:
    """One method of one class of a library, replaced; the class's own dictionary is afterwards as it was."""

    def __init__(self, owner: type, name: str, replacement: Callable[[Any], Any]) -> None:
        self._owner, self._name, self._make = owner, name, replacement
        self._original: Any = None
        self._hook: Any = None

    def apply(self) -> None:
        """Put the hook in, unless it is there."""
        if self._hook is None:
            self._original = self._owner.__dict__[self._name]
            self._hook = self._make(self._original)
            setattr(self._owner, self._name, self._hook)

    def undo(self) -> None:
        """Put the original back.

        Not where somebody else has replaced ours since: our hook stays in theirs, and passes calls on while nobody
        captures.
        """
        if self._hook is not None and self._owner.__dict__.get(self._name) is self._hook:
            setattr(self._owner, self._name, self._original)
            self._hook = self._original = None


def _of_httpx(module: ModuleType) -> list[Patch]:
    from journeyman.client import httpx_calls

    return [
        Patch(module.Client, "send", httpx_calls.sending),
        Patch(module.AsyncClient, "send", httpx_calls.async_sending),
    ]


def _of_aiohttp(module: ModuleType) -> list[Patch]:
    from journeyman.client import aiohttp_calls

    return [Patch(module.ClientSession, "_request", aiohttp_calls.requesting)]


def _of_requests(module: ModuleType) -> list[Patch]:
    from journeyman.client import requests_calls

    return [Patch(module.adapters.HTTPAdapter, "send", requests_calls.sending)]


LIBRARIES: dict[str, Callable[[Any], list[Patch]]] = {
    "httpx": _of_httpx,
    "httpx2": _of_httpx,
    "aiohttp": _of_aiohttp,
    "requests": _of_requests,
}
_lock = threading.RLock()
_open = 0
_patches: dict[str, list[Patch]] = {}


def acquire() -> None:
    """One more capture is open."""
    global _open
    with _lock:
        _open += 1
        if _open == 1:
            sys.meta_path.insert(0, _late)
        for name in LIBRARIES:
            if name in sys.modules and not _is_being_imported(sys.modules[name]):
                _patch(name)


def release() -> None:
    """One capture fewer; after the last one the libraries are as they were."""
    global _open
    with _lock:
        _open -= 1
        if _open:
            return
        sys.meta_path.remove(_late)
        for patches in _patches.values():
            for patch in patches:
                patch.undo()


@quietly
def _patch(name: str) -> None:
    with _lock:
        if not _open:
            return
        if name not in _patches:
            _patches[name] = LIBRARIES[name](sys.modules[name])
        for patch in _patches[name]:
            patch.apply()


def _is_being_imported(module: ModuleType) -> bool:
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


class _Late(MetaPathFinder):
    """Sees a library being imported, and hooks it once its module has run."""

    def __init__(self) -> None:
        self._busy = threading.local()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in LIBRARIES or getattr(self._busy, "name", None) == fullname:
            return None
        self._busy.name = fullname
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._busy.name = None
        if spec is not None and spec.loader is not None:
            spec.loader = _Hooking(spec.loader)
        return spec


class _Hooking(Loader):
    """The library's own loader, with our hook behind it."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        _patch(module.__name__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


_late = _Late()
