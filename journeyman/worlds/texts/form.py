"""How a system of words speaks, learned from its episodes, and the state that its words assert.

Nothing is known of the language beforehand. Lines that end every answer under one label (`Possible actions: …`) are
the status; one that lists what is done next is the menu. An answer that begins as openings do is a scene, and the last
one tells where the agent is. Which verbs have effects that last is found from contradictions: as long as one action in
one scene was answered differently, the verb whose earlier use tells most of these answers apart joins the state.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from journeyman.worlds.texts.episodes import TextEpisode

ROOT = "text"
UNOFFERED = "(not offered)"
"""The tool that an action counts as which the menu does not list."""
_LABELLED = re.compile(r"([A-Za-z][\w ]{0,40}): (.*)")
_NEARLY_ALL = 0.95
_FEWEST_ENDINGS = 3
_LEAST_GAIN = 0.1
Document = Mapping[str, Any]


@dataclass(frozen=True)
class TextForm:
    """The form of one system's words.

    `labels` are those of the status lines, in order; `menu` is the one that lists possible actions. `scene` is how
    scenes begin. `lasting` are verbs with lasting effects. After one of `endings` no episode went on, and none
    had more than `longest` actions. `starts` holds, by what episodes began with, the recordings that tell hidden states
    apart which began with the same words. `linked` are verbs that lead where the scene says, `local` those of them for
    which a lasting effect bears on its own place only: see `links`; `spoken` are verbs answered as `sayings` says.
    """

    labels: tuple[str, ...] = ()
    menu: str | None = None
    scene: str = ""
    lasting: tuple[str, ...] = ()
    endings: tuple[str, ...] = ()
    longest: int = 1
    starts: Mapping[str, Sequence[Mapping[str, str]]] | None = None
    linked: tuple[str, ...] = ()
    local: tuple[str, ...] = ()
    spoken: tuple[str, ...] = ()

    def told(self, text: str) -> dict[str, Any]:
        """An answer as JSON: `said`, and a list for each status line."""
        lines, status = text.split("\n"), dict[str, Any]()
        for label in reversed(self.labels):
            head = f"{label}: "
            if not lines or not lines[-1].startswith(head):
                return {"said": text}
            status[label] = lines.pop().removeprefix(head).split(", ")
        return {"said": "\n".join(lines), **{label: status[label] for label in self.labels}}

    def words(self, told: Mapping[str, Any]) -> str:
        """The text of an answer: what `told` took apart."""
        lines = [f"{label}: {', '.join(told[label])}" for label in self.labels if label in told]
        return "\n".join([told["said"], *lines])

    def begin(self, first: str, start: str) -> Document:
        """The state at the start of an episode, from what could be seen then."""
        told = self.told(first)
        status = {label: told[label] for label in self.labels if label in told}
        # What is near comes first: of tables that explain answers equally well, footprints take the first.
        return {ROOT: {"here": told["said"], **status, "since": [], "start": start}}

    def call(self, document: Document, action: str) -> tuple[str, dict[str, Any]]:
        """An action as a tool and its arguments: its verb, or that it was not offered."""
        verb, _, rest = action.partition(" ")
        offered = document[ROOT].get(self.menu) if self.menu is not None else None
        if offered is not None and action not in offered:
            return UNOFFERED, {"action": action}
        return verb.lower() or "(nothing)", {"action": action, "rest": rest}

    def after(self, document: Document, action: str, told: Mapping[str, Any]) -> Document:
        """The state after an action, as far as the answer and the verb tell."""
        before, (tool, _) = document[ROOT], self.call(document, action)
        is_scene = bool(self.scene) and told["said"].startswith(self.scene)
        since = before["since"]
        if tool in self.lasting:
            since = [*since, f"{_sentence(before['here'])} {action}"]
        status = {label: told[label] for label in self.labels if label in told}
        return {ROOT: {**before, "here": told["said"] if is_scene else before["here"], "since": since, **status}}

    def start_of(self, episode: TextEpisode, steps: int | None = None) -> str:
        """The name of the hidden state in which an episode began, judged by its first `steps` answers; all, if None."""
        known = (self.starts or {}).get(episode.begun, ())
        name = hashlib.sha256(episode.begun.encode()).hexdigest()[:12]
        told = dict(_recordings(self, episode, steps))
        for number, recorded in enumerate(known):
            if all(recorded.get(key, answer) == answer for key, answer in told.items()):
                return f"{name}/{number}"
        return f"{name}/{len(known)}"

    def wire(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def read(cls, wire: Mapping[str, Any]) -> "TextForm":
        """From its JSON."""
        lists = {name: tuple(wire[name]) for name in ("labels", "lasting", "endings", "linked", "local", "spoken")}
        return cls(**{**wire, **lists})


def learn_form(episodes: Sequence[TextEpisode]) -> TextForm:
    """The form that these episodes show."""
    texts = [each.first for each in episodes] + [answer for each in episodes for _, answer in each.steps]
    form = TextForm(labels=_labels(texts), longest=max(len(each.steps) for each in episodes))
    form = _with(form, menu=_menu(form, episodes), scene=_scene(form, episodes))
    form = _with(form, endings=_endings(form, episodes))
    form = _with(form, lasting=_lasting(form, episodes))
    return with_starts(form, episodes)


def with_starts(form: TextForm, episodes: Sequence[TextEpisode]) -> TextForm:
    """The form with what these episodes tell of their hidden beginnings."""
    return _with(form, starts=_starts(form, episodes))


def _labels(texts: Sequence[str]) -> tuple[str, ...]:
    """Labels of the last lines of nearly all answers, in their order."""
    found: list[str] = []
    rest = [text.split("\n") for text in texts]
    while True:
        matches = [_LABELLED.fullmatch(lines[-1]) if lines else None for lines in rest]
        counts = Counter(match[1] for match in matches if match is not None)
        if not counts:
            return tuple(found)
        label, count = counts.most_common(1)[0]
        if count < _NEARLY_ALL * len(texts) or label in found:
            return tuple(found)
        found.insert(0, label)
        rest = [lines[:-1] for lines in rest]


def _menu(form: TextForm, episodes: Sequence[TextEpisode]) -> str | None:
    """The label whose list holds what was done next, most of the time."""
    counts, actions = Counter[str](), 0
    for each in episodes:
        shown = [each.first, *(answer for _, answer in each.steps)]
        for text, (action, _) in zip(shown, each.steps, strict=False):
            told, actions = form.told(text), actions + 1
            counts.update(label for label in form.labels if action in told.get(label, ()))
    best = counts.most_common(1)
    return best[0][0] if best and 2 * best[0][1] > actions else None


def _scene(form: TextForm, episodes: Sequence[TextEpisode]) -> str:
    """The words with which openings begin, up to where they differ; three words where they are all the same."""
    firsts = [_sentence(form.told(each.first)["said"]).split(" ") for each in episodes]
    shared = 0
    while all(len(words) > shared for words in firsts) and len({words[shared] for words in firsts}) == 1:
        shared += 1
    return " ".join(firsts[0][: min(max(shared, 1), 3)])


def _sentence(text: str) -> str:
    return re.split(r"(?<=[.!?]) |\n", text, maxsplit=1)[0]


def _endings(form: TextForm, episodes: Sequence[TextEpisode]) -> tuple[str, ...]:
    last, before = Counter[str](), set[str]()
    for each in episodes:
        told = [form.told(answer)["said"] for _, answer in each.steps]
        before.update(told[:-1])
        if len(told) < form.longest:
            last[told[-1]] += 1
    return tuple(said for said, count in last.items() if count >= _FEWEST_ENDINGS and said not in before)


def _lasting(form: TextForm, episodes: Sequence[TextEpisode]) -> tuple[str, ...]:
    uses = Counter(action.partition(" ")[0].lower() for each in episodes for action, _ in each.steps)
    verbs = sorted(set(uses) - {""})
    left = _conflicts(form, episodes)
    while left:
        counts = {verb: _conflicts(_with(form, lasting=(*form.lasting, verb)), episodes) for verb in verbs}
        # Of verbs that explain as much, the rarest: the others do so by telling everything apart.
        best = min(counts, key=lambda verb: (counts[verb], uses[verb]))
        if counts[best] > (1 - _LEAST_GAIN) * left:
            break
        form, left = _with(form, lasting=(*form.lasting, best)), counts[best]
        verbs.remove(best)
    return form.lasting


def _conflicts(form: TextForm, episodes: Sequence[TextEpisode]) -> int:
    answers: dict[tuple[str, str], set[str]] = {}
    for each in episodes:
        for key, answer in _recordings(form, each):
            answers.setdefault((each.begun, key), set()).add(answer)
    return sum(len(found) - 1 for found in answers.values())


def _starts(form: TextForm, episodes: Sequence[TextEpisode]) -> dict[str, list[dict[str, str]]]:
    """What was recorded of each beginning; several recordings where they contradict each other."""
    found: dict[str, list[dict[str, str]]] = {}
    for each in sorted(episodes, key=lambda episode: -len(episode.steps)):
        told = dict(_recordings(form, each))
        for known in found.setdefault(each.begun, []):
            if all(known.get(key, answer) == answer for key, answer in told.items()):
                known |= told
                break
        else:
            found[each.begun].append(told)
    return found


def _recordings(form: TextForm, episode: TextEpisode, steps: int | None = None) -> Iterable[tuple[str, str]]:
    """Each action with the scene and the lasting effects that it met, and its answer; both as short names."""
    document = form.begin(episode.first, "")
    for action, answer in episode.steps[:steps]:
        here = document[ROOT]
        yield _short("\n".join([here["here"], *here["since"], action])), _short(answer)
        document = form.after(document, action, form.told(answer))


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _with(form: TextForm, **changes: Any) -> TextForm:
    return TextForm(**{**{name: getattr(form, name) for name in form.__dataclass_fields__}, **changes})
