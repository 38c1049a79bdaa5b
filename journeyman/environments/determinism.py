"""What a world needs so that two runs of one seed are the same byte for byte: time, names and chance of its own.

A `VirtualClock` stands still until it is told to go on, `Identifiers` are counted instead of drawn, and `Draws` are
random numbers that follow from a seed and a key alone: there is no stream whose place could be lost, so the same call
in the same state meets the same chance in every fork, whatever its siblings did in between.
"""

import datetime as real
import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from types import ModuleType, SimpleNamespace
from typing import Any, TypeVar
from uuid import UUID

Thing = TypeVar("Thing")
EPOCH = real.datetime(2026, 1, 1, 9, tzinfo=real.UTC)
"""When a world begins that does not say otherwise."""


@dataclass
class VirtualClock:
    """A time in UTC that passes only when it is told to."""

    at: real.datetime = EPOCH

    def now(self) -> real.datetime:
        """The present moment of the world."""
        return self.at

    def advance(self, seconds: float) -> real.datetime:
        """Let so many seconds pass; ValueError for less than none."""
        if seconds < 0:
            raise ValueError(f"a clock does not go back, and {seconds:g} s were asked for")
        self.at += real.timedelta(seconds=seconds)
        return self.at

    def fork(self) -> "VirtualClock":
        """An independent copy."""
        return replace(self)


@dataclass
class Identifiers:
    """Names for what a world makes, the same in every run: `order-1`, `order-2`, or UUIDs that follow from the seed."""

    seed: str
    _made: Counter[str] = field(default_factory=Counter)

    def next(self, kind: str) -> str:
        """The next name of that kind."""
        self._made[kind] += 1
        return f"{kind}-{self._made[kind]}"

    def uuid(self, kind: str = "uuid") -> UUID:
        """The next UUID of that kind: 122 bits of the seed's, in the form of version 4."""
        return UUID(bytes=hashlib.sha256(_written(self.seed, self.next(kind))).digest()[:16], version=4)

    def fork(self) -> "Identifiers":
        """An independent copy."""
        return Identifiers(self.seed, self._made.copy())


@dataclass(frozen=True)
class Draws:
    """Random numbers by key, without a state. Put into the key what may change them: the call, the step, a count.

    Keys are JSON values: what has no JSON is refused rather than told apart by its address.
    """

    seed: str

    def uniform(self, *key: Any) -> float:
        """A number in [0, 1)."""
        return (int.from_bytes(self._bits(key)[:8]) >> 11) / 2**53

    def integer(self, low: int, high: int, *key: Any) -> int:
        """A whole number from `low` to `high`, both included."""
        return self.rng(*key).randint(low, high)

    def choice(self, options: Sequence[Thing], *key: Any) -> Thing:
        """One of the options."""
        return self.rng(*key).choice(options)

    def rng(self, *key: Any) -> random.Random:
        """A generator that begins at this key, where more than one number is needed."""
        return random.Random(self._bits(key))

    def _bits(self, key: tuple[Any, ...]) -> bytes:
        return hashlib.sha256(_written(self.seed, *key)).digest()


def _written(*key: Any) -> bytes:
    return json.dumps(key, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


_ticking: ContextVar[VirtualClock | None] = ContextVar("_ticking", default=None)


@contextmanager
def ticking(clock: VirtualClock) -> Iterator[None]:
    """While inside, modules that went through `on_virtual_time` read this clock; others, and other tasks, do not."""
    token = _ticking.set(clock)
    try:
        yield
    finally:
        _ticking.reset(token)


def on_virtual_time(*modules: ModuleType) -> None:
    """Let modules of other people's code read the clock of `ticking` wherever they ask `datetime` for the present.

    It replaces their own name `datetime` (the class or the module) and no one else's. What they read before, or by
    `time.time`, is not reached: `journeyman env check` says whether anything is left.
    """
    for module in modules:
        found = getattr(module, "datetime", None)
        if found is real.datetime:
            vars(module)["datetime"] = VirtualDatetime
        elif found is real:
            names = {name: getattr(real, name) for name in dir(real) if not name.startswith("_")}
            vars(module)["datetime"] = SimpleNamespace(**names | {"datetime": VirtualDatetime, "date": _VirtualDate})
        if getattr(module, "date", None) is real.date:
            vars(module)["date"] = _VirtualDate


class _Same(type):
    """Whether something is a datetime does not depend on who asks."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.__mro__[1])


class VirtualDatetime(real.datetime, metaclass=_Same):
    """`datetime` whose present is that of `ticking`, and the real one outside."""

    @classmethod
    def now(cls, tz: real.tzinfo | None = None) -> Any:
        """The present; without a time zone, UTC as a naive value: a world has no place on the map."""
        return _present(lambda: real.datetime.now(tz), lambda at: at.astimezone(tz) if tz else at.replace(tzinfo=None))

    @classmethod
    def today(cls) -> Any:
        """The present, naive."""
        return cls.now()

    @classmethod
    def utcnow(cls) -> Any:
        """The present in UTC, naive."""
        return cls.now(real.UTC).replace(tzinfo=None)


class _VirtualDate(real.date, metaclass=_Same):
    @classmethod
    def today(cls) -> Any:
        return _present(real.date.today, lambda at: at.date())


def _present(outside: Callable[[], Any], inside: Callable[[real.datetime], Any]) -> Any:
    clock = _ticking.get()
    return outside() if clock is None else inside(clock.now())
