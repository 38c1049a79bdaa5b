"""What a tool's own JSON Schema forbids: such a call is refused before the system looks at anything.

Only what is plain is judged: tools that are not on offer, arguments that must be there or may not, their types, and
lists of values. And only as far as the system keeps to it: what a call of the traces did without an error is no breach.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, NamedTuple

from journeyman.records import Tool
from journeyman.worlds.expressions import same
from journeyman.worlds.faults import is_transient
from journeyman.worlds.replay import Recorded
from journeyman.worlds.schemas import JSON_TYPES, type_of
from journeyman.worlds.transitions import Transition, error_kind
from journeyman.worlds.wording import Wording, heard, in_own_words

Kind = Literal["tool", "missing", "unknown", "type", "value"]
_OWN_WORDS: Mapping[Kind, str] = {
    "tool": "no tool named ⟨tool⟩", "missing": "⟨tool⟩: argument ⟨argument⟩ is missing",
    "unknown": "⟨tool⟩: there is no argument ⟨argument⟩", "type": "⟨tool⟩: argument ⟨argument⟩ must be of type ⟨type⟩",
    "value": "⟨tool⟩: argument ⟨argument⟩ must be one of ⟨values⟩",
}  # fmt: skip


class Breach(NamedTuple):
    """In what a call breaks a schema, and the argument by which it does; of a tool that there is not, its name."""

    kind: Kind
    name: str


@dataclass(frozen=True)
class Argument:
    """What a schema plainly asks of one argument: its types, and its values where they are listed; None asks none."""

    types: Sequence[str] | None = None
    values: Sequence[Any] | None = None


@dataclass(frozen=True)
class Contract:
    """What one tool's schema asks of the arguments by name. `closed`: others are refused; `lax`: what is let pass."""

    tool: str
    properties: Mapping[str, Argument]
    required: Sequence[str] = ()
    closed: bool = True
    lax: frozenset[Breach] = frozenset()

    def breach(self, arguments: Mapping[str, Any]) -> Breach | None:
        """The first breach that is not let pass, in the schema's order; None where there is none."""
        return next((each for each in self.breaches(arguments) if each not in self.lax), None)

    def breaches(self, arguments: Mapping[str, Any]) -> Iterator[Breach]:
        """Every breach, whether the system lets it pass or not."""
        yield from (Breach("missing", name) for name in self.required if name not in arguments)
        if self.closed:
            yield from (Breach("unknown", name) for name in arguments if name not in self.properties)
        for name, asked in self.properties.items():
            kind = _wrong(arguments[name], asked) if name in arguments else None
            if kind is not None:
                yield Breach(kind, name)

    def slots(self, breach: Breach, arguments: Mapping[str, Any]) -> dict[str, str]:
        """What a refusal may speak of, by the name of its slot."""
        asked = self.properties.get(breach.name, Argument())
        return {
            "arguments": ", ".join(self.properties), "required": ", ".join(self.required),
            "missing": ", ".join(name for name in self.required if name not in arguments),
            "given": ", ".join(arguments), "tool": self.tool, "argument": breach.name,
            "type": " or ".join(asked.types or ()), "values": ", ".join(map(str, asked.values or ())),
        }  # fmt: skip


@dataclass(frozen=True)
class Contracts:
    """The contracts of the tools on offer, by name, and how the system says that one is broken, by kind of breach.

    `unlisted` are tools that answered in the traces without being on offer there.
    """

    tools: Mapping[str, Contract] = field(default_factory=dict)
    words: Mapping[str, Wording] = field(default_factory=dict)
    unlisted: Sequence[str] = ()

    def refusal(self, tool: str, arguments: Mapping[str, Any]) -> Recorded | None:
        """What the system says to a call that a schema forbids; None for a call that may be made.

        The confidence is how often its wording was right, one more counted as wrong: 0 where nobody heard one.
        """
        contract, breach = self.broken(tool, arguments)
        if breach is None:
            return None
        wording = self.words[breach.kind]
        told = wording.filled(contract.slots(breach, arguments))
        kind = error_kind(told, arguments) or "error"
        return Recorded(told, (), kind, wording.right / (wording.heard + 1), (f"schema of {tool}",))

    def wire(self) -> dict[str, Any]:
        """As JSON, for a world's file."""
        tools = {name: {**asdict(each), "lax": sorted(map(list, each.lax))} for name, each in self.tools.items()}
        words = {kind: asdict(each) for kind, each in self.words.items()}
        return {"tools": tools, "words": words, "unlisted": list(self.unlisted)}

    @classmethod
    def read(cls, wire: Mapping[str, Any]) -> "Contracts":
        """Contracts from their JSON."""
        tools = {}
        for name, each in wire["tools"].items():
            properties = {argument: Argument(**asked) for argument, asked in each["properties"].items()}
            lax = frozenset(Breach(*pair) for pair in each["lax"])
            tools[name] = Contract(**{**each, "properties": properties, "lax": lax})
        return cls(tools, {kind: Wording(**each) for kind, each in wire["words"].items()}, wire["unlisted"])

    def broken(self, tool: str, arguments: Mapping[str, Any]) -> tuple[Contract, Breach | None]:
        """The tool's contract, and the breach that the system would not let pass, if there is one."""
        if tool in self.tools:
            return self.tools[tool], self.tools[tool].breach(arguments)
        exists = not self.tools or tool in self.unlisted
        return Contract(tool, {}), None if exists else Breach("tool", tool)


