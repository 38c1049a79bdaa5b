"""The checks, each a function from a suite and some of its scenarios to a finding."""

from collections.abc import Sequence
from dataclasses import dataclass

from journeyman.engines.scripted import Script
from journeyman.environments.admission.players import other_paths_of, perturbed, spammer
from journeyman.environments.admission.report import Finding
from journeyman.environments.admission.transcripts import Transcript, attempted, first_difference, play, repeating
from journeyman.environments.environment import Suite
from journeyman.environments.verifying import judge_of, stamped, verifier_of
from journeyman.errors import InvalidInput
from journeyman.records import Message, Outcome, Scenario

CONTROL = ("reset", "snapshot", "restore", "fork", "score", "close", "seed_session", "verify")
"""The control plane's verbs: an agent that was offered one could score itself, or take a move back."""
_FORKS = 3


@dataclass(frozen=True)
class Examined:
    """A scenario with what was played in it: by gold, where there is any, and at random."""

    scenario: Scenario
    gold: Transcript | None
    at_random: Transcript

    @property
    def played(self) -> list[Transcript]:
        """Both."""
        return [each for each in (self.gold, self.at_random) if each is not None]


async def examine(suite: Suite, scenario: Scenario, gold: Script | None, at_random: Script) -> Examined:
    """Play a scenario by gold and at random."""
    right = None if gold is None else await play(suite.environment(scenario), gold)
    return Examined(scenario, right, await play(suite.environment(scenario), at_random))


def check_scenarios(suite: Suite, split: str, count: int, seed: int) -> Finding:
    """The same seed gives the same scenarios, each with an id of its own, and the other split has none of them."""
    made = [attempted(each) for each in suite.scenarios(split, count, seed)]
    again = [attempted(each) for each in suite.scenarios(split, count, seed)]
    other = _as_many_as_there_are(suite, "held-out" if split == "train" else "train", count, seed)
    problems = [] if made == again else ["the same seed gave other scenarios the second time"]
    if len({each["id"] for each in made}) < len(made):
        problems.append("two scenarios have the same id")
    content = [each["data"] for each in made]
    shared = sum(each.id in {one["id"] for one in made} or each.data in content for each in other)
    problems += [f"{shared} scenarios are in both splits"] if shared else []
    return _finding("scenarios repeat and splits are apart", problems, f"{len(made)} and {len(other)} scenarios")


def _as_many_as_there_are(suite: Suite, split: str, count: int, seed: int) -> Sequence[Scenario]:
    """Of a split that has an end, fewer."""
    while count > 1:
        try:
            return suite.scenarios(split, count, seed)
        except InvalidInput:
            count //= 2
    return suite.scenarios(split, 1, seed)


async def check_repeats(suite: Suite, examined: Sequence[Examined], name: str) -> Finding:
    """The same replies in a new episode of the same scenario meet the same, byte for byte."""
    problems, compared = list[str](), 0
    for each in examined:
        for before in each.played:
            after = await play(suite.environment(each.scenario), repeating(before.replies))
            compared += 1
            problems += difference(each.scenario, before, after)
    return _finding(name, problems, f"{compared} episodes byte for byte")


async def check_forks(suite: Suite, examined: Sequence[Examined]) -> Finding:
    """Forks of an episode half-way go on as it would have, whatever another fork does."""
    problems, compared = list[str](), 0
    for each in examined:
        for whole in each.played:
            half = len(whole.replies) // 2
            environment = suite.environment(each.scenario)
            opening = await environment.start()
            for reply in whole.replies[:half]:
                opening = await environment.step(reply)
            disturber, *forks = environment.fork(_FORKS)
            await play(disturber, spammer, opening)
            for fork in (*forks, environment):
                went = await play(fork, repeating(whole.replies[half:]), opening)
                went.seen = [*whole.seen[:half], *went.seen]
                compared += 1
                problems += difference(each.scenario, whole, went)
    return _finding("forks share nothing", problems, f"{compared} forks, after a sibling did something else")


