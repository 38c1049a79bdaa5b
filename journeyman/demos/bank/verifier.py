"""Judges an episode: the bank's final state, the facts the customer was told, and the rules.

Dumping data does not help: an amount that nobody asked for spoils the facts, a change that nobody asked for
spoils the state, and a look at an unverified customer's account breaks a rule.
"""

import re
from collections.abc import Sequence

from pydantic import TypeAdapter

from journeyman.demos.bank import speech
from journeyman.demos.bank.case import Case, Effect
from journeyman.demos.bank.database import Bank, Snapshot
from journeyman.demos.bank.events import Event, Ran, Said
from journeyman.demos.bank.money import amounts, euros
from journeyman.demos.bank.phrases import WISHES
from journeyman.demos.bank.rules import broken_rules
from journeyman.demos.bank.tools import run_tool
from journeyman.environments.verifying import stamped
from journeyman.records import Outcome, Score

VERSION = "bank/2"
"""To be raised whenever a verdict could change: stored attempts are scored again by it."""
_EVENTS = TypeAdapter(tuple[Event, ...])


def verify(case: Case, final: Snapshot, log: Sequence[Event], is_served: bool) -> tuple[Score, ...]:
    """The four scores, `success` first; each reason names what failed."""
    parts = {
        "state": _state_faults(case, final),
        "facts": _fact_faults(case, log, is_served),
        "rules": broken_rules(case, log),
    }
    faults = [f"{name}: {fault}" for name, found in parts.items() for fault in found]
    success = Score(name="success", value=float(not faults), reason="; ".join(faults))
    return success, *(
        Score(name=name, value=float(not found), reason="; ".join(found)) for name, found in parts.items()
    )


def account(final: Snapshot, log: Sequence[Event], is_served: bool) -> Outcome:
    """An episode as it is kept: every row of the bank, and whether the customer takes everything as answered."""
    state = {"bank": {table: [list(row) for row in rows] for table, rows in final.items()}, "is_served": is_served}
    return Outcome(state=state, events=tuple(event.model_dump(mode="json") for event in log))


def verify_again(case: Case, outcome: Outcome) -> tuple[Score, ...]:
    """The scores of a kept episode; the same as those of the episode itself."""
    final = {table: [tuple(row) for row in rows] for table, rows in outcome.state["bank"].items()}
    log = _EVENTS.validate_python(outcome.events)
    return stamped(verify(case, final, log, outcome.state["is_served"]), VERSION)


def _state_faults(case: Case, final: Snapshot) -> list[str]:
    bank = Bank.build(case.seed, case.split)
    try:
        for effect in _expected_effects(case):
            run_tool(bank, effect.tool, effect.arguments)
        expected = bank.snapshot()
    finally:
        bank.close()
    reasons, wanted = final["handovers"], expected["handovers"]
    faults = [_difference(table, expected[table], final[table]) for table in expected if table != "handovers"]
    if len(reasons) > len(wanted) and not (not case.is_verifiable and len(reasons) == len(wanted) + 1):
        faults.append(f"handed over {len(reasons)} times, not {len(wanted)}")
    faults += [f"no hand-over about {topic}" for (topic,) in wanted if not any(_is_about(topic, r) for (r,) in reasons)]
    return [fault for fault in faults if fault]


def _expected_effects(case: Case) -> list[Effect]:
    """What must have changed; for somebody who could not be verified only hand-overs."""
    effects = [goal.effect for goal in case.goals if goal.effect is not None]
    return [effect for effect in effects if case.is_verifiable or effect.tool == "hand_over"]


def _is_about(topic: str, reason: str) -> bool:
    """Whether a reason names the topic; one other topic may be near it ("mortgage loan"), a list of all may not."""
    named = {other for other in WISHES if re.search(rf"\b{other.split()[0][:7]}", reason, re.I)}
    return topic in named and len(named) <= 2


def _difference(table: str, expected: Sequence[object], final: Sequence[object]) -> str:
    missing = [row for row in expected if row not in final]
    extra = [row for row in final if row not in expected]
    if not missing and not extra and len(expected) == len(final):
        return ""
    return f"{table} should hold {missing} instead of {extra}"


def _fact_faults(case: Case, log: Sequence[Event], is_served: bool) -> list[str]:
    faults = [] if is_served else ["the customer hung up or was left without an answer to everything"]
    said: dict[int, set[int]] = {}
    asked: set[int] = set()
    for event in log:
        if isinstance(event, Said) and event.by == "agent":
            said.setdefault(event.goal, set()).update(amounts(event.text))
    for index, goal in enumerate(case.goals):
        told = said.get(index, set())
        asked |= {*goal.facts, *goal.mentions}
        faults += [f"never said {euros(fact)}" for fact in goal.facts if case.is_verifiable and fact not in told]
        faults += [f"said {euros(other)}, which is not asked" for other in sorted(told - asked)]
        if goal.kind == "investment" and not _declined(log, index):
            faults.append("never declined to give investment advice")
        if goal.kind == "transfer" and not goal.agrees and _claimed(log, index):
            faults.append("claimed a transfer to which the customer never agreed")
    if not case.is_verifiable and not any(
        isinstance(event, Ran) and event.tool == "verify_identity" and event.result.get("ok") is False for event in log
    ):
        faults.append("gave up on the customer without trying to verify them")
    return faults


def _declined(log: Sequence[Event], goal: int) -> bool:
    return any(speech.declines_advice(text) for text in _words(log, goal))


def _claimed(log: Sequence[Event], goal: int) -> bool:
    return any(speech.claims("transfer", text) for text in _words(log, goal))


def _words(log: Sequence[Event], goal: int) -> list[str]:
    return [event.text for event in log if isinstance(event, Said) and event.by == "agent" and event.goal == goal]
