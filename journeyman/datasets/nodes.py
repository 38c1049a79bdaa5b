"""What a dataset can be made of: each kind of node with its settings, and the file that joins nodes to a graph.

[source.production]
where = "tags.stage = production"

[filter.polite]
from = ["production"]
criterion = "The assistant's replies are polite."
model = "openai/gpt-5-mini"

[dataset]
from = ["polite"]
"""

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from journeyman.datasets.judgements import Judging
from journeyman.datasets.near import LEAST
from journeyman.datasets.pruning import check_rules
from journeyman.errors import InvalidInput
from journeyman.records import Filter, Frozen
from journeyman.records.dataset import NodeKind

Share = Annotated[float, Field(gt=0, le=1)]
Likeness = Annotated[float, Field(ge=LEAST, le=1)]
Names = Annotated[
    tuple[str, ...], BeforeValidator(lambda given: (given,) if isinstance(given, str) else given), Field(min_length=1)
]


class Node(Frozen):
    """A step of a graph; `inputs` (`from` in the file) are the nodes that it reads, in this order."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    kind: ClassVar[NodeKind]
    inputs: Names = Field(alias="from")

    def settings(self) -> dict[str, Any]:
        """What its result depends on, apart from what it reads."""
        return self.model_dump(mode="json", exclude={"inputs"})


class SourceNode(Node):
    """Captured calls: those that match, or a share of their conversations, with people's corrections.

    Which conversations fall into the share depends on their names and the seed alone, so it grows with the traffic.
    `pairs`, `label` (good from `good_from` on) and `score` say what preferences are learned from (see `Judging`).
    """

    kind = "source"
    inputs: tuple[str, ...] = Field(default=(), max_length=0, alias="from")
    where: str = ""
    rate: Share = 1.0
    seed: int = 0
    corrections: bool = True
    pairs: bool = False
    label: str | None = Field(None, min_length=1)
    good_from: float | None = Field(None, allow_inf_nan=False)
    score: str | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _readable(self) -> Self:
        Filter.parse(self.where)
        if self.pairs and not self.corrections:
            raise InvalidInput("pairs are made of corrections; they cannot be left out")
        if self.good_from is not None and self.label is None:
            raise InvalidInput("`good_from` says from which value on a label is good; name the feedback: `label`")
        return self

    def judging(self) -> Judging:
        """What its rows carry along for learning preferences."""
        return Judging(self.pairs, self.label, 0.5 if self.good_from is None else self.good_from, self.score)


class ImportNode(Node):
    """Rows of a file in OpenAI's chat fine-tuning format; a relative path begins at the graph's file."""

    kind = "import"
    inputs: tuple[str, ...] = Field(default=(), max_length=0, alias="from")
    path: Path


class Asking(Frozen):
    """Which model a node asks, and how: at `url`, or through a configured provider or this gateway without one.

    `key_env` names the environment variable that holds the key, so that no key stands in the file. `tries` counts the
    first one. What does not change an answer (`url`, speed, tries) does not make a node run again.
    """

    model: str
    url: str | None = None
    key_env: str | None = None
    concurrency: int = Field(8, ge=1, le=256)
    requests_per_minute: float | None = Field(None, gt=0)
    tries: int = Field(4, ge=1, le=20)
    timeout: float = Field(600.0, gt=0)


_HOW_TO_ASK = frozenset(Asking.model_fields) - {"model"}


class FilterNode(Node):
    """Keeps rows: whose call matches `where`, for which `code` returns true, and that meet `criterion`.

    `code` is `FILE.py:FUNCTION`; the function is given a Row, and returns true, false, or why it is left out.
    `criterion` is put to a model, which must answer yes or no, and nothing else. At least one is needed.
    """

    kind = "filter"
    where: str = ""
    code: str | None = None
    criterion: str | None = None
    asking: Asking | None = None

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, given: Any) -> Any:
        return _with_asking(given)

    @model_validator(mode="after")
    def _says_what_to_keep(self) -> Self:
        if not (self.where or self.code or self.criterion):
            raise InvalidInput("a filter needs `where`, `code` or `criterion`")
        if (self.criterion is None) != (self.asking is None):
            raise InvalidInput("a criterion needs a `model` to put it to, and a model needs a `criterion`")
        if self.code is not None and ".py:" not in self.code:
            raise InvalidInput(f"code = {self.code!r}: write it as FILE.py:FUNCTION")
        Filter.parse(self.where)
        return self

    def settings(self) -> dict[str, Any]:
        """Without how fast and where the model is asked."""
        return self.model_dump(mode="json", exclude={"inputs": True, "asking": set(_HOW_TO_ASK)})


class RelabelNode(Node):
    """Has a stronger model answer again: its reply takes the place of each row's last assistant turn.

    Rows whose last turn a person corrected are kept as they are. `system` replaces the system message for the asking
    alone, so that the stronger model may be told more than the one that learns from it. With `rejected` the reply that
    was there is kept as the worse one, for learning preferences; rows in which nothing is better are left out.
    """

    kind = "relabel"
    asking: Asking
    temperature: float | None = Field(None, ge=0)
    max_tokens: int | None = Field(None, ge=1)
    system: str | None = None
    rejected: bool = False

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, given: Any) -> Any:
        return _with_asking(given)

    def settings(self) -> dict[str, Any]:
        """Without how fast and where the model is asked."""
        return self.model_dump(mode="json", exclude={"inputs": True, "asking": set(_HOW_TO_ASK)})


class CorrectNode(Node):
    """Puts people's newest corrections in the place of the replies that were captured, or that a model gave since."""

    kind = "correct"


class PruneNode(Node):
    """Removes literal text from prompts; the adapter that learns from it is served with the same text removed."""

    kind = "prune"
    texts: Annotated[tuple[str, ...], AfterValidator(check_rules), Field(min_length=1)]


