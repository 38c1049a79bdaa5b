"""A world: what it answers from, where its episodes begin, how it fails, and how true it was measured to be.

Its file is data: compressed JSON. Programs in it are text until somebody has read them and said so (`consent.agree`).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import zstandard

from journeyman.errors import InvalidInput, NotFound, Refused
from journeyman.records import Message, Tool
from journeyman.worlds.build import Built
from journeyman.worlds.card import FidelityCard, allow_training
from journeyman.worlds.consent import is_agreed
from journeyman.worlds.contracts import Contracts
from journeyman.worlds.faults import Bug, Faults, Mode, ToolFaults
from journeyman.worlds.footprints import Footprint
from journeyman.worlds.learned.proposer import Proposer
from journeyman.worlds.programs import read_programs
from journeyman.worlds.rules import Rule
from journeyman.worlds.schemas import ToolShape
from journeyman.worlds.texts.form import TextForm
from journeyman.worlds.texts.twins import twins_of
from journeyman.worlds.transitions import Transition
from journeyman.worlds.trials import Trial

FORMAT = 4
_FILE = "world.json.zst"
_MOST_BYTES = 1 << 30
Condition = Mapping[str, Any]
"""What must hold in the end of an episode: see `verdict.verify`."""


@dataclass(frozen=True)
class Start:
    """Where an episode begins: what the agent is told first, the state, and what the user says after that, in order."""

    id: str
    messages: tuple[Message, ...]
    document: Mapping[str, Any]
    later: tuple[Message, ...] = ()


@dataclass(frozen=True)
class World:
    """Everything of a simulated system, by its name.

    `source` is the text of its hand-written twins; `trusted` whether somebody agreed that it may run. `notes` say what
    the traces held and what was left out of them. `text` is how a system of words speaks; None for one of tool calls.
    `success` is what must hold in the end of each episode, where whoever built the world said it.
    """

    name: str
    built: Built
    starts: tuple[Start, ...]
    tools: tuple[Tool, ...] = ()
    source: str = ""
    trusted: bool = True
    card: FidelityCard | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    text: TextForm | None = None
    success: tuple[Condition, ...] = ()

    @property
    def content(self) -> str:
        """A hash of everything that its answers depend on: the world that a card speaks of."""
        return hashlib.sha256(_dumped(self._answers())).hexdigest()[:32]

    def faults(self, mode: Mode = "faithful", times: float = 1.0) -> Faults:
        """How it fails."""
        return Faults(self.built.faults, self.built.bugs, mode, times)

    def check_training(self) -> None:
        """Refused, with what to do, unless a valid card of exactly this world says that it may be trained in."""
        allow_training(self.card, self.content, self.name)
        if self.source and not self.trusted:
            raise Refused(
                f"world {self.name} was measured with hand-written twins that may not run here; nothing was started. "
                f"Read them (journeyman world show {self.name} --programs), then journeyman world trust {self.name} "
                "--twins"
            )

    def save(self, folder: Path) -> Path:
        """Write the world below `folder`, in place of one of that name."""
        path = _path(self.name, folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        wire = {"format": FORMAT, "name": self.name, **self._answers()}
        wire["card"] = self.card.model_dump(mode="json") if self.card else None
        wire["notes"] = dict(self.notes)
        partial = path.with_suffix(".partial")
        partial.write_bytes(zstandard.ZstdCompressor(level=6).compress(_dumped(wire)))
        partial.replace(path)
        return path

    def _answers(self) -> dict[str, Any]:
        built = self.built
        return {
            "shapes": {tool: asdict(shape) for tool, shape in built.shapes.items()},
            "footprints": {tool: asdict(foot) for tool, foot in built.footprints.items()},
            "rules": {tool: rule.wire() for tool, rule in built.rules.items()},
            # The word of the file, kept so that worlds of before can be read, and cards of them hold.
            "admissions": {tool: asdict(found) for tool, found in built.trials.items()},
            "faults": {tool: asdict(found) for tool, found in built.faults.items()},
            "bugs": [asdict(bug) for bug in built.bugs],
            "neighbours": dict(built.neighbours),
            "outside": built.outside,
            "least": built.least,
            "cautious": built.cautious,
            "proposer": None if built.proposer is None else asdict(built.proposer),
            "source": self.source,
            "tools": [tool.wire() for tool in self.tools],
            "starts": [
                {
                    "id": start.id,
                    "messages": [message.wire() for message in start.messages],
                    "document": start.document,
                    "later": [message.wire() for message in start.later],
                }
                for start in self.starts
            ],
            **_packed(built.memory),
            **({"text": self.text.wire()} if self.text is not None else {}),
            **({"contracts": built.contracts.wire()} if built.contracts.tools else {}),
            **({"success": [dict(each) for each in self.success]} if self.success else {}),
        }


def load_world(name: str, folder: Path) -> World:
    """The world of that name. Its programs stay text unless they were trusted; without them their tools have no twin.

    NotFound when there is none; InvalidInput for a file that is none, or of another format.
    """
    path = _path(name, folder)
    if not path.is_file():
        known = [found.parent.name for found in folder.glob(f"*/{_FILE}")] if folder.is_dir() else []
        raise NotFound("world", name, known, f"Build it: journeyman world build {name}")
    try:
        with path.open("rb") as packed:
            data = zstandard.ZstdDecompressor().stream_reader(packed).read(_MOST_BYTES)
        wire = json.loads(data)
        if wire["format"] != FORMAT:
            raise InvalidInput(f"{path} has format {wire['format']}, and this version reads {FORMAT}; build it again")
        return _read(name, wire, not wire["source"] or is_agreed(wire["source"], folder))
    except (zstandard.ZstdError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as problem:
        raise InvalidInput(f"{path} is no world that can be read ({problem}); build it again") from problem


def _path(name: str, folder: Path) -> Path:
    """Every world lies in a folder of its own right below: what is agreed to, and is no world, lies beside them."""
    if Path(name).name != name or name.startswith("."):
        raise InvalidInput(f"{name!r} cannot be a world's name; one has no / and does not begin with a dot")
    return folder / name / _FILE


def _read(name: str, wire: Mapping[str, Any], trusted: bool) -> World:
    footprints = {
        tool: Footprint(*(tuple(tuple(path) for path in foot[side]) for side in ("reads", "writes")))
        for tool, foot in wire["footprints"].items()
    }
    programs = read_programs(wire["source"], footprints) if trusted and wire["source"] else {}
    built = Built(
        shapes={tool: ToolShape(**shape) for tool, shape in wire["shapes"].items()},
        footprints=footprints,
        rules={tool: Rule.read(rule) for tool, rule in wire["rules"].items()},
        trials={t: Trial(**{**found, "wrong": tuple(found["wrong"])}) for t, found in wire["admissions"].items()},
        memory=_unpacked(wire),
        neighbours=wire["neighbours"],
        programs=programs,
        faults={
            t: ToolFaults(**{**found, "latencies": tuple(found["latencies"])}) for t, found in wire["faults"].items()
        },
        bugs=tuple(Bug(**{**bug, "examples": tuple(bug["examples"])}) for bug in wire["bugs"]),
        outside=wire["outside"],
        least=wire["least"],
        cautious=wire["cautious"],
        proposer=None if wire["proposer"] is None else Proposer(**wire["proposer"]),
        contracts=Contracts.read(wire["contracts"]) if "contracts" in wire else Contracts(),
    )
    starts = tuple(
        Start(
            start["id"], tuple(Message.model_validate(said) for said in start["messages"]), start["document"],
            tuple(Message.model_validate(said) for said in start["later"]),
        )
        for start in wire["starts"]
    )  # fmt: skip
    card = FidelityCard.model_validate(wire["card"]) if wire["card"] else None
    tools = tuple(Tool.model_validate(tool) for tool in wire["tools"])
    text = TextForm.read(wire["text"]) if "text" in wire else None
    if text is not None:
        built = replace(built, programs={**built.programs, **twins_of(text, built.memory)})
    success = tuple(wire.get("success", ()))
    return World(name, built, starts, tools, wire["source"], trusted, card, wire["notes"], text, success)


def _tuples(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {**fields, name: tuple(fields[name])}


def _packed(memory: Sequence[Transition]) -> dict[str, Any]:
    """Transitions with each state written once: the one after a call is the one before the next."""
    places: dict[str, int] = {}
    states: list[Any] = []

    def place(document: Any) -> int | None:
        if document is None:
            return None
        text = json.dumps(document, default=str)
        if text not in places:
            places[text] = len(states)
            states.append(document)
        return places[text]

    calls = [
        [
            each.tool, dict(each.arguments), each.observation, each.session, each.order, each.error, each.latency,
            place(each.before), place(each.after), each.family,
        ]
        for each in memory
    ]  # fmt: skip
    return {"states": states, "memory": calls}


def _unpacked(wire: Mapping[str, Any]) -> list[Transition]:
    states = wire["states"]
    found = []
    for tool, arguments, observation, session, order, error, latency, before, after, family in wire["memory"]:
        found.append(
            Transition(
                tool, arguments, observation, session, order, error, latency,
                before=None if before is None else states[before],
                after=None if after is None else states[after],
                family=family,
            )
        )  # fmt: skip
    return found


def _dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, default=str).encode()


def with_card(world: World, card: FidelityCard) -> World:
    """The world with its card, which must be of it."""
    if card.world != world.content:
        raise InvalidInput(f"the card is of another world than {world.name} as it stands; measure it again")
    return replace(world, card=card)
