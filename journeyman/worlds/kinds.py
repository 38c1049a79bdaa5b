"""Of what kind an argument is: the keys below which the state knows it, such as `accounts` or `card`."""

from collections import Counter
from collections.abc import Iterator, Sequence

from journeyman.worlds.explain import Index, written_as
from journeyman.worlds.expressions import Expression, Scene


def of_kinds(samples: Sequence[Scene], names: Sequence[str]) -> Iterator[Expression]:
    """That an argument is known below a key, such as `accounts`, where several samples say so; the nearest key first.

    These come before whether it is known at all: what calls cannot tell apart, tools do, by the kind of thing it is.
    """
    for name in names:
        seen, nearness = Counter[str](), dict[str, int]()
        for scene in samples:
            for key, near in _keys_above(scene, name).items():
                seen[key] += 1
                nearness[key] = min(near, nearness.get(key, near))
        several = sorted((key for key in seen if seen[key] > 1), key=lambda key: (nearness[key], key))
        yield from (["known", ["arg", name], key] for key in several)


def _keys_above(scene: Scene, name: str) -> dict[str, int]:
    """Keys on the ways to where an argument's value stands, as a value or a key, with how far above it they are."""
    value = scene.arguments.get(name)
    if not isinstance(value, str):
        return {}
    places = Index(scene.before).places
    as_key = (path[:-1] for found in places.values() for path in found if path and path[-1] == value)
    found: dict[str, int] = {}
    for path in (*places.get(written_as(value), ()), *as_key):
        for near, key in enumerate(reversed(path)):
            if isinstance(key, str) and key != value:
                found[key] = min(near, found.get(key, near))
    return found
