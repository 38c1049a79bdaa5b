"""Twins found in traces: for each tool the expressions that explain its answers and its changes in every call.

No model is asked. A candidate expression comes from one call and must hold in all others of the same outcome; what
nothing explains stays unexplained, and the resolver's next layer answers it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from journeyman.worlds.explain import Index, candidates, changed_number, generalised, written_as
from journeyman.worlds.expressions import Expression, Scene, Unknown, evaluate, resolve, same
from journeyman.worlds.guards import Decision, deciding
from journeyman.worlds.rules import Case, Rule, Write
from journeyman.worlds.state import MISSING, Change, difference, leaves, read
from journeyman.worlds.transitions import Transition

_FEWEST = 2
_MOST_CALLS = 160
_MOST_CANDIDATES = 60
_FORGIVEN = 0.02
_MANY_FAMILIES = 4
_DEEPEST = 5
_FEW_VALUES = 4
_UNSEEN = 0.25


@dataclass(frozen=True)
class _Seen:
    """A call prepared for the search."""

    call: Transition
    scene: Scene
    before: Index
    after: Index
    changes: tuple[Change, ...]


class Study:
    """A tool's calls by what came of them, what explains each outcome, and when it comes.

    Calls need the state before and after. At most 160 are looked at, spread evenly.
    """

    def __init__(self, tool: str, calls: Sequence[Transition]) -> None:
        usable = [each for each in calls if each.before is not None and each.after is not None]
        step = max(1, len(usable) // _MOST_CALLS)
        seen = [_prepared(each) for each in usable[::step]]
        groups: dict[str, list[_Seen]] = {}
        for each in seen:
            groups.setdefault(_outcome(each), []).append(each)
        parts = [part for group in groups.values() for part in _divided(group)]
        self.tool = tool
        self._bodies = [body for _, body in parts]
        self._refusals = frozenset(n for n, (part, _) in enumerate(parts) if part[0].call.error is not None)
        numbers = {id(each): number for number, (part, _) in enumerate(parts) for each in part}
        seen = seen if self.explains else []
        scenes, outcomes = [each.scene for each in seen], [numbers[id(each)] for each in seen]
        roots = {str(change.path[0]) for each in seen for change in each.changes if change.path}
        roots |= Rule(tool, tuple(body for body in self._bodies if body is not None)).roots()
        self._decision = Decision(scenes, outcomes, self._refusals, _vocabularies(seen), roots)

    @property
    def explains(self) -> bool:
        """Whether anything that the tool does is explained."""
        return any(self._bodies)

    def deciding(self) -> set[str]:
        """The conditions that decide whether the tool refuses."""
        return deciding(self._decision.leaves(), self._refusals) if self.explains else set()

    def rule(self, usual: Mapping[str, int] = {}) -> Rule | None:
        """The rule; None when nothing is explained. `usual` counts the other tools in which a condition decides."""
        if not self.explains:
            return None
        cases = []
        for guards, outcome, count in self._decision.leaves(usual):
            body = None if outcome is None else self._bodies[outcome]
            if body is None:
                # Nobody knows what the tool does here: a case that has no value hands the call on.
                cases.append(Case(guards, (), ["unexplained"], None, count))
            else:
                cases.append(Case(guards, body.writes, body.observation, body.error, count))
        return Rule(self.tool, tuple(cases))


def synthesize(calls: Mapping[str, Sequence[Transition]]) -> dict[str, Rule]:
    """The rules that explain the calls of each tool, for the tools of which anything is explained.

    Tools of one system refuse for like reasons: what decides in others goes first where a tool's own calls leave
    several conditions equal.
    """
    studies = [Study(tool, found) for tool, found in calls.items()]
    own = [study.deciding() for study in studies]
    everywhere = Counter(condition for found in own for condition in found)
    rules = {}
    for study, mine in zip(studies, own, strict=True):
        rule = study.rule({condition: count - (condition in mine) for condition, count in everywhere.items()})
        if rule is not None:
            rules[study.tool] = rule
    return rules


def _vocabularies(seen: Sequence[_Seen]) -> dict[str, list[Any]]:
    """The values that were accepted of each argument, where one that was never seen is unlikely to be accepted.

    How likely that is: the share of values that one family alone gave, among all that families gave (Good and Turing's
    estimate of what was not seen yet).
    """
    given: dict[str, dict[str, tuple[Any, set[str]]]] = {}
    for each in seen:
        for name, value in each.scene.arguments.items() if each.call.error is None else ():
            if isinstance(value, str | int) and not isinstance(value, bool):
                families = given.setdefault(name, {}).setdefault(written_as(value), (value, set()))[1]
                families.add(each.call.family or each.call.session)
    found = {}
    for name, values in given.items():
        witnesses = [len(families) for _, families in values.values()]
        if witnesses.count(1) <= _UNSEEN * sum(witnesses) and sum(witnesses) >= _MANY_FAMILIES:
            found[name] = [value for value, _ in values.values()]
    return found


def explained(call: Transition, *, records: bool = True) -> Case | None:
    """One call alone as a case: what its answer repeats of the arguments and the state is read there, the rest stands.

    None when the call has no state, or its changes are at places that nothing names. Without `records` only single
    values are read there, and records and lists in the answer stand as they are.
    """
    if call.before is None or call.after is None:
        return None
    seen = _prepared(call)
    case = _body([seen])
    whole = isinstance(call.observation, Mapping | list)
    return case if records or case is None or not whole else replace(case, observation=["const", call.observation])


def _divided(group: list[_Seen]) -> list[tuple[list[_Seen], Case | None]]:
    """One body for the whole outcome, or one for each value of an argument that takes few: a mode, a flag."""
    if len(group) < _FEWEST:
        # A refusal says why and changes nothing: one is enough to say it again, and of anything else it is not.
        is_refusal = group[0].call.error is not None and not group[0].changes
        return [(group, _body(group) if is_refusal else None)]
    body = _body(group)
    if body is not None:
        return [(group, body)]
    best: list[tuple[list[_Seen], Case | None]] = [(group, None)]
    most = 0
    for name in dict.fromkeys(name for each in group for name in each.scene.arguments):
        parts: dict[str, list[_Seen]] = {}
        for each in group:
            parts.setdefault(written_as(each.scene.arguments.get(name)), []).append(each)
        if not 1 < len(parts) <= _FEW_VALUES:
            continue
        found = [(part, _body(part) if len(part) >= _FEWEST else None) for part in parts.values()]
        explained_calls = sum(len(part) for part, inner in found if inner is not None)
        if explained_calls > most:
            best, most = found, explained_calls
    return best


def _prepared(call: Transition) -> _Seen:
    scene = Scene(call.arguments, call.before, call.after)
    return _Seen(call, scene, Index(call.before), Index(call.after), difference(call.before, call.after))


def _outcome(seen: _Seen) -> str:
    """What kind of outcome a call had: its error, the keys of its result, and where it changed what."""
    shape = seen.call.observation
    told = sorted(shape) if isinstance(shape, Mapping) else type(shape).__name__
    flags = [value for _, value in leaves(shape) if isinstance(value, bool)][:_FEW_VALUES]
    changed = sorted((change.op, len(change.path), str(change.path[:2])) for change in seen.changes)
    return written_as([seen.call.error, told if seen.call.error is None else None, flags, changed])


def _body(group: Sequence[_Seen]) -> Case | None:
    observation = _fitted([each.call.observation for each in group], group, after=True)
    if observation is None:
        return None
    writes = []
    ordered = [sorted(each.changes, key=lambda c: (c.op, len(c.path), str(c.path[:2]))) for each in group]
    for place in range(len(ordered[0])):
        write = _write([changes[place] for changes in ordered], group)
        if write is None:
            return None
        writes.append(write)
    return Case((), tuple(writes), observation, group[0].call.error, len(group))


def _write(changes: Sequence[Change], group: Sequence[_Seen]) -> Write | None:
    first = group[0]
    for way in generalised(changes[0].path, first.scene, first.before) or []:
        if _share([_lands(way, each, change) for each, change in zip(group, changes, strict=True)]):
            break
    else:
        way = _new_key([change.path for change in changes], group) or []
        if not way:
            return None
    op = changes[0].op
    if op == "delete":
        return Write(op, way, ["const", None])
    old: Expression = ["cell", list(way)]
    value = _fitted([change.value for change in changes], group, after=False, old=old)
    return None if value is None else Write(op, way, value)


def _lands(way: Sequence[Any], seen: _Seen, change: Change) -> bool:
    try:
        return resolve(way, seen.scene, seen.scene.before) == change.path
    except Unknown:
        return False


def _new_key(paths: Sequence[tuple[str | int, ...]], group: Sequence[_Seen]) -> list[Any] | None:
    """A way to a key that the call makes: its last part an expression, such as a counter or a text."""
    first = group[0]
    if not paths[0]:
        return None
    last = _fitted([path[-1] for path in paths], group, after=False, as_key=True)
    if last is None:
        return None
    part: Any = last[1] if last[0] == "const" else last
    for head in generalised(paths[0][:-1], first.scene, first.before):
        way = [*head, part]
        told = [_resolves(way, each, path) for each, path in zip(group, paths, strict=True)]
        if _share(told):
            return way
    return None


def _resolves(way: Sequence[Any], seen: _Seen, path: tuple[str | int, ...]) -> bool:
    try:
        return resolve(way, seen.scene, seen.scene.before) == path
    except Unknown:
        return False


def _fitted(
    values: Sequence[Any],
    group: Sequence[_Seen],
    *,
    after: bool,
    old: Expression | None = None,
    as_key: bool = False,
    depth: int = 0,
) -> Expression | None:
    """An expression that gives each call its value; None when none of the candidates does."""
    families = {each.call.family or each.call.session for each in group}
    constant = all(written_as(value) == written_as(values[0]) for value in values)
    telling = isinstance(values[0], str | int | float) and not isinstance(values[0], bool) and bool(values[0])
    # Of one call alone nothing is constant: a whole record in its answer is looked for in the state, too.
    alone = len(group) == 1 and isinstance(values[0], Mapping | list) and bool(values[0])
    if constant and not alone and (not telling or len(families) >= _MANY_FAMILIES):
        return ["const", values[0]]
    for candidate in _tried(values, group, after, old, as_key):
        if _share([_gives(candidate, each, value, after, as_key) for each, value in zip(group, values, strict=True)]):
            return candidate
    if constant and not isinstance(values[0], Mapping | list):
        return ["const", values[0]]
    apart = _taken_apart(values, group, after=after, depth=depth)
    return ["const", values[0]] if apart is None and alone else apart


def _tried(
    values: Sequence[Any], group: Sequence[_Seen], after: bool, old: Expression | None, as_key: bool
) -> list[Expression]:
    """Candidates from the two calls whose values differ most in length: the rarer the value, the fewer accidents."""
    found: dict[str, Expression] = {}
    longest = max(range(len(values)), key=lambda place: len(written_as(values[place])))
    for place in dict.fromkeys((longest, 0)):
        each, value = group[place], values[place]
        seen_as = _as_scalar(value) if as_key else value
        ways = list(
            islice(candidates(seen_as, each.scene, each.before, each.after if after else None), _MOST_CANDIDATES)
        )
        if as_key:
            ways += list(islice(candidates(value, each.scene, each.before), _MOST_CANDIDATES))
        if old is not None:
            held = _value_of(old, each)
            if held is not MISSING:
                ways += list(islice(changed_number(value, old, held, each.scene, each.before), _MOST_CANDIDATES))
        found |= {repr(way): way for way in ways}
    found |= {repr(way): way for way in _defaults(values, group)}
    return list(found.values())


def _defaults(values: Sequence[Any], group: Sequence[_Seen]) -> list[Expression]:
    """Arguments that were not always given, with the value that stood where they were not."""
    found: list[Expression] = []
    for name in dict.fromkeys(name for each in group for name in each.scene.arguments):
        without = [value for value, each in zip(values, group, strict=True) if name not in each.scene.arguments]
        if without and len(without) < len(group) and all(same(value, without[0]) for value in without):
            found.append(["arg", name, without[0]])
    return found


def _taken_apart(values: Sequence[Any], group: Sequence[_Seen], *, after: bool, depth: int) -> Expression | None:
    if depth >= _DEEPEST:
        return None
    if all(isinstance(value, Mapping) for value in values) and len({tuple(sorted(value)) for value in values}) == 1:
        fields: dict[str, Expression] = {}
        for key in values[0]:
            inner = _fitted([value[key] for value in values], group, after=after, depth=depth + 1)
            if inner is None:
                return None
            fields[key] = inner
        return ["object", fields]
    if all(isinstance(value, Mapping) and len(value) == 1 for value in values):
        key = _fitted([next(iter(value)) for value in values], group, after=after, as_key=True, depth=depth + 1)
        value = _fitted([next(iter(value.values())) for value in values], group, after=after, depth=depth + 1)
        return None if key is None or value is None else ["pair", key, value]
    if all(isinstance(value, list) for value in values) and len({len(value) for value in values}) == 1:
        parts = []
        for place in range(len(values[0])):
            part = _fitted([value[place] for value in values], group, after=after, depth=depth + 1)
            if part is None:
                return None
            parts.append(part)
        return ["list", parts]
    return None


def _gives(expression: Expression, seen: _Seen, value: Any, after: bool, as_key: bool) -> bool:
    scene = seen.scene if after else Scene(seen.scene.arguments, seen.scene.before)
    try:
        found = evaluate(expression, scene)
    except Unknown:
        return False
    return str(found) == str(value) if as_key and not isinstance(found, bool) else same(found, value)


def _value_of(expression: Expression, seen: _Seen) -> Any:
    try:
        return read(seen.scene.before, resolve(expression[1], seen.scene, seen.scene.before))
    except Unknown:
        return MISSING


def _as_scalar(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isdigit() else value


def _share(right: Sequence[bool]) -> bool:
    return len(right) - sum(right) <= _FORGIVEN * len(right)
