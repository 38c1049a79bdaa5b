"""Twins of verbs that nothing else explains: of those that lead from scene to scene, and of those that lead nowhere."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from journeyman.worlds.build import Built
from journeyman.worlds.resolver import Twin
from journeyman.worlds.texts.form import ROOT, TextForm
from journeyman.worlds.texts.links import judged_links, links_of
from journeyman.worlds.texts.sayings import judged_sayings, sayings_of
from journeyman.worlds.transitions import Transition
from journeyman.worlds.trials import Trial


def with_twins(form: TextForm, built: Built) -> tuple[TextForm, Built]:
    """The form and the world with such twins, where they are admitted and the verb has none yet."""
    rest = [tool for tool in built.footprints if tool not in built.trials or not built.trials[tool].admitted]
    leading = [tool for tool in rest if (ROOT, "here") in built.footprints[tool].writes]
    near = _admitted({tool: judged_links(tool, form, built.memory, local=True) for tool in leading})
    far = _admitted({tool: judged_links(tool, form, built.memory, local=False) for tool in leading if tool not in near})
    spoken = _admitted({tool: judged_sayings(tool, form, built.memory) for tool in rest if tool not in leading})
    form = replace(form, linked=tuple(sorted({**near, **far})), local=tuple(sorted(near)), spoken=tuple(sorted(spoken)))
    return form, replace(
        built, trials={**built.trials, **near, **far, **spoken},
        programs={**built.programs, **twins_of(form, built.memory)},
    )  # fmt: skip


def twins_of(form: TextForm, memory: Sequence[Transition]) -> dict[str, Twin]:
    """The twins of words that were admitted."""
    return {**links_of(form, memory), **sayings_of(form, memory)}


def _admitted(found: Mapping[str, Trial]) -> dict[str, Trial]:
    return {tool: each for tool, each in found.items() if each.admitted}
