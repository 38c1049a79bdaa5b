"""Makes a world of episodes in words: its form is learned from most of them, and it is measured on the others."""

from collections.abc import Sequence
from dataclasses import replace

from journeyman.errors import InvalidInput
from journeyman.worlds.build import Built, build
from journeyman.worlds.making import divide, measured
from journeyman.worlds.resolver import vote_key
from journeyman.worlds.texts.beginnings import begun_by_sight, known_by_sight
from journeyman.worlds.texts.episodes import TextEpisode, TextTraces
from journeyman.worlds.texts.form import ROOT, TextForm, learn_form, with_starts
from journeyman.worlds.texts.twins import with_twins
from journeyman.worlds.transitions import Transition
from journeyman.worlds.world import Condition, Start, World, with_card

_LEAST = 0.7
"""A guess about words leads to places: one that is wrong ends an episode elsewhere, so it must have earned more."""


def make_text_world(name: str, traces: TextTraces, *, success: Sequence[Condition] = (), seed: int = 0) -> World:
    """A world with its card. `success` is what must hold in the end of an episode: whoever builds it knows that.

    The form is learned, and the world built, without the held-out sessions. InvalidInput for too few sessions.
    """
    episodes = traces.episodes
    if not episodes:
        told = ", ".join(f"{count} {reason}" for reason, count in traces.left_out.left_out.items()) or "no action"
        raise InvalidInput(f"the traces hold no action with an answer in words ({told}); nothing was built")
    divided = divide([each for episode in episodes for each in _bare(episode)], seed)
    training = [each for each in episodes if each.session in divided.training]
    form = learn_form(training)
    if known_by_sight(form, training):
        episodes, training = begun_by_sight(episodes), begun_by_sight(training)
        form = with_starts(form, training)
    known = [each for episode in training for each in transitions_of(form, episode)]
    judged = [
        each
        for episode in episodes
        for each in transitions_of(form, episode, blind=episode.session not in divided.training)
    ]
    notes = {
        "sessions": len(episodes),
        "calls": len(judged),
        "left out": dict(traces.left_out.left_out),
        "named": traces.left_out.named,
        "redacted": dict(traces.left_out.redacted),
        "verbs with lasting effects": list(form.lasting),
        "hidden states that began alike": sum(len(found) > 1 for found in (form.starts or {}).values()),
    }
    form, built = with_twins(form, _without_imagined_places(build(known, seed=seed, least=_LEAST, cautious=True)))
    world = World(name, built, _starts(form, training), notes=notes, text=form, success=tuple(success))
    return with_card(world, measured(world, judged, divided, seed))


def transitions_of(form: TextForm, episode: TextEpisode, *, blind: bool = False) -> list[Transition]:
    """The episode's actions as calls, with the state before and after each.

    `blind`: the hidden state is judged by earlier answers only, as it must be for calls that are to be predicted.
    """
    start, found = form.start_of(episode), list[Transition]()
    document = form.begin(episode.first, start)
    for order, (action, answer) in enumerate(episode.steps):
        if blind:
            name = form.start_of(episode, order)
            document = {key: {**inner, "start": name} for key, inner in document.items()}
        told = form.told(answer)
        after = form.after(document, action, told)
        tool, arguments = form.call(document, action)
        found.append(
            Transition(
                tool, arguments, told, episode.session, order, at=episode.at, before=document, after=after,
                policy=episode.policy,
            )
        )  # fmt: skip
        document = after
    return found


def _without_imagined_places(built: Built) -> Built:
    """Where an action leads is recorded, or told by an admitted twin, or unknown: no guess makes up a place."""
    leading = {tool for tool, found in built.footprints.items() if (ROOT, "here") in found.writes}
    admitted = {tool for tool, found in built.trials.items() if found.admitted}
    guessed = leading - admitted
    return replace(
        built,
        rules={tool: rule for tool, rule in built.rules.items() if tool not in guessed},
        neighbours={**built.neighbours, **{vote_key(tool, share): 0.0 for tool in guessed for share in (0.0, 1.0)}},
    )


def _bare(episode: TextEpisode) -> list[Transition]:
    """Without a state: enough to say which sessions are held out."""
    return [
        Transition("", {"action": action}, answer, episode.session, order, at=episode.at, policy=episode.policy)
        for order, (action, answer) in enumerate(episode.steps)
    ]


def _starts(form: TextForm, episodes: Sequence[TextEpisode]) -> tuple[Start, ...]:
    """Every beginning once, though several sessions had it."""
    found: dict[tuple[str, str], Start] = {}
    for each in episodes:
        start = form.start_of(each)
        key = start, repr([said.wire() for said in each.opening])
        found.setdefault(key, Start(each.session, each.opening, form.begin(each.first, start)))
    return tuple(found.values())
