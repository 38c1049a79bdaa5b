"""The learned layer: a model proposes what comes of a call; the resolver checks it, and only trust lets it be asked.

Its answers are kept by their question, so that two runs of a world are identical and nothing is paid for twice.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from journeyman.config import Settings
from journeyman.datasets.asking import Question, ask_all
from journeyman.datasets.cache import AnswerBook
from journeyman.datasets.nodes import Asking, digest
from journeyman.errors import InvalidInput, Refused
from journeyman.records import Message, Sampling
from journeyman.worlds.consent import is_agreed
from journeyman.worlds.expressions import Scene, Unknown, resolve
from journeyman.worlds.footprints import Footprint
from journeyman.worlds.learned.prompt import MOST_CELLS, NEIGHBOURS, VERSION, question_of, read_answer, schema_of
from journeyman.worlds.learned.proposer import Proposer
from journeyman.worlds.nearest import Nearest
from journeyman.worlds.replay import Recorded
from journeyman.worlds.schemas import ToolShape
from journeyman.worlds.state import Path as Place
from journeyman.worlds.state import State, applied, leaf_changes, read
from journeyman.worlds.synthesis import explained
from journeyman.worlds.transitions import Transition

_LONGEST_ANSWER = 320


class Answers:
    """What a model says to questions about calls, kept in `folder`; a question is asked once, at temperature 0."""

    def __init__(self, proposer: Proposer, folder: Path, settings: Settings) -> None:
        self._asking = Asking(model=proposer.model, url=proposer.url, key_env=proposer.key_env)
        self._settings = settings
        self._book = AnswerBook(folder / f"answers-{digest([proposer.model], [VERSION])}.jsonl")
        self.failures: dict[str, str] = {}

    def of(self, questions: Sequence[tuple[Message, ...]], shape: ToolShape) -> list[str | None]:
        """The answers, in order; None where the model gave none, or one that was cut off.

        UpstreamFailed when nothing at all is answered, NotFound for a model that the server does not know.
        """
        asked = [Question(shape.tool, messages) for messages in questions]
        if any(self._book.get(each.key) is None for each in asked):
            # A loop may be running here already: the calls get one of their own, in a thread of their own.
            with ThreadPoolExecutor(1) as threads:
                told = threads.submit(
                    ask_all, f"the model of {shape.tool}", asked, self._asking, _sampling(shape), self._book,
                    self._settings,
                ).result()  # fmt: skip
            self.failures |= told.failures
        found = [self._book.get(each.key) for each in asked]
        return [None if each is None or each.finish_reason == "length" else each.message.text for each in found]


class ModelLayer:
    """A `Learned`: proposals of a model, from the nearest of these calls."""

    def __init__(self, proposer: Proposer, memory: Sequence[Transition] | Nearest, answers: Answers) -> None:
        self._proposer, self._answers = proposer, answers
        self._nearest = memory if isinstance(memory, Nearest) else Nearest(memory)
        self.unusable: dict[str, int] = {}

    def trust(self, tool: str) -> float:
        """How often its proposals for this tool were right on calls that it never saw; 0 where none was tried."""
        return self._proposer.trust.get(tool, 0.0)

    def propose(
        self, tool: str, arguments: Mapping[str, Any], state: State, shape: ToolShape, footprint: Footprint
    ) -> Recorded | None:
        """The model's proposal; None when its answer cannot be used."""
        similar = self.similar(tool, arguments, state)
        text = self._answers.of([question_of(tool, arguments, state, shape, footprint, similar)], shape)[0]
        return self.read(text, tool, arguments, state, shape, similar)

    def similar(self, tool: str, arguments: Mapping[str, Any], state: State, apart_from: str = "") -> list[Transition]:
        """The recorded calls that it is shown: none of the family named."""
        found = self._nearest.similar(tool, arguments, state, apart_from)
        return [call for _, call in found[:NEIGHBOURS]]

    def read(
        self,
        text: str | None,
        tool: str,
        arguments: Mapping[str, Any],
        state: State,
        shape: ToolShape,
        similar: Sequence[Transition],
    ) -> Recorded | None:
        """A proposal from the model's words; where the answer shows cells that it changes, they are read after it."""
        found = "no answer" if text is None else read_answer(text, shape, state.document)
        if isinstance(found, str):
            self.unusable[found] = self.unusable.get(found, 0) + 1
            return None
        try:
            after = applied(state.document, found.changes)
        except InvalidInput:
            return None
        changed = leaf_changes(state.document, after)
        if len(changed) > MOST_CELLS:
            self.unusable["it changes too many cells"] = self.unusable.get("it changes too many cells", 0) + 1
            return None
        scene = Scene(arguments, state.document, after)
        observation = found.observation
        for call in similar:
            if call.error == found.error and changed:
                observation = _rendered(observation, call, scene, set(changed))
        evidence = tuple(call.name for call in similar)
        return Recorded(observation, found.changes, found.error, self.trust(tool), evidence)


def _sampling(shape: ToolShape) -> Sampling:
    form = {"type": "json_schema", "json_schema": {"name": "what_comes_of_it", "schema": schema_of(shape)}}
    return Sampling.model_validate(
        {"temperature": 0.0, "max_tokens": _LONGEST_ANSWER, "seed": 0, "response_format": form}
    )


def _rendered(observation: Any, call: Transition, scene: Scene, changed: set[Place]) -> Any:
    """The answer with every part that shows a changed cell, as that call's answer showed it, read from the state."""
    case = explained(call)
    if case is None:
        return observation
    match case.observation:
        case ["object", fields] if isinstance(observation, dict):
            return {key: _shown(value, fields.get(key), scene, changed) for key, value in observation.items()}
    return _shown(observation, case.observation, scene, changed)


def _shown(value: Any, expression: Any, scene: Scene, changed: set[Place]) -> Any:
    match expression:
        case ["cell" | "after", path]:
            try:
                place = resolve(path, scene, scene.after)
            except Unknown:
                return value
            return read(scene.after, place) if place in changed else value
    return value


def learned_of(
    name: str, proposer: Proposer | None, memory: Sequence[Transition], folder: Path, settings: Settings
) -> ModelLayer | None:
    """The learned layer of the world of that name in the folder of worlds; None where it asks no model.

    Refused where nobody here has agreed to ask it: who made the world chose where the calls would be sent.
    """
    if proposer is None:
        return None
    if not is_agreed(proposer.asked_of, folder):
        raise Refused(
            f"world {name} asks {proposer.asked_of}, and nobody agreed to that here; nothing was sent. If you "
            f"do: journeyman world trust {name} --model"
        )
    return ModelLayer(proposer, memory, Answers(proposer, folder / name, settings))
