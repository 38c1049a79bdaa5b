"""Scenarios made from a policy: each rule is tried in every way that its pack names, in an environment of one's own."""

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from string import Formatter
from typing import Any, Literal, Protocol

from pydantic import Field

from journeyman.environments.environment import Suite
from journeyman.errors import InvalidInput
from journeyman.records import Frozen, Scenario
from journeyman.records.compliance import ProbeKind
from journeyman.worlds.compliance.pack import Expressions, Pack, Probe, Rule

MADE = datetime(2026, 1, 1, tzinfo=UTC)
"""A scenario is a value of its seed: were the clock in it, the same seed would not give the same scenario."""
Expected = Literal["help", "refuse", "keep"]
"""What an agent should do: help, decline or hand over, or anything in words that breaks no rule."""
EXPECTED: Mapping[ProbeKind, Expected] = {
    "help": "help", "twin": "help", "fault": "help", "injection": "help", "refuse": "refuse", "pressure": "refuse",
    "policy-aware": "keep",
}  # fmt: skip


class Planted(Frozen):
    """What stands in the first answer of one of these tools beside the answer itself."""

    tools: tuple[str, ...]
    text: str


class Fault(Frozen):
    """A call of one of these tools, the first one or the `nth`, is answered with this error.

    Nothing is done by it; or, with `done`, everything, and only the answer is lost.
    """

    tools: tuple[str, ...]
    error: str
    nth: int = 1
    done: bool = False


class Scene(Frozen):
    """One scenario of a compliance run: a scenario of the environment's own, and what tempts the agent in it.

    With `lines` the user is scripted: the first opens the conversation, each further one follows an answer. Without,
    the environment's own user plays. `facts` are what the checks know of it.
    """

    rule: str
    kind: ProbeKind
    expects: Expected
    inner: Scenario
    lines: tuple[str, ...] = ()
    answered: Expressions = ()
    planted: Planted | None = None
    fault: Fault | None = None
    facts: dict[str, Any] = Field(default_factory=dict)
    tactic: str = ""
    """By which an adversary goes around the rule."""


class Place(Protocol):
    """Where agents are tried: an environment, which of its tools fill a policy's roles, and what is true in it.

    An environment that also has `state() -> Mapping` lets rules speak of the system's state before and after.
    """

    name: str
    suite: Suite
    users: str
    """How the users of its scenarios were made, and whether they were compared with real ones."""

    @property
    def tools(self) -> Mapping[str, tuple[str, ...]]:
        """Which of its tools fill the roles of a policy."""
        ...

    def scenarios(self, base: str, count: int, seed: int) -> Sequence[Scenario]:
        """`count` of its scenarios of the sort `base` (such as `routine`), always the same; none of an unknown sort."""
        ...

    def facts(self, scenario: Scenario) -> Mapping[str, Any]:
        """What is true there: facts for checks, and the `{slots}` of texts."""
        ...


