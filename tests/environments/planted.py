"""A small sound suite, and suites in each of which one thing is wrong: what admission must tell apart."""

import datetime
import json
import random
from collections.abc import Sequence
from copy import copy
from typing import ClassVar

from journeyman.environments.environment import Observation
from journeyman.environments.tasks.drawing import Drawn, draw_scenarios
from journeyman.errors import InvalidInput
from journeyman.records import Function, Outcome, Scenario, Score, Tool
from journeyman.records.message import assistant, call, system, tool_result, user

COLOURS = ("red", "green", "blue", "black", "white", "brown", "pink", "grey")
TEXT = {"type": "string"}


def tool(name: str, *parameters: str) -> Tool:
    shape = {"type": "object", "properties": dict.fromkeys(parameters, TEXT), "required": list(parameters)}
    return Tool(function=Function(name=name, description=name, parameters=shape))


class Sound:
    """Paint a thing in a colour, and say so."""

    tools: tuple[Tool, ...] = (tool("paint", "thing", "colour"), tool("look", "thing"))

    def __init__(self, scenario: Scenario) -> None:
        self.scenario, self.painted, self.events, self.over = scenario, dict[str, str](), (), False

    async def start(self) -> Observation:
        return Observation(messages=(system("You paint."), user(self.asked())), tools=self.tools)

    def asked(self) -> str:
        return "Paint the {thing} {colour}.".format(**self.scenario.data)

    async def step(self, reply) -> Observation:
        if self.over:
            raise InvalidInput("it is over")
        self.over = not reply.tool_calls or len(self.events) > 8
        results = [tool_result(each.id, self.answer(each.function)) for each in reply.tool_calls or ()]
        return Observation(messages=tuple(results), tools=self.tools, done=self.over)

    def answer(self, function) -> str:
        given = json.loads(function.arguments)
        self.events = (*self.events, {"tool": function.name, **given})
        if function.name == "paint":
            self.painted = {**self.painted, given["thing"]: given["colour"]}
        return self.painted.get(given.get("thing"), "plain")

    def fork(self, n: int) -> "Sequence[Sound]":
        return [copy(self) for _ in range(n)]

    def outcome(self) -> Outcome:
        return Outcome(state={"painted": self.painted}, events=self.events)

    def score(self) -> tuple[Score, ...]:
        return SoundSuite.judged(self.scenario, self.outcome())

    async def close(self) -> None:
        pass


class SoundSuite:
    """All is well."""

    name, version, kind = "sound", "sound/1", Sound

    def scenarios(self, split: str, count: int, seed: int) -> Sequence[Scenario]:
        def draw(rng: random.Random, number: int) -> Drawn:
            return Drawn("paint", {"thing": f"{split}-{seed}-{number}", "colour": rng.choice(COLOURS)})

        return draw_scenarios(self.name, split, count, seed, draw)

    def environment(self, scenario: Scenario) -> Sound:
        return self.kind(scenario)

    @staticmethod
    def judged(scenario: Scenario, outcome: Outcome) -> tuple[Score, ...]:
        right = outcome.state["painted"] == {scenario.data["thing"]: scenario.data["colour"]}
        return (Score(name="success", value=float(right), version="sound/1"),)

    def verify(self, scenario: Scenario, outcome: Outcome) -> tuple[Score, ...]:
        return self.judged(scenario, outcome)

    def gold(self, scenario: Scenario):
        return self.path(scenario)

    def other_paths(self, scenario: Scenario):
        return [self.path(scenario, "look", "paint"), self.path(scenario, "paint", "paint")]

    def path(self, scenario: Scenario, *tools: str):
        tools = tools or ("paint",)

        def act(messages, on_offer):
            made = sum(message.role == "assistant" for message in messages)
            if made == len(tools):
                return assistant("Done.")
            given = scenario.data if tools[made] == "paint" else {"thing": scenario.data["thing"]}
            return call(f"call_{made}", tools[made], **given)

        return act


