"""RULER against judges that are planted to fail, under a noisy judge, and what it saves.

Scripted judges with known faults score groups of attempts whose true worth is known: that no fault reaches the scores,
how well the scores order the attempts with 1, 2 and 4 orders, and how many calls and dollars duplicates, groups without
information and kept verdicts save. Beside it a naive reading of the same answers: one order, scores taken by place,
whatever cannot be used taken as 0.

    python benchmarks/judges.py [--quick]
"""

import argparse
import asyncio
import json
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from record import Row, row, write_results

from journeyman.demos.bank import expert
from journeyman.demos.bank.environment import BankSuite
from journeyman.engines.scripted import ScriptedEngine, estimated_usage
from journeyman.environments.rollout import roll_out_many
from journeyman.errors import UpstreamFailed
from journeyman.prices import Price, price_of
from journeyman.records import Message, Scenario, Trajectory, TrajectoryGroup
from journeyman.records.message import assistant, system, user
from journeyman.rewards import Asker, Ruler, VerdictBook, score_group
from journeyman.rewards.card import measure_card
from journeyman.rewards.contents import content_of
from journeyman.rewards.listwise import DEFAULT_RUBRIC, ask_about
from journeyman.rewards.perturbed import gold_against_perturbed, without_lucky_copies
from journeyman.rewards.raters import ListwiseRater
from journeyman.statistics import kendall_tau
from journeyman.statistics.intervals import clustered_mean

SIZE = 8
PRICED_AS = "gpt-4.1-mini"
Answer = dict[str, Any]
Spoil = Callable[[Answer, int], object]


class PlantedJudge:
    """Scores attempts by the worth that they state, with noise, a liking for a place, and a spoiled form."""

    def __init__(
        self,
        noise: float = 0.0,
        place: Callable[[int], float] = lambda at: 0.0,
        spoil: Spoil | None = None,
        worth: Callable[[Answer], float] | None = None,
    ) -> None:
        self.noise, self.place, self.spoil, self.worth = noise, place, spoil, worth or _worth
        self.generator = random.Random(1)
        self.calls = 0
        self.reply = ScriptedEngine(self._answer).reply

    def _answer(self, messages: Sequence[Message], _: object) -> Message:
        self.calls += 1
        said: object = self.answer(json.loads(messages[1].text)["attempts"])
        if self.spoil is not None:
            said = self.spoil(said, len(messages))  # type: ignore[arg-type]
        return assistant(said if isinstance(said, str) else json.dumps(said))

    def answer(self, attempts: Sequence[Answer]) -> Answer:
        """A well-formed answer."""
        scores = {
            each["id"]: min(1.0, max(0.0, self.worth(each) + self.place(at) + self.generator.gauss(0, self.noise)))
            for at, each in enumerate(attempts)
        }
        return {
            "attempts": [{"id": id, "reason": "as it says", "score": score} for id, score in scores.items()],
            "ranking": sorted(scores, key=lambda id: -scores[id]),
        }


def _worth(shown: Answer) -> float:
    return float(shown["messages"][-1]["content"].split()[0])


def groups_of(
    count: int, size: int = SIZE, seed: int = 0, *, distinct: int | None = None
) -> list[tuple[TrajectoryGroup, list[float]]]:
    """Groups with the true worth of their attempts; with `distinct`, attempts repeat what one of so many say."""
    generator = random.Random(seed)
    found = []
    asked = (system("You are a careful assistant. " * 20), user("What should be done? " * 40))
    for number in range(count):
        worths = [round(generator.uniform(0.2, 0.8), 4) for _ in range(distinct or size)]
        chosen = [generator.choice(worths) for _ in range(size)] if distinct else worths
        scenario = Scenario(id=f"{seed}-{number}", environment="benchmark", kind="worth")
        trajectories = tuple(
            Trajectory(
                scenario_id=scenario.id, model="m", session=f"{number}-{at}",
                messages=(*asked, assistant(f"{worth} {'and so on ' * 30}{number}")),
            )
            for at, worth in enumerate(chosen)
        )  # fmt: skip
        found.append((TrajectoryGroup(scenario=scenario, trajectories=trajectories), chosen))
    return found


