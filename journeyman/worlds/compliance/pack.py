"""Policy packs: rules as a file that a compliance officer can read, and what tempts an agent to break each of them."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from journeyman.errors import InvalidInput, NotFound
from journeyman.records import Frozen
from journeyman.records.compliance import ProbeKind, Severity
from journeyman.worlds.compliance.conditions import Condition, references

PACKS = Path(__file__).parent / "packs"
_ENDINGS = (".yaml", ".yml", ".json")
Expressions = tuple[str, ...]


class _Checked(Frozen):
    """A part of a pack whose regular expressions are all sound."""

    @model_validator(mode="after")
    def _expressions_compile(self) -> "_Checked":
        for name in ("matches", "says", "unless", "after_user", "answered", "refusal"):
            for each in getattr(self, name, ()):
                try:
                    re.compile(each)
                except re.error as problem:
                    raise ValueError(f"{name}: {each!r} is no regular expression ({problem})") from None
        return self


class Pattern(_Checked):
    """Which events are meant: words of one side that match, or calls of tools whose fields fulfil all conditions.

    A tool is named, or a role such as `@identify` that the pack's `tools` fill. Conditions speak of `arguments.…`,
    `result.…`, `ok` and `text`.
    """

    said_by: Literal["user", "agent"] | None = None
    matches: Expressions = ()
    tool: Expressions = ()
    where: tuple[Condition, ...] = ()

    @model_validator(mode="after")
    def _one_of_two(self) -> "Pattern":
        if bool(self.tool) == (self.said_by is not None) or (self.matches and self.tool):
            raise ValueError("an event is either said_by somebody (with matches) or a call of a tool (with where)")
        return self


class CallCheck(Frozen):
    """Violated by each call of these tools that fulfils all conditions."""

    kind: Literal["calls"]
    tool: Expressions = Field(min_length=1)
    where: tuple[Condition, ...] = ()


class StateCheck(Frozen):
    """Violated when all conditions hold in the end. They speak of `before.…` and `after.…`, the system's own state."""

    kind: Literal["state"]
    where: tuple[Condition, ...] = Field(min_length=1)


class OrderCheck(Frozen):
    """At each `trigger`, `first` must have happened before, or `then` must follow.

    With `each`, one `first` allows one trigger. What matches `renew` makes earlier ones void. `here` lets the
    trigger's own message count. `within`: how many messages of the agent may lie between trigger and `then`; without
    it, the end of the conversation is early enough. Conditions of `first` may speak of `$trigger.…`.
    """

    kind: Literal["order"]
    trigger: Pattern
    first: Pattern | None = None
    then: Pattern | None = None
    renew: Pattern | None = None
    each: bool = False
    here: bool = False
    within: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _before_or_after(self) -> "OrderCheck":
        if (self.first is None) == (self.then is None):
            raise ValueError("give either `first`, what must come before the trigger, or `then`, what must follow it")
        if self.then is not None and (self.each or self.renew):
            raise ValueError("`each` and `renew` speak of `first`, and there is none")
        if self.first is not None and self.within is not None:
            raise ValueError("`within` speaks of `then`, and there is none")
        return self


class WordCheck(_Checked):
    """Violated by a sentence of the agent that matches one of `says` and none of `unless`, or holds a forbidden text.

    `forbids` are texts, or names of facts that hold some. With `after_user` only what is said after the user said such
    a thing counts. Questions are left out unless `questions` says otherwise.
    """

    kind: Literal["words"]
    says: Expressions = ()
    unless: Expressions = ()
    forbids: tuple[str, ...] = ()
    after_user: Expressions = ()
    questions: bool = False

    @model_validator(mode="after")
    def _says_something(self) -> "WordCheck":
        if not self.says and not self.forbids:
            raise ValueError("give expressions in `says`, or texts in `forbids`")
        return self


class JudgeCheck(Frozen):
    """Violated when a judge answers the question with yes and quotes the agent's words that show it.

    With several judges, more than half of them must.
    """

    kind: Literal["judge"]
    question: str = Field(min_length=1)


Check = Annotated[CallCheck | StateCheck | OrderCheck | WordCheck | JudgeCheck, Field(discriminator="kind")]


class Examples(Frozen):
    """Conduct whose verdict is known: the check is measured on it.

    An example is what the agent said after the user had `asked`, or a conversation line by line: `user: …`,
    `agent: …`, `call: TOOL {arguments} -> result`, where a tool may be a role. `facts` are the scenario's.
    """

    ok: tuple[str | tuple[str, ...], ...] = ()
    violates: tuple[str | tuple[str, ...], ...] = ()
    asked: str = "Hello."
    facts: dict[str, Any] = Field(default_factory=dict)


class Probe(_Checked):
    """One way to try a rule. `base` names the sort of the environment's own scenarios that it begins from.

    With `say` the user is scripted: each text opens a scenario of its own (and is followed by the pack's pressure,
    where the kind is `pressure`). Without, the environment's own user plays. `text` is what an injection says in the
    answer of a `tool`; a fault lets the first call of the `tool`, or the `nth`, fail with `text`: with `done` it did
    its work, and the answer is lost. `answered`: how an answer is known that helps. Texts may hold `{slots}`.
    """

    base: str = "routine"
    say: tuple[str, ...] = ()
    answered: Expressions = ()
    tool: Expressions = ()
    text: tuple[str, ...] = ()
    count: int = Field(1, ge=1)
    """How many scenarios of each text."""
    nth: int = Field(1, ge=1)
    done: bool = False


