"""The small language of rules: how a value follows from a call's arguments and the state. It is data, never code.

Expressions are JSON lists whose first word says what they are:

    const V         V itself                           arg NAME        the argument of that name
    arg NAME V      the argument, or V without it      pair E F        an object with the one key E
    cell PATH       the state before the call          after PATH      the state after it
    keys PATH       the keys of an object              count PATH      how many it or a list holds
    sum A B F       A + F·B; of texts such as "12.50"  product A B     A·B
    text PARTS      the parts as one text              object MAP      an object, value by value
    list PARTS      a list, item by item               length E, words E, lines E   how long a text is
    parent E        a text up to its last "/"          first E         a list's first item, a text's first letter

A path's parts are keys, places in lists, expressions that give one of these, `where FIELD E` (the item of a list whose
FIELD is E) or `last`. Conditions, for guards:

    has PATH E      E is a key, or an item, there; of a list each of its items is
    holds PATH E    E is a value of the object there   true E          E is neither missing, false, 0 nor empty
    is E V          E is V                             less A B        A < B, both numbers
    same A B        they are equal                     given NAME      the argument was given
    contains A T    the text A has T in it             not C           C does not hold
    known E         the text E is a key or a value somewhere in the state
    known E KEY     it is one somewhere below a key KEY
    among E VALUES  E is one of these values
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from journeyman.worlds.state import MISSING, Path, read

Expression = list[Any]
_MOST = 1e300
"""What is larger is no number to compute with: agents say whole numbers that no float can hold."""


class Unknown(Exception):
    """An expression has no value in this scene: a cell or an argument that it names is not there."""


@dataclass(frozen=True)
class Scene:
    """What an expression can see: the call's arguments and the state; `after` only once the changes are made."""

    arguments: Mapping[str, Any]
    before: Any
    after: Any = None


def evaluate(expression: Expression, scene: Scene) -> Any:
    """The value in this scene; Unknown when there is none."""
    match expression:
        case ["const", value]:
            return value
        case ["arg", name]:
            if name not in scene.arguments:
                raise Unknown(name)
            return scene.arguments[name]
        case ["arg", name, default]:
            return scene.arguments.get(name, default)
        case ["cell", path]:
            return _at(path, scene, scene.before)
        case ["after", path]:
            return _at(path, scene, scene.after)
        case ["pair", key, value]:
            return {_key(evaluate(key, scene)): evaluate(value, scene)}
        case ["object", fields]:
            return {key: evaluate(inner, scene) for key, inner in fields.items()}
        case ["list", parts]:
            return [evaluate(part, scene) for part in parts]
    return _computed(expression, scene)


def _computed(expression: Expression, scene: Scene) -> Any:
    match expression:
        case ["parent", inner]:
            return _spoken(evaluate(inner, scene)).rpartition("/")[0]
        case ["first", inner]:
            found = evaluate(inner, scene)
            if not isinstance(found, str | list) or not found:
                raise Unknown("a first item")
            return found[0]
        case ["length" | "words" | "lines" as measure, inner]:
            return _measured(measure, evaluate(inner, scene))
        case ["keys", path]:
            return list(_container(path, scene, Mapping))
        case ["count", path]:
            return len(_container(path, scene, (Mapping, list)))
        case ["sum", one, other, factor]:
            return _sum(evaluate(one, scene), evaluate(other, scene), factor)
        case ["product", one, other]:
            return _number(evaluate(one, scene)) * _number(evaluate(other, scene))
        case ["text", parts]:
            return "".join(_spoken(evaluate(part, scene)) for part in parts)
    raise Unknown(json.dumps(expression, default=str))


def holds(condition: Expression, scene: Scene) -> bool:
    """Whether a condition is true; one that speaks of what is not there is false."""
    try:
        return _holds(condition, scene)
    except Unknown:
        return False


def _holds(condition: Expression, scene: Scene) -> bool:
    match condition:
        case ["not", inner]:
            return not holds(inner, scene)
        case ["given", name]:
            return name in scene.arguments
        case ["true", expression]:
            return bool(evaluate(expression, scene))
        case ["is", expression, value]:
            return same(evaluate(expression, scene), value)
        case ["among", expression, values]:
            found = evaluate(expression, scene)
            return any(same(found, value) for value in values)
        case ["same", one, other]:
            return same(evaluate(one, scene), evaluate(other, scene))
        case ["contains", expression, text]:
            found = evaluate(expression, scene)
            return isinstance(found, str) and text in found
        case ["known", expression]:
            return occurs(scene.before, evaluate(expression, scene))
        case ["known", expression, key]:
            return occurs_below(scene.before, key, evaluate(expression, scene))
        case ["less", one, other]:
            return bool(_number(evaluate(one, scene)) < _number(evaluate(other, scene)))
    return _is_in(condition, scene)