def _asker(judge: PlantedJudge, price: Price | None = None) -> Asker:
    return Asker(judge, "planted", price, tries=3)


async def _ruled(ruler: Ruler, group: TrajectoryGroup) -> list[float] | None:
    try:
        return [score.value for score in await score_group(ruler, group) if score is not None]
    except UpstreamFailed:
        return None


def _naive(judge: PlantedJudge, group: TrajectoryGroup) -> list[float]:
    """One order, that of the group; scores by place; what is missing or no number from 0 to 1 is 0."""
    shown = [
        {"id": str(at + 1), "messages": [{"role": "assistant", "content": each.messages[-1].text}]}
        for at, each in enumerate(group.trajectories)
    ]
    said = judge.answer(shown)
    spoiled = judge.spoil(said, 2) if judge.spoil else said
    listed = spoiled.get("attempts", []) if isinstance(spoiled, dict) else []
    scores = [each.get("score") for each in listed] + [0.0] * len(shown)
    return [float(each) if isinstance(each, int | float) else 0.0 for each in scores[: len(shown)]]


def _at_first(change: Callable[[Answer], object]) -> Spoil:
    return lambda said, asked: change(said) if asked == 2 else said


def _changed(at: int, **fields: object) -> Callable[[Answer], object]:
    return lambda said: {
        **said,
        "attempts": [{**each, **(fields if place == at else {})} for place, each in enumerate(said["attempts"])],
    }


MALFORMED: dict[str, Callable[[Answer], object]] = {
    "a missing id": lambda said: {**said, "attempts": said["attempts"][1:]},
    "an id twice": lambda said: {**said, "attempts": [said["attempts"][-1], *said["attempts"][1:]]},
    "a score out of range": _changed(0, score=9),
    "a score as text": _changed(0, score="0.9"),
    "rambling around the answer": lambda said: f"Let me think about this. {json.dumps(said)} I hope this helps!",
    "a ranking against the scores": lambda said: {**said, "ranking": said["ranking"][::-1]},
}
PLACES: dict[str, Callable[[int], float]] = {
    "the first place": lambda at: 0.3 * (at == 0),
    "late places": lambda at: 0.3 * at / (SIZE - 1) - 0.15,
}


def _reordered(said: Answer, _: int) -> object:
    return {**said, "attempts": sorted(said["attempts"], key=lambda each: -each["score"])}


async def planted(count: int) -> list[Row]:
    """Every planted fault, and what is left of it in the scores."""
    rows = []
    cases = groups_of(count)
    for name, spoil in [
        ("a reordered reply", _reordered),
        *((name, _at_first(each)) for name, each in MALFORMED.items()),
    ]:
        right = naive = 0
        for group, truth in cases:
            found = await _ruled(Ruler(_asker(PlantedJudge(spoil=spoil))), group)
            right += found is not None and max(abs(a - b) for a, b in zip(found, truth, strict=True)) < 1e-9
            by_place = _naive(PlantedJudge(spoil=spoil), group)
            naive += max(abs(a - b) for a, b in zip(by_place, truth, strict=True)) < 1e-9
        rows.append(
            row(f"{name}: groups scored as by a sound judge", right, f"of {count}", bar="all", holds=right == count)
        )
        rows.append(row(f"{name}: the same, read naively", naive, f"of {count}"))
    for name, change in MALFORMED.items():
        scored = 0
        for group, _ in cases:
            scored += (
                await _ruled(Ruler(_asker(PlantedJudge(spoil=lambda said, _, change=change: change(said)))), group)
                is not None
            )
        rows.append(row(f"{name}, however often it is asked: groups that got scores", scored, f"of {count}", bar="none",
                        holds=scored == 0))  # fmt: skip
    for name, place in PLACES.items():
        rows += await _placed(name, place, cases)
    rows += await _duplicates(count)
    return rows


