"""Whether what is seen at the beginning of an episode tells the hidden state in which it begins.

Where it does, scenarios that begin with the same words are one, and what any of them was told is known to all.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from journeyman.worlds.texts.episodes import TextEpisode
from journeyman.worlds.texts.form import ROOT, TextForm
from journeyman.worlds.trials import LEAST_REPLAYED

_FEWEST = 5
Situation = tuple[str, str, str]
"""What the episode began with, what was seen and done until then, and the action."""


def known_by_sight(form: TextForm, episodes: Sequence[TextEpisode]) -> bool:
    """Whether scenarios that began with the same words went on alike wherever two of them can be compared.

    Compared are answers to one action in one situation which tell something that neither the scene told nor the action
    tells everywhere. As of a twin, 99% must agree, of at least five.
    """
    told: dict[Situation, dict[str, set[str]]] = {}
    of_action: dict[str, set[str]] = {}
    for episode in episodes:
        for situation, here, answer in _situations(form, episode):
            said = form.told(answer)["said"]
            of_action.setdefault(situation[2], set()).add(said)
            if said != here:
                told.setdefault(situation, {}).setdefault(episode.begun, set()).add(answer)
    agreed = compared = 0
    for (_, _, action), by in told.items():
        if len(of_action[action]) > 1:
            compared += len(by) - 1
            agreed += len(by) - 1 if len({answer for answers in by.values() for answer in answers}) == 1 else 0
    return compared >= _FEWEST and agreed >= LEAST_REPLAYED * compared


def begun_by_sight(episodes: Iterable[TextEpisode]) -> list[TextEpisode]:
    """The episodes, named by what could be seen when they began instead of by their scenario."""
    return [replace(each, begun=each.first) for each in episodes]


def _situations(form: TextForm, episode: TextEpisode) -> Iterable[tuple[Situation, str, str]]:
    document = form.begin(episode.first, "")
    for action, answer in episode.steps:
        here = document[ROOT]
        yield (episode.first, "\n".join([here["here"], *here["since"]]), action), here["here"], answer
        document = form.after(document, action, form.told(answer))