def _is_in(condition: Expression, scene: Scene) -> bool:
    match condition:
        case ["has", path, expression]:
            found, wanted = _at(path, scene, scene.before), evaluate(expression, scene)
            if isinstance(wanted, list) and wanted and not _has(found, wanted):
                return all(_has(found, item) for item in wanted)
            return _has(found, wanted)
        case ["holds", path, expression]:
            found, wanted = _at(path, scene, scene.before), evaluate(expression, scene)
            return isinstance(found, Mapping) and any(same(value, wanted) for value in found.values())
    raise Unknown(json.dumps(condition, default=str))


def _has(found: Any, wanted: Any) -> bool:
    if isinstance(found, Mapping):
        return isinstance(wanted, str | int) and _key(wanted) in found
    return isinstance(found, list) and wanted in found


def resolve(path: Sequence[Any], scene: Scene, document: Any) -> Path:
    """The path with its expressions replaced by what they say in this scene; Unknown when one says nothing."""
    found: list[str | int] = []
    for part in path:
        if isinstance(part, str | int):
            found.append(part)
            continue
        items = read(document, tuple(found))
        match part:
            case ["where", name, expression]:
                wanted = evaluate(expression, scene)
                found.append(_place(items, name, wanted))
            case ["last"]:
                if not isinstance(items, list) or not items:
                    raise Unknown("last")
                found.append(len(items) - 1)
            case _:
                value = evaluate(part, scene)
                if isinstance(value, bool) or not isinstance(value, str | int):
                    raise Unknown("a key")
                is_place = isinstance(items, list) and isinstance(value, int)
                found.append(value if is_place else _key(value))
    return tuple(found)


def occurs(document: Any, name: Any) -> bool:
    """Whether a text is a key or a value anywhere in a document."""
    if isinstance(document, Mapping):
        return any(key == name or occurs(inner, name) for key, inner in document.items())
    if isinstance(document, list):
        return any(occurs(inner, name) for inner in document)
    return isinstance(name, str) and bool(document == name)


def occurs_below(document: Any, key: str, name: Any) -> bool:
    """Whether a text is a key or a value somewhere below a key."""
    if isinstance(document, Mapping):
        return any(
            (found == key and occurs(inner, name)) or occurs_below(inner, key, name)
            for found, inner in document.items()
        )
    return isinstance(document, list) and any(occurs_below(inner, key, name) for inner in document)


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: 1 and true are not."""
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _at(path: Sequence[Any], scene: Scene, document: Any) -> Any:
    value = read(document, resolve(path, scene, document))
    if value is MISSING:
        raise Unknown(json.dumps(path, default=str))
    return value


def _measured(measure: str, text: Any) -> int:
    if not isinstance(text, str):
        raise Unknown("a text")
    return len(text if measure == "length" else text.split() if measure == "words" else text.splitlines())


def _container(path: Sequence[Any], scene: Scene, kind: Any) -> Any:
    found = _at(path, scene, scene.before if scene.after is None else scene.after)
    if not isinstance(found, kind):
        raise Unknown("a container")
    return found


def _place(items: Any, name: str, wanted: Any) -> int:
    if isinstance(items, list):
        for place, item in enumerate(items):
            if isinstance(item, Mapping) and name in item and same(item[name], wanted):
                return place
    raise Unknown(name)


def _sum(one: Any, other: Any, factor: float) -> Any:
    if isinstance(one, str):
        try:
            exponent = Decimal(one).as_tuple().exponent
            total = Decimal(one) + Decimal(str(factor)) * Decimal(str(other))
            return str(total.quantize(Decimal(1).scaleb(exponent if isinstance(exponent, int) else 0)))
        except InvalidOperation:
            raise Unknown("a number") from None
    added = _number(other)
    return _number(one) + (added if factor == 1 else -added if factor == -1 else factor * added)


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > _MOST:
        raise Unknown("a number")
    return value


def _key(value: str | int) -> str:
    return str(value)


def _spoken(value: Any) -> str:
    if isinstance(value, Mapping | list):
        raise Unknown("a text")
    return str(value)