class PlainPlace:
    """Any suite, of which nothing more is known: scenarios of the sort `routine`, without facts."""

    def __init__(self, suite: Suite, tools: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self.name, self.suite, self.tools = suite.name, suite, dict(tools or {})
        self.users = "the environment's own; nothing is known of how they were made"

    def scenarios(self, base: str, count: int, seed: int) -> Sequence[Scenario]:
        """The suite's held-out scenarios."""
        return self.suite.scenarios("held-out", count, seed) if base == "routine" else ()

    def facts(self, scenario: Scenario) -> Mapping[str, Any]:
        """None."""
        return {}


def scenarios_of(place: Place, rule: Rule, kind: ProbeKind, scenes: Sequence[Scene]) -> list[Scenario]:
    """Scenes of one kind that tempt to break a rule, as they are tried and kept."""
    return [
        Scenario(
            id=f"{rule.id}/{kind}/{number}", at=MADE, environment=f"compliance:{place.name}", kind=kind,
            data=scene.model_dump(mode="json"),
        )
        for number, scene in enumerate(scenes, start=1)
    ]  # fmt: skip


def make_scenes(
    pack: Pack,
    place: Place,
    seed: int,
    *,
    scale: int = 1,
    rules: Sequence[str] = (),
    kinds: Sequence[ProbeKind] = (),
) -> tuple[list[Scenario], dict[str, str]]:
    """The scenarios of a pack in a place, `scale` times as many as it asks for; and what could not be tried, and why.

    The same pack, place, seed and scale give the same scenarios. `rules` and `kinds` restrict them.
    """
    chosen = [pack.rule(id) for id in rules] or list(pack.rules)
    made: list[Scenario] = []
    left: dict[str, str] = {}
    for rule in chosen:
        for kind, probe in rule.probes.items():
            if (kinds and kind not in kinds) or kind == "policy-aware":  # these are an adversary's
                continue
            scenes, why = _Maker(pack, place, rule, kind, probe, seed, scale).scenes()
            if why is not None:
                left[f"{rule.id}/{kind}"] = why
            made += scenarios_of(place, rule, kind, scenes)
    if not made:
        raise InvalidInput(
            f"the pack {pack.name} gives no scenario in {place.name}: "
            + ("; ".join(f"{name}: {why}" for name, why in left.items()) or "no rule has probes that were asked for")
        )
    return made, left


class _Maker:
    """The scenes of one probe of a rule."""

    def __init__(
        self, pack: Pack, place: Place, rule: Rule, kind: ProbeKind, probe: Probe, seed: int, scale: int
    ) -> None:
        self.pack, self.place, self.rule, self.kind, self.probe = pack, place, rule, kind, probe
        self.tools = pack.tools_of(probe.tool)
        self.rng = random.Random(f"{seed}/{rule.id}/{kind}")
        self.scale, self.seed = scale, seed

    def scenes(self) -> tuple[list[Scene], str | None]:
        """All of them; and why there are none, or fewer than were asked for."""
        if self.probe.tool and not self.tools:
            return [], f"no tool fills {', '.join(self.probe.tool)}"
        self._check()
        texts = self.probe.say or self.probe.text or ("",)
        wanted = list(texts) * (self.probe.count * self.scale)
        # Sorts of scenarios are drawn per rule and kind, so that a rule that is added moves no other one's.
        inner = self.place.scenarios(self.probe.base, len(wanted), self.rng.randrange(2**31))
        found = []
        for scenario, text in zip(inner, wanted, strict=False):
            scene = self._scene(scenario, text)
            if isinstance(scene, str):
                return [], scene
            found.append(scene)
        if len(inner) < len(wanted):
            return found, (
                f"{self.place.name} has {len(inner)} scenarios of the sort {self.probe.base}, where {len(wanted)} were "
                "asked for"
            )
        return found, None

    def _check(self) -> None:
        """What a kind cannot do without. An injection without a text is one that the base's scenarios bring along."""
        rule, kind, probe = self.rule.id, self.kind, self.probe
        is_half = kind in ("injection", "fault") and bool(probe.tool) != bool(probe.text)
        if is_half or (kind == "fault" and not probe.tool):
            raise InvalidInput(f"rule {rule}: a probe of kind {kind} needs a tool and a text")
        if kind in ("pressure", "twin") and not probe.say:
            raise InvalidInput(f"rule {rule}: a probe of kind {kind} needs something to say")
        if kind != "fault" and (probe.nth != 1 or probe.done):
            raise InvalidInput(f"rule {rule}: `nth` and `done` say when a fault comes, and this probe is a {kind}")

    def _scene(self, inner: Scenario, text: str) -> Scene | str:
        filled = fill_in(self.pack, self.place, self.rule, inner, (text,), self.rng)
        if isinstance(filled, str):
            return filled
        (said,), facts = filled
        lines = (said, *self.pack.pressure) if self.kind == "pressure" else (said,)
        return Scene(
            rule=self.rule.id, kind=self.kind, expects=EXPECTED[self.kind], inner=inner,
            lines=lines if self.probe.say else (), answered=self.probe.answered, facts=facts,
            planted=Planted(tools=self.tools, text=said) if self.kind == "injection" and self.tools else None,
            fault=self._fault(said) if self.kind == "fault" else None,
        )  # fmt: skip

    def _fault(self, error: str) -> Fault:
        return Fault(tools=self.tools, error=error, nth=self.probe.nth, done=self.probe.done)


def fill_in(
    pack: Pack, place: Place, rule: Rule, inner: Scenario, texts: Sequence[str], rng: random.Random
) -> tuple[tuple[str, ...], dict[str, Any]] | str:
    """The texts with their slots filled, and the facts that the rule's check needs; or what the place does not know."""
    facts = dict(place.facts(inner))
    drawn = {name: rng.choice(values) for name, values in pack.fill.items()}
    slots = {**drawn, **{name: str(facts[name]) for name in slots_of(pack, facts) if name in facts}}
    missing = {name for text in texts for name in _slots(text)} - slots.keys()
    if missing:
        return f"{place.name} knows no {', '.join(sorted(missing))} to put into its texts"
    unknown = rule.facts - {"before", "after"} - facts.keys()
    if unknown:
        return f"{place.name} knows no fact {', '.join(sorted(unknown))}, which the check speaks of"
    return tuple(text.format(**slots) for text in texts), facts


def slots_of(pack: Pack, facts: Mapping[str, Any]) -> set[str]:
    """What texts of a scenario may hold in braces: what the pack draws, and facts that are texts or numbers."""
    return {*pack.fill, *(name for name, value in facts.items() if isinstance(value, str | int))}


def _slots(text: str) -> Iterator[str]:
    try:
        return iter([name for _, name, _, _ in Formatter().parse(text) if name])
    except ValueError as problem:
        raise InvalidInput(f"the text {text!r} has braces that are no slots ({problem}); double them") from problem


def counted(scenarios: Sequence[Scenario]) -> dict[tuple[str, str], int]:
    """How many scenarios there are of each rule and kind."""
    keys = sorted((scene.data["rule"], scene.kind) for scene in scenarios)
    return {key: len(list(group)) for key, group in itertools.groupby(keys)}
