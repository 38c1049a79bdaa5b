"""Whether a reply makes the call that BFCL's possible answers allow. Written into every suite, beside its answers.

By the rules of BFCL's own checker for Python: one call to the right function; every argument of the declared type with
one of the possible values; an argument may be absent if one of its possible values is the empty string. Strings are
compared without case, spaces and `,./-_*^`. An integer passes for a float.
"""

import json
import re
from typing import Any

KNOWN: dict[str, dict[str, Any]] = {}
"""By case: BFCL's `functions` and `answers`."""

_KINDS: dict[str, type] = {
    "string": str, "integer": int, "float": float, "boolean": bool, "array": list, "tuple": list, "dict": dict,
    "any": str,
}  # fmt: skip


def check(reply: Any, case: dict[str, Any]) -> tuple[bool, str]:
    """Whether the reply's calls are right, and why not."""
    known = KNOWN[case["id"]]
    return judge(calls_of(reply), known["functions"], known["answers"])


def calls_of(reply: Any) -> list[tuple[str, Any]]:
    """Names and arguments of a message's calls; arguments that are no JSON stay text."""
    found = []
    for each in reply.tool_calls or ():
        try:
            arguments = json.loads(each.function.arguments or "{}")
        except ValueError:
            arguments = each.function.arguments
        found.append((each.function.name, arguments))
    return found


def judge(
    calls: list[tuple[str, Any]], functions: list[dict[str, Any]], answers: list[dict[str, dict[str, list[Any]]]]
) -> tuple[bool, str]:
    """Whether one call is the expected one, and why not; BFCL's questions of these kinds expect one each."""
    if len(calls) != 1:
        return False, f"{len(calls)} calls instead of one"
    ((expected, possible),) = answers[0].items()
    (name, arguments) = calls[0]
    if name.replace(".", "_") != expected.replace(".", "_"):
        return False, f"called {name} instead of {expected}"
    if not isinstance(arguments, dict):
        return False, f"the arguments of {name} are no JSON object"
    declared = next(each["parameters"] for each in functions if each["name"] == expected)
    missing = [
        key
        for key in {*possible, *declared["required"]} - set(arguments)
        if key in declared["required"] or "" not in possible[key]
    ]
    if missing:
        return False, f"{', '.join(sorted(missing))} is missing"
    for key, value in arguments.items():
        if key not in possible or key not in declared["properties"]:
            return False, f"there is no argument {key}"
        if not _allowed(value, possible[key], declared["properties"][key]):
            return False, f"{key} is {value!r}, expected one of {possible[key]!r}"
    return True, ""


def _allowed(value: Any, possible: list[Any], declared: dict[str, Any]) -> bool:
    kind = _KINDS[declared["type"]]
    if declared["type"] == "float" and type(value) is int:
        value = float(value)
    named = next((type(each) for each in possible if each != ""), None)
    if type(value) is not kind:
        # A value of another kind than declared, such as a variable's name, is compared as it stands.
        return named is not None and type(value) is named and value in possible
    if named is not None and named is not kind and kind not in (list, tuple):
        return value in possible
    if kind is str:
        return _plain(value) in [_plain(each) for each in possible if isinstance(each, str)]
    if kind is dict:
        return _object_allowed(value, possible)
    if kind is list:
        return _list_allowed(value, possible, declared["items"]["type"])
    return value in possible


def _list_allowed(value: list[Any], possible: list[Any], items: str) -> bool:
    lists = [each for each in possible if isinstance(each, list)]
    if items == "dict":
        return any(
            len(each) == len(value) and all(isinstance(one, dict) and _object_allowed(one, [other])
                                            for one, other in zip(value, each, strict=True))
            for each in lists
        )  # fmt: skip
    if not any(_kinds_fit(value, each, _KINDS[items]) for each in lists):
        return False
    return [_plain(one) for one in value] in [[_plain(one) for one in each] for each in lists]


def _kinds_fit(value: list[Any], possible: list[Any], declared: type) -> bool:
    named = next((type(each) for each in possible if each != ""), declared)
    return all(type(one) in (declared, named) for one in value)


def _object_allowed(value: dict[str, Any], possible: list[Any]) -> bool:
    return any(isinstance(each, dict) and _same_object(value, each) for each in possible)


def _same_object(value: dict[str, Any], possible: dict[str, list[Any]]) -> bool:
    if any(key not in value and "" not in allowed for key, allowed in possible.items()):
        return False
    return all(
        key in possible and _plain(one) in [_plain(each) for each in possible[key]] for key, one in value.items()
    )


def _plain(value: Any) -> Any:
    return re.sub(r"[ ,./\-_*^]", "", value).lower().replace("'", '"') if isinstance(value, str) else value