class NearNode(Node):
    """Keeps one of conversations that say almost the same."""

    kind = "near"
    likeness: Likeness = 0.8


class Output(Frozen):
    """The dataset itself: which nodes it takes its rows from, and how it holds some out.

    Conversations that are at least `likeness` alike are put on the same side. `leaks` says what to do with rows to
    train on that are still that near to one that is held out: to tell how many, to drop them, or to refuse the build.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    inputs: Names = Field(alias="from")
    validation: float = Field(0.1, gt=0, lt=1)
    seed: int = 0
    likeness: Likeness = 0.8
    leaks: Annotated[str, Field(pattern="^(tell|drop|refuse)$")] = "tell"


KINDS: dict[str, type[Node]] = {
    kind.kind: kind for kind in (SourceNode, ImportNode, FilterNode, RelabelNode, CorrectNode, PruneNode, NearNode)
}


class Graph(Frozen):
    """Nodes by name, every one after those that it reads, and the dataset that comes out of them.

    `folder` is where relative paths begin; `text` the definition as it was written.
    """

    nodes: dict[str, Node]
    output: Output
    folder: Path = Path()
    text: str = ""


def read_graph(path: Path) -> Graph:
    """The graph that a TOML file defines; InvalidInput says which part of it cannot be used."""
    try:
        text = path.read_text("utf-8")
        tables = tomllib.loads(text)
    except OSError as problem:
        raise InvalidInput(f"cannot read {path} ({problem.strerror})") from problem
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise InvalidInput(f"{path} is not TOML: {problem}") from problem
    return parse_graph(tables, path.parent, text, str(path))


def parse_graph(tables: dict[str, Any], folder: Path = Path(), text: str = "", title: str = "graph") -> Graph:
    """The graph of a TOML file's tables; InvalidInput for unknown kinds, settings, inputs, and circles."""
    unknown = sorted(set(tables) - set(KINDS) - {"dataset"})
    if unknown:
        raise InvalidInput(f"{title}: unknown {', '.join(unknown)}; there is: {', '.join([*KINDS, 'dataset'])}")
    nodes: dict[str, Node] = {}
    for kind, named in tables.items():
        if kind == "dataset":
            continue
        if not isinstance(named, dict) or not all(isinstance(settings, dict) for settings in named.values()):
            raise InvalidInput(f"{title}: give each node a name, such as [{kind}.mine]")
        for name, settings in named.items():
            if name in nodes:
                raise InvalidInput(f"{title}: two nodes are called {name!r}; every name may be used once")
            nodes[name] = _read(KINDS[kind], settings, f"{title}: [{kind}.{name}]")
    _refuse_unknown_inputs(nodes, title)
    output = _output(tables.get("dataset", {}), nodes, title)
    return Graph(nodes=_in_order(nodes, output, title), output=output, folder=folder, text=text)


def digest(*parts: Any) -> str:
    """16 hex digits that stand for these values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _refuse_unknown_inputs(nodes: dict[str, Node], title: str) -> None:
    for name, node in nodes.items():
        for each in node.inputs:
            if each not in nodes:
                known = ", ".join(nodes)
                raise InvalidInput(
                    f"{title}: [{node.kind}.{name}] reads {each!r}, which is not defined; there is: {known}"
                )


def _output(settings: dict[str, Any], nodes: dict[str, Node], title: str) -> Output:
    if not nodes:
        raise InvalidInput(f"{title} defines no node; begin with a source, such as [source.all]")
    if "from" not in settings:
        read = {name for node in nodes.values() for name in node.inputs}
        ends = [name for name in nodes if name not in read]
        if len(ends) != 1:
            raise InvalidInput(f"{title}: say under [dataset] which nodes it is made from; nothing reads {ends}")
        settings = settings | {"from": ends}
    output: Output = _read(Output, settings, f"{title}: [dataset]")
    return output


def _in_order(nodes: dict[str, Node], output: Output, title: str) -> dict[str, Node]:
    """The nodes, inputs first. InvalidInput for circles, and for nodes that the output does not need."""
    ordered: dict[str, Node] = {}
    under_way: list[str] = []

    def visit(name: str) -> None:
        if name in ordered:
            return
        if name not in nodes:
            raise InvalidInput(f"{title}: [dataset] reads {name!r}, which is not defined; there is: {', '.join(nodes)}")
        if name in under_way:
            raise InvalidInput(f"{title}: {' → '.join([*under_way, name])} is a circle; a node cannot read itself")
        under_way.append(name)
        for each in nodes[name].inputs:
            visit(each)
        ordered[under_way.pop()] = nodes[name]

    for name in output.inputs:
        visit(name)
    unused = [name for name in nodes if name not in ordered]
    if unused:
        raise InvalidInput(f"{title}: nothing reads {', '.join(unused)}; use it, or remove it")
    return ordered


def _read(kind: Any, settings: dict[str, Any], place: str) -> Any:
    try:
        return kind.model_validate(settings)
    except InvalidInput as problem:
        raise InvalidInput(f"{place} {problem}") from problem
    except ValidationError as invalid:
        said = "; ".join(
            f"{'.'.join(str(step) for step in error['loc'])}: {error['msg']}" for error in invalid.errors()
        )
        raise InvalidInput(f"{place} {said}") from invalid


def _with_asking(given: Any) -> Any:
    """In the file a node's own settings and those of its asking stand side by side."""
    if not isinstance(given, dict) or "asking" in given:
        return given
    asking = {name: value for name, value in given.items() if name in Asking.model_fields}
    rest = {name: value for name, value in given.items() if name not in asking}
    return rest | ({"asking": asking} if asking else {})