class WithoutGold(SoundSuite):
    """Nobody knows how it is done."""

    def gold(self, scenario):
        return None

    def other_paths(self, scenario):
        return ()


class Leaky(Sound):
    """Any paint will do: the verifier forgets the colour."""

    def score(self):
        return (Score(name="success", value=float(self.scenario.data["thing"] in self.painted), version="leaky/1"),)


class LeakySuite(SoundSuite):
    version, kind = "leaky/1", Leaky

    def verify(self, scenario, outcome):
        return (Score(name="success", value=float(scenario.data["thing"] in outcome.state["painted"])),)


class Free(Sound):
    def score(self):
        return (Score(name="success", value=float(self.over or bool(self.painted))),)


class FreeSuite(SoundSuite):
    """Whoever gives up has won."""

    kind = Free


class ImpossibleSuite(SoundSuite):
    """Gold paints another thing."""

    def gold(self, scenario):
        return self.path(scenario.model_copy(update={"data": {**scenario.data, "thing": "door"}}))


class Residue(Sound):
    kept: ClassVar[dict[str, str]] = {}

    def __init__(self, scenario) -> None:
        super().__init__(scenario)
        self.painted = self.kept

    def answer(self, function):
        found = super().answer(function)
        self.kept.update(self.painted)
        return found


class ResidueSuite(SoundSuite):
    """What was painted stays painted, in the next episode too."""

    kind = Residue


class Dicey(Sound):
    def asked(self):
        return f"{super().asked()} ({random.random()})"


class DiceySuite(SoundSuite):
    """Chance without a seed."""

    kind = Dicey


class Clock(Sound):
    def answer(self, function):
        return f"{super().answer(function)} at {datetime.datetime.now().isoformat()}"


class ClockSuite(SoundSuite):
    """Answers carry the time of day."""

    kind = Clock


class Today(Sound):
    def asked(self):
        return f"{super().asked()} Today is {datetime.date.today()}."


class TodaySuite(SoundSuite):
    """The question carries the date."""

    kind = Today


class Hashed(Sound):
    def asked(self):
        return f"{super().asked()} Colours: {', '.join({*COLOURS})}."


class HashedSuite(SoundSuite):
    """A set in the order of its hashes."""

    kind = Hashed


class Shared(Sound):
    def answer(self, function):
        given = json.loads(function.arguments)
        before = self.painted.get(given.get("thing"), "plain")
        if function.name == "paint":
            self.painted[given["thing"]] = given["colour"]
        self.events = (*self.events, given)
        return before


class SharedSuite(SoundSuite):
    """Forks paint on the same things."""

    kind = Shared


class Strict(Sound):
    def answer(self, function):
        if json.loads(function.arguments)["thing"] != self.scenario.data["thing"]:
            raise KeyError("no such thing")
        return super().answer(function)


class StrictSuite(SoundSuite):
    """A thing that there is not breaks it."""

    kind = Strict


class NarrowSuite(SoundSuite):
    """Only the one way of its author is right."""

    def verify(self, scenario, outcome):
        return self.judged(scenario, outcome)

    @staticmethod
    def judged(scenario, outcome):
        right = [each["tool"] for each in outcome.events] == ["paint"] and outcome.state["painted"] == {
            scenario.data["thing"]: scenario.data["colour"]
        }
        return (Score(name="success", value=float(right), version="sound/1"),)

    def environment(self, scenario):
        made = Sound(scenario)
        made.score = lambda: self.judged(scenario, made.outcome())
        return made


class Impure(Sound):
    def score(self):
        return (Score(name="success", value=float(self.over and bool(self.painted)), version="sound/1"),)


class ImpureSuite(SoundSuite):
    """The score looks at more than is kept: whether it is over."""

    kind = Impure


class Open(Sound):
    tools = (*Sound.tools, tool("reset", "thing"))


class OpenSuite(SoundSuite):
    """The agent may start again."""

    kind = Open


class MixedSuite(SoundSuite):
    """Both splits are the same scenarios."""

    def scenarios(self, split, count, seed):
        return super().scenarios("train", count, seed)