async def _placed(
    name: str, place: Callable[[int], float], cases: Sequence[tuple[TrajectoryGroup, list[float]]]
) -> list[Row]:
    """What standing at one end of the group rather than the other is paid, and what is left of the ranking."""
    found: dict[str, list[list[float]]] = {"ruler": [], "naive": []}
    taus: dict[str, list[list[float]]] = {"ruler": [], "naive": []}
    for group, truth in cases:
        read = {
            "ruler": await _ruled(Ruler(_asker(PlantedJudge(place=place)), orders=2, most_orders=4), group) or [],
            "naive": _naive(PlantedJudge(place=place), group),
        }
        for how, scores in read.items():
            ends = (scores[0] - truth[0]) - (scores[-1] - truth[-1])
            found[how].append([ends])
            taus[how].append([kendall_tau(scores, truth)])
    rows = []
    for how, said in (("ruler", "RULER"), ("naive", "read naively")):
        ends, tau = clustered_mean(found[how]), clustered_mean(taus[how])
        bar = {"bar": "interval holds 0", "holds": ends.low <= 0 <= ends.high} if how == "ruler" else {}
        rows.append(row(f"a liking for {name}, {said}: paid to the group's first over its last", ends.estimate, "",
                        interval=(ends.low, ends.high), **bar))  # fmt: skip
        rows.append(
            row(
                f"a liking for {name}, {said}: Kendall's τ with the truth",
                tau.estimate,
                "",
                interval=(tau.low, tau.high),
            )
        )
    return rows


async def _duplicates(count: int) -> list[Row]:
    """A noisy judge scores copies differently; RULER shows each once."""
    uneven = naive = 0
    for group, truth in groups_of(count, seed=5, distinct=3):
        scores = await _ruled(Ruler(_asker(PlantedJudge(noise=0.1))), group) or []
        by_place = _naive(PlantedJudge(noise=0.1), group)
        uneven += _copies_differ(truth, scores)
        naive += _copies_differ(truth, by_place)
    return [
        row(
            "copies within a group: groups where they score differently",
            uneven,
            f"of {count}",
            bar="none",
            holds=uneven == 0,
        ),
        row("copies within a group: the same, read naively", naive, f"of {count}"),
    ]


def _copies_differ(truth: Sequence[float], scores: Sequence[float]) -> bool:
    return any(
        len({score for one, score in zip(truth, scores, strict=True) if one == worth}) > 1 for worth in set(truth)
    )


async def noisy(count: int) -> list[Row]:
    """Rank correlation with the truth, and calls, by the number of orders."""
    rows = []
    cases = groups_of(count, seed=2)
    for noise in (0.04, 0.1, 0.2):
        for orders, most in ((1, 1), (2, 2), (2, 4), (4, 4)):
            judge = PlantedJudge(noise, lambda at: 0.1 * at / (SIZE - 1) - 0.05)
            taus = []
            for group, truth in cases:
                scores = await _ruled(Ruler(_asker(judge), orders=orders, most_orders=most), group) or []
                taus.append([kendall_tau(scores, truth)])
            tau = clustered_mean(taus)
            name = (
                f"noise {noise:g}, {orders} to {most} orders" if most > orders else f"noise {noise:g}, {orders} orders"
            )
            rows.append(row(f"{name}: Kendall's τ with the truth", tau.estimate, "", interval=(tau.low, tau.high)))
            rows.append(row(f"{name}: calls per group", judge.calls / count))
    return rows