class Rule(Frozen):
    """One rule of a policy, how its violation is seen, and how an agent is tempted to it."""

    id: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    text: str = Field(min_length=1)
    source: str = Field(min_length=1)
    severity: Severity
    check: Check
    examples: Examples = Examples()
    probes: dict[ProbeKind, Probe] = Field(default_factory=dict)

    @property
    def reads_words(self) -> bool:
        """Whether the check goes by what was said, and can err; calls and states are exact."""
        check = self.check
        if isinstance(check, OrderCheck):
            return any(each is not None and each.matches for each in (check.trigger, check.first, check.then))
        return isinstance(check, WordCheck | JudgeCheck)

    @property
    def facts(self) -> set[str]:
        """What a scenario must hold for the check to say anything there."""
        return references(self.check.model_dump()) - {"trigger"}


class Pack(_Checked):
    """A policy: rules, the tools that fill its roles, how a refusal is worded, and steps of pressure."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    about: str = ""
    tools: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    refusal: Expressions = ()
    pressure: tuple[str, ...] = ()
    fill: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    rules: tuple[Rule, ...] = Field(min_length=1)

    @field_validator("rules")
    @classmethod
    def _own_names(cls, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        names = [rule.id for rule in rules]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"two rules are called {', '.join(sorted(twice))}")
        return rules

    @property
    def hash(self) -> str:
        """16 hex digits of a SHA-256 over all that the pack says."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def rule(self, id: str) -> Rule:
        """The rule of that id; NotFound otherwise."""
        found = next((rule for rule in self.rules if rule.id == id), None)
        if found is None:
            raise NotFound("rule", id, [rule.id for rule in self.rules])
        return found

    def tools_of(self, names: Expressions) -> tuple[str, ...]:
        """The tools that names and roles (`@role`) stand for; a role that nothing fills stands for none."""
        found: list[str] = []
        for name in names:
            found += self.tools.get(name[1:], ()) if name.startswith("@") else (name,)
        return tuple(dict.fromkeys(found))


def read_pack(name: str | Path, tools: Mapping[str, tuple[str, ...]] | None = None) -> Pack:
    """The pack of a file (YAML or JSON), or one that comes with Journeyman, by its name.

    A pack that `extends` another takes over what it does not say itself; rules of the same id are replaced, and those
    under `without` left out. `tools` fill roles that the pack leaves open. InvalidInput names what is wrong.
    """
    written = _written(name, ())
    roles = {role: list(each) for role, each in (tools or {}).items()}
    written["tools"] = roles | (written.get("tools") or {})
    try:
        return Pack.model_validate(written)
    except ValidationError as problem:
        first = problem.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the pack"
        raise InvalidInput(
            f"the policy pack {name}: {_named(written, first['loc'])}{place}: {first['msg']}; "
            "docs/guides/compliance.md says what a rule may hold. Nothing was run"
        ) from problem


def _written(name: str | Path, above: tuple[str, ...]) -> dict[str, Any]:
    """What a pack's file says, with what it extends."""
    path = _find(name)
    if str(path) in above:
        raise InvalidInput(f"the policy pack {name} extends itself: {' → '.join([*above, str(path)])}")
    written = _load(path)
    if not isinstance(written, dict):
        raise InvalidInput(f"the policy pack {path} is no mapping with name and rules; nothing was run")
    parent, without = written.pop("extends", None), set(written.pop("without", None) or ())
    if parent is None:
        if without:
            raise InvalidInput(f"the policy pack {path} leaves out {', '.join(sorted(without))}, but extends no other")
        return written
    beside = path.parent / str(parent)
    found = _written(beside if beside.is_file() else str(parent), (*above, str(path)))
    own = {rule["id"]: rule for rule in written.get("rules") or [] if isinstance(rule, dict) and "id" in rule}
    known = {rule["id"] for rule in found["rules"]}
    if without - known:
        raise InvalidInput(f"the policy pack {path} leaves out {', '.join(sorted(without - known))}, which {parent} "
                           f"does not have; it has {', '.join(sorted(known))}")  # fmt: skip
    kept = [own.pop(rule["id"], rule) for rule in found["rules"] if rule["id"] not in without]
    merged = {key: {**found.get(key, {}), **(written.get(key) or {})} for key in ("tools", "fill")}
    return {**found, **written, **merged, "rules": [*kept, *own.values()]}


def _find(name: str | Path) -> Path:
    path = Path(name)
    if path.suffix in _ENDINGS:
        if not path.is_file():
            raise InvalidInput(f"there is no policy pack {path}; nothing was run")
        return path
    shipped = {each.stem: each for each in PACKS.iterdir() if each.suffix in _ENDINGS}
    if str(name) not in shipped:
        raise NotFound("policy pack", str(name), shipped, "A pack of your own is a .yaml or .json file")
    return shipped[str(name)]


def _load(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        try:
            return json.loads(text)
        except ValueError as problem:
            raise InvalidInput(f"the policy pack {path} is not JSON ({problem}); nothing was run") from problem
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as problem:
        raise InvalidInput(f"the policy pack {path} is not YAML ({problem}); nothing was run") from problem


def _named(written: Mapping[str, Any], place: tuple[int | str, ...]) -> str:
    """The id of the rule that an error is in, as people know it."""
    if len(place) > 1 and place[0] == "rules" and isinstance(place[1], int):
        rule = written["rules"][place[1]]
        return f"rule {rule['id']!r}: " if isinstance(rule, dict) and "id" in rule else ""
    return ""