def contracts_of(tools: Sequence[Tool], calls: Sequence[Transition]) -> Contracts:
    """What the schemas of the tools forbid and the calls bear out.

    Arguments that a schema does not name are refused where it says so, or where the system was heard to refuse some and
    never took one.
    """
    strict = {each.function.name: _contract(each) for each in tools}
    if not strict:
        return Contracts()
    answered = [each for each in calls if each.error is None]
    unlisted = sorted({each.tool for each in answered if each.tool not in strict})
    passed = {name: frozenset(_passed(contract, answered)) for name, contract in strict.items()}
    found = Contracts({name: replace(each, lax=passed[name]) for name, each in strict.items()}, {}, unlisted)
    refused = _refusals(found, calls)
    takes_others = any(breach.kind == "unknown" for lax in passed.values() for breach in lax)
    refuses_others = any(breach.kind == "unknown" for _, breach, _ in refused)
    closed = {
        each.function.name: not takes_others
        and (refuses_others or (each.function.parameters or {}).get("additionalProperties") is False)
        for each in tools
    }
    words: dict[str, Wording] = {
        kind: heard([(each.observation, contract.slots(breach, each.arguments))
                     for contract, breach, each in refused if breach.kind == kind])
        or in_own_words(own, calls)
        for kind, own in _OWN_WORDS.items()
    }  # fmt: skip
    return Contracts({name: replace(each, closed=closed[name]) for name, each in found.tools.items()}, words, unlisted)


def _contract(tool: Tool) -> Contract:
    """Only what is of the form that JSON Schema gives it is taken: captured schemas may be anything."""
    schema = tool.function.parameters or {}
    properties, required = schema.get("properties"), schema.get("required")
    named = {name: _argument(each) for name, each in properties.items()} if isinstance(properties, Mapping) else {}
    # Draft 4 knew `required` as a flag of a property; only a list says which arguments must be there.
    needed = tuple(name for name in required if isinstance(name, str)) if isinstance(required, list) else ()
    return Contract(tool.function.name, named, needed)


def _argument(schema: Any) -> Argument:
    if not isinstance(schema, Mapping):
        return Argument()
    types, values = schema.get("type"), schema.get("enum")
    named = [types] if isinstance(types, str) else types if isinstance(types, list) else []
    is_known = bool(named) and all(isinstance(each, str) and each in JSON_TYPES for each in named)
    return Argument(tuple(named) if is_known else None, tuple(values) if isinstance(values, list) else None)


def _passed(contract: Contract, answered: Sequence[Transition]) -> set[Breach]:
    """The breaches in calls that were answered without an error."""
    return {breach for each in answered if each.tool == contract.tool for breach in contract.breaches(each.arguments)}


def _refusals(contracts: Contracts, calls: Sequence[Transition]) -> list[tuple[Contract, Breach, Transition]]:
    """Calls that failed for breaking a schema: by an error that no call of the tool met which kept to it."""
    failed = [each for each in calls if each.error is not None and not is_transient(each.error)]
    found = [(*contracts.broken(each.tool, each.arguments), each) for each in failed]
    otherwise = {(each.tool, each.error) for _, breach, each in found if breach is None}
    return [
        (contract, breach, each)
        for contract, breach, each in found
        if breach is not None and (each.tool, each.error) not in otherwise
    ]


def _wrong(value: Any, asked: Argument) -> Kind | None:
    if asked.types is not None and not _is_of_type(value, asked.types):
        return "type"
    return "value" if asked.values is not None and not any(same(value, each) for each in asked.values) else None


def _is_of_type(value: Any, types: Sequence[str]) -> bool:
    """As JSON Schema has it: a whole number is an integer, however it is written, and an integer is a number."""
    kind = type_of(value)
    is_whole = kind == "number" and float(value).is_integer()
    return kind in types or (kind == "integer" and "number" in types) or (is_whole and "integer" in types)