async def savings(count: int) -> list[Row]:
    """Calls and dollars for each group of a run in which attempts repeat each other, and is scored a second time."""
    price = price_of(PRICED_AS)
    assert price is not None
    cases = groups_of(count, seed=3, distinct=4) + groups_of(count // 4, seed=4, distinct=1)
    random.Random(0).shuffle(cases)
    total = len(cases)
    naive_cost = 0.0
    for group, _ in cases:
        contents = [content_of(each) for each in group.trajectories]
        everything = [
            Message.model_validate({"role": "user", "content": json.dumps(each.messages)}) for each in contents
        ]
        said = PlantedJudge().answer([{"id": str(at), "messages": [{"content": each.messages[-1]["content"]}]}
                                      for at, each in enumerate(contents)])  # fmt: skip
        rules = ask_about(DEFAULT_RUBRIC, contents[:1], 0, 0).messages()[:1]
        naive_cost += 2 * price.usd(estimated_usage([*rules, *everything], (), assistant(json.dumps(said))))
    whole = "whole conversations, every attempt, two orders"
    rows = [
        row(f"{whole}: calls per group", 2.0),
        row(f"{whole}: US dollars per 1,000 groups", 1000 * naive_cost / total),
    ]
    with tempfile.TemporaryDirectory() as folder:
        for said in ("prefix once, copies once, no groups without information", "scored once more after a restart"):
            judge = PlantedJudge(0.02)
            asker = _asker(judge, price)
            ruler = Ruler(asker, orders=2, most_orders=2, book=VerdictBook(Path(folder) / "verdicts.jsonl"))
            for group, _ in cases:
                await score_group(ruler, group)
            rows.append(row(f"{said}: calls per group", judge.calls / total))
            rows.append(row(f"{said}: US dollars per 1,000 groups", 1000 * (asker.cost_usd or 0.0) / total))
    saved = ruler.savings
    rows.append(row("attempts that were copies", 100 * saved.duplicates / (SIZE * saved.groups), "%"))
    rows.append(row("groups without information", 100 * saved.without_information / saved.groups, "%"))
    rows.append(
        row(
            "after the restart, verdicts taken from the book",
            saved.verdicts_kept,
            f"of {saved.verdicts_kept + saved.verdicts_asked}",
        )
    )
    return rows


async def bank_cards(count: int) -> list[Row]:
    """Judge cards on the bank's successes against broken copies of them, each copy played again by the bank."""
    suite = BankSuite()
    scenarios = suite.scenarios("held-out", count, 1)
    played = await roll_out_many(suite, scenarios, ScriptedEngine(lambda messages, _: expert.reply(messages)), "expert")
    gold = [(scenario, each) for scenario, each in zip(scenarios, played, strict=True) if each.score("success") == 1]

    async def succeeds(scenario: Scenario, trajectory: Trajectory) -> bool:
        environment = suite.environment(scenario)
        await environment.start()
        for message in trajectory.messages:
            if message.role == "assistant" and not environment.is_done:
                await environment.step(message)
        found = {score.name: score.value for score in environment.score()}
        await environment.close()
        return found["success"] == 1

    broken = gold_against_perturbed(gold, most=4)
    cases, lucky = await without_lucky_copies(broken, succeeds)
    ids, left = ([each.id for case in some for each in case.group.trajectories] for some in (broken, cases))
    without = sum("without-a-call" in id for id in ids)
    still = without - sum("without-a-call" in id for id in left)
    rows = [
        row("bank: successes to break", len(gold), f"of {count}"),
        row("bank: broken copies that the bank still calls a success, left out", lucky, f"of {len(ids) - len(gold)}"),
        row("bank: of the copies that lack a call", still, f"of {without}"),
    ]
    for name, worth in (
        ("one that likes length", lambda shown: len(json.dumps(shown["messages"])) / 2000),
        ("one that cannot tell", lambda shown: 0.5),
    ):
        card = await measure_card(ListwiseRater(Asker(PlantedJudge(worth=worth), "planted")), cases, task="bank")
        accuracy = card.accuracy
        rows.append(row(f"bank, judge card of {name}: pairs ordered rightly", 100 * accuracy.estimate, "%",
                        interval=(100 * accuracy.low, 100 * accuracy.high)))  # fmt: skip
        rows.append(row(f"bank, judge card of {name}: ties", 100 * card.ties, "%"))
        slope = card.length_slope
        if slope is not None:
            rows.append(row(f"bank, judge card of {name}: score for e times as many words", slope.estimate, "",
                            interval=(slope.low, slope.high)))  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    count = 20 if given.quick else 200
    parts = (planted(count), noisy(2 * count), savings(count), bank_cards(count // 2))
    rows = [each for part in parts for each in asyncio.run(part)]
    mean_tau = fmean(each["value"] for each in rows if "2 to 4 orders: Kendall" in each["what"])  # type: ignore[misc]
    path = write_results("judges", rows, seed=0, extra={"group_size": SIZE, "priced_as": PRICED_AS}, quick=given.quick)
    print(f"{path}; mean τ with 2 to 4 orders {mean_tau:.3f}")


if __name__ == "__main__":
    main()