async def check_wrong_ends(suite: Suite, examined: Sequence[Examined]) -> Finding:
    """Gold with a reply dropped or an argument changed is refused wherever it ends in another state."""
    wrong, accepted, same, ended = 0, list[str](), 0, set[str]()
    for each in examined:
        if each.gold is None or not each.gold.is_success:
            continue
        for what, replies in perturbed(each.gold.replies):
            went = await play(suite.environment(each.scenario), repeating(replies))
            if not _ends_elsewhere(each.gold, went):
                same += 1
                continue
            wrong += 1
            ended.add(went.written())
            if went.is_success:
                accepted.append(f"{each.scenario.id} with {what} ended in another state, and was a success")
    if not wrong:
        why = "no gold attempt to make wrong" if not same else "no change to gold led to another state"
        return Finding(check="wrong ends are refused", passed=None, detail=why)
    exact = getattr(suite, "exact_ends", True)
    allowed = 0 if exact else wrong // 2
    detail = f"{wrong - len(accepted)} of {wrong} refused, {same} ended as gold did"
    problems = accepted if len(accepted) > allowed else []
    return _finding("wrong ends are refused", problems, detail if exact else f"{detail}; a success has several ends")


async def check_other_paths(suite: Suite, examined: Sequence[Examined]) -> Finding:
    """What the suite names as another right path is accepted."""
    problems, tried = list[str](), 0
    for each in examined:
        for number, script in enumerate(other_paths_of(suite, each.scenario)):
            went = await play(suite.environment(each.scenario), script)
            tried += 1
            if not went.is_success:
                reason = next((score.reason for score in went.scores if score.reason), "")
                problems.append(f"path {number + 1} at {each.scenario.id} was refused: {reason}")
    if not tried:
        return Finding(check="other right paths are accepted", passed=None, detail="the suite names none")
    return _finding("other right paths are accepted", problems, f"{tried} accepted")


async def check_scores(suite: Suite, examined: Sequence[Examined]) -> Finding:
    """Scores follow from scenario and outcome alone: given again from what would be stored, they are the same."""
    verifier, problems, compared = verifier_of(suite), list[str](), 0
    if verifier is None:
        return Finding(
            check="scores can be given again", passed=None,
            detail="the suite has no `version` and `verify(…)`: stored attempts cannot be scored again",
        )  # fmt: skip
    for each in examined:
        before = each.scenario.model_dump_json()
        own = verifier_of(judge_of(suite, each.scenario)) or verifier
        for went in each.played:
            if went.outcome is None:
                problems.append(f"{each.scenario.id} left no outcome")
                continue
            stored = Outcome.model_validate_json(went.outcome.model_dump_json())
            for _ in range(2):
                given = stamped(own.verify(each.scenario, stored), own.version)
                compared += 1
                if given != tuple(went.scores):
                    problems.append(f"{each.scenario.id} was scored {_told(went.scores)}, and again {_told(given)}")
        if each.scenario.model_dump_json() != before:
            problems.append(f"scoring changed the scenario {each.scenario.id}")
    return _finding("scores can be given again", problems, f"{compared} times, by {verifier.version}")


async def check_planes(examined: Sequence[Examined]) -> Finding:
    """No tool of the agent's is one of the control plane."""
    names = {
        tool["function"]["name"]
        for each in examined
        for went in each.played
        for seen in went.seen
        for tool in seen["tools"]
    }
    problems = [f"the agent is offered {name}, which is the trainer's" for name in sorted(names & {*CONTROL})]
    return _finding("the agent has no control", problems, f"{len(names)} tools")


def difference(scenario: Scenario, before: Transcript, after: Transcript) -> list[str]:
    """In words, that two transcripts differ."""
    one, other = before.written(), after.written()
    return [] if one == other else [f"{scenario.id} went otherwise: {first_difference(one, other)}"]


def same_replies(scenario: Scenario, replies: Sequence[Message]) -> dict[str, object]:
    """What another process needs to play an episode again."""
    return {
        "scenario": scenario.model_dump(mode="json"),
        "replies": [reply.model_dump(mode="json") for reply in replies],
    }


def _ends_elsewhere(gold: Transcript, went: Transcript) -> bool:
    if gold.outcome is None or went.outcome is None:
        return gold.written() != went.written()
    if gold.outcome.state:
        return gold.outcome.state != went.outcome.state
    return gold.outcome != went.outcome


def _told(scores: Sequence[object]) -> str:
    return ", ".join(f"{getattr(score, 'name', '')} {getattr(score, 'value', '')}" for score in scores)


def _finding(check: str, problems: Sequence[str], fine: str) -> Finding:
    more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
    return Finding(check=check, passed=not problems, detail=f"{problems[0]}{more}" if problems else fine)
