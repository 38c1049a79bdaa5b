"""Several suites as one: every scenario is drawn from one of them, so that no two attempts of a group meet two.

A policy that is trained in one simulator learns its errors. Of several that were built of other parts of the same
traces, each has errors of its own: what pays in one only is paid for in a part of the groups only.
"""

from collections.abc import Sequence
from typing import cast

from journeyman.engines.scripted import Script
from journeyman.environments.determinism import Draws
from journeyman.environments.environment import Environment, Suite
from journeyman.environments.verifying import verifier_of
from journeyman.errors import InvalidInput
from journeyman.records import Outcome, Scenario, Score


class EnsembleSuite:
    """Its scenarios are its members' own, and their `environment` says whose: that is recorded with every attempt.

    Each member plays as many of a call's scenarios as the others, give or take one, in an order that the seed draws.
    InvalidInput for less than two members, or two of one name.
    """

    def __init__(self, members: Sequence[Suite], name: str | None = None) -> None:
        names = [member.name for member in members]
        if len(members) < 2 or len(set(names)) < len(names):
            raise InvalidInput(f"an ensemble has two members or more, each of a name of its own, not {names}")
        self.members = tuple(members)
        self.name = name or "+".join(names)
        self.exact_ends = all(getattr(member, "exact_ends", True) for member in members)
        self._by_name = {member.name: member for member in members}
        verifiers = [verifier_of(member) for member in members]
        if all(verifiers):
            self.version = "+".join(sorted({each.version for each in verifiers if each is not None}))

    def scenarios(self, split: str, count: int, seed: int) -> Sequence[Scenario]:
        """`count` scenarios of `split`, each of one member."""
        order = self._order(count, seed)
        made = {
            at: iter(self.members[at].scenarios(split, order.count(at), seed)) for at in sorted(set(order))
        }  # fmt: skip
        found = [next(made[at]) for at in order]
        foreign = [each for each in found if each.environment not in self._by_name]
        if foreign:
            raise InvalidInput(
                f"scenario {foreign[0].id} says that it belongs to {foreign[0].environment!r}, which is no member of "
                f"{self.name}: a member's scenarios must have its name for their environment"
            )
        return found

    def environment(self, scenario: Scenario) -> Environment:
        """A fresh episode, in the member that the scenario belongs to."""
        return self.member_of(scenario).environment(scenario)

    def verify(self, scenario: Scenario, outcome: Outcome) -> tuple[Score, ...]:
        """What that member's verifier says."""
        verifier = verifier_of(self.member_of(scenario))
        if verifier is None:
            raise InvalidInput(f"{scenario.environment} cannot score a stored attempt: it has no verifier")
        return verifier.verify(scenario, outcome)

    def gold(self, scenario: Scenario) -> Script | None:
        """How it is solved, where that member says so."""
        own = getattr(self.member_of(scenario), "gold", None)
        return None if own is None else cast("Script | None", own(scenario))

    def member_of(self, scenario: Scenario) -> Suite:
        """The member that the scenario belongs to."""
        member = self._by_name.get(scenario.environment)
        if member is None:
            raise InvalidInput(
                f"scenario {scenario.id} belongs to {scenario.environment!r}; {self.name} is made of "
                f"{', '.join(self._by_name)}"
            )
        return member

    def _order(self, count: int, seed: int) -> list[int]:
        """Whose turn it is: all members once, in a drawn order, and again."""
        draws, found = Draws(f"{self.name}/{seed}"), list[int]()
        while len(found) < count:
            turn = [*range(len(self.members))]
            draws.rng("turn", len(found)).shuffle(turn)
            found += turn
        return found[:count]
