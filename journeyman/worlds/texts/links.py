"""Where an action leads, read off the scene: the sentence that names its object names a place that was seen elsewhere.

A twin for verbs that lead from scene to scene. It tells only scenes that were recorded of the same beginning with the
same lasting effects (in the place itself, where that is admitted; otherwise anywhere), whichever way and whoever came
there; where the sentence names no such place, or several, it does not know.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from journeyman.worlds.expressions import Unknown
from journeyman.worlds.state import Change, difference
from journeyman.worlds.texts.form import ROOT, TextForm
from journeyman.worlds.transitions import Transition
from journeyman.worlds.trials import Trial, without_each_session

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n")
_PUNCTUATION = " .!?:"
Scenes = dict[str, set[str]]
"""By the lasting effects that bear on a place, the answers that showed it, as JSON."""


class Links:
    """The twin of one verb. `local`: lasting effects bear on the place where they were brought about, and no other."""

    def __init__(self, tool: str, form: TextForm, memory: Iterable[Transition], *, local: bool = False) -> None:
        self.tool, self._form, self._local = tool, form, local
        self._places: dict[str, dict[str, Scenes]] = {}
        for each in memory:
            if each.order == 0 and each.before is not None:
                here = each.before[ROOT]
                status = {label: here[label] for label in form.labels if label in here}
                self._see(here, {"said": here["here"], **status})
            if each.after is not None:
                self._see(each.after[ROOT], each.observation)

    def run(self, arguments: Mapping[str, Any], document: Any) -> tuple[Any, tuple[Change, ...], str | None]:
        """The one recorded scene to which a sentence about the action's object points; Unknown otherwise."""
        here, wanted = document[ROOT], arguments.get("rest", "").lower()
        known = self._places.get(here["start"], {})
        told = [sentence.lower() for sentence in _SENTENCE.split(here["here"])[1:]]
        about = [sentence for sentence in told if wanted and re.search(rf"\b{re.escape(wanted)}\b", sentence)]
        places = [place for place in known if any(place in each for each in about)]
        found = {answer for place in places for answer in known[place].get(self._since(here, place), ())}
        if len(found) != 1:
            raise Unknown(f"{self.tool} {wanted}")
        answer = json.loads(found.pop())
        return answer, difference(document, self._form.after(document, arguments["action"], answer)), None

    def _see(self, here: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        if self._form.scene and told["said"].startswith(self._form.scene):
            name = self._name(told["said"])
            if name:
                scenes = self._places.setdefault(here["start"], {}).setdefault(name, {})
                scenes.setdefault(self._since(here, name), set()).add(json.dumps(told))

    def _name(self, scene: str) -> str:
        return _SENTENCE.split(scene)[0].removeprefix(self._form.scene).strip(_PUNCTUATION).lower()

    def _since(self, here: Mapping[str, Any], place: str) -> str:
        """What was done until now that bears on how a place looks. Each entry begins with the place's own sentence."""
        return json.dumps([each for each in here["since"] if not self._local or self._name(each) == place])


def judged_links(tool: str, form: TextForm, memory: Sequence[Transition], *, local: bool) -> Trial:
    """How the twin of a verb does on each session's calls, made from what the other sessions saw."""
    return without_each_session(lambda others: Links(tool, form, others, local=local), tool, memory)


def links_of(form: TextForm, memory: Sequence[Transition]) -> dict[str, Links]:
    """The twins of the verbs that were admitted."""
    return {tool: Links(tool, form, memory, local=tool in form.local) for tool in form.linked}
