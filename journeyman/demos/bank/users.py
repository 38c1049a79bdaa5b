"""The bank's clients as simulated users: a card from each of its cases, and how talk at the desk is understood."""

from collections.abc import Sequence

from journeyman.demos.bank.case import Case, Goal
from journeyman.demos.bank.database import CITIES
from journeyman.demos.bank.environment import BankEnvironment, BankSuite
from journeyman.demos.bank.money import euros
from journeyman.records import Scenario
from journeyman.worlds.compliance.conditions import Condition
from journeyman.worlds.users import card
from journeyman.worlds.users.card import FactKind, Style, Talk, UserCard
from journeyman.worlds.users.environment import UserEnvironment
from journeyman.worlds.users.user import SimulatedUser

TALK = Talk(
    facts=(
        FactKind(name="name", asked=(r"\bnames?\b", r"\bwho (am i|is this)\b"), value=r"\b[A-Z][a-z]+ [A-Z][a-z]+\b"),
        FactKind(name="birth_date", asked=(r"\b(birth|birthday|born)\b",), value=r"\b\d{4}-\d{2}-\d{2}\b"),
        FactKind(name="city", asked=(r"\b(city|town|where do you live)\b",), value=rf"\b({'|'.join(CITIES)})\b"),
        FactKind(name="account", asked=(r"\b(which|what) account\b",), value=r"\b(checking|savings)\b"),
    ),
    asks_consent=(r"\b(shall i|should i|do you (want|confirm|agree)|may i (proceed|transfer)|please confirm)\b",),
    hands_over=(r"\b(hand(ed|ing)?\b.{0,40}\bover|colleague|specialist|passed (you|this|it) on)\b",),
    yes=r"^\W*(yes|go ahead|right|correct|that's right|sure|do it|ok|okay)\b",
    no=r"^\W*(no|better not|stop|cancel|leave it)\b",
)
_DECLINED = r"\b(not|cannot|can't|no)\b.{0,60}\b(advi[cs]e|recommend\w*|invest\w*)\b"


def card_of(case: Case, style: Style, id: str) -> UserCard:
    """The card of a case's client; they never know more than one birth date, right or wrong."""
    facts = {"name": case.name, "birth_date": case.birth_dates[-1], "city": case.city}
    account = next((goal.account for goal in case.goals if goal.account), None)
    return UserCard(
        id=id, goals=tuple(map(_goal, case.goals)), facts=facts if account is None else {**facts, "account": account},
        style=style,
    )  # fmt: skip


def _goal(goal: Goal) -> card.Goal:
    effect, answered = goal.effect, tuple(rf"{euros(fact)}" for fact in goal.facts)
    reached: tuple[Condition, ...] = ()
    if effect is None:
        answered = answered or ((_DECLINED,) if goal.kind == "investment" else (r"\bnot transfer|\bcancel",))
    elif effect.tool == "hand_over":
        reached = (Condition(field="after.handovers.length", op=">", value="$before.handovers.length"),)
    elif effect.tool == "transfer":
        moved = [effect.arguments["from_account"], effect.arguments["to_account"], effect.arguments["cents"]]
        reached = (Condition(field="after.transfers", op="contains", value=moved),)
    else:
        place = "frozen" if effect.tool == "freeze_card" else "disputed"
        reached = (Condition(field=f"after.{place}", op="contains", value=next(iter(effect.arguments.values()))),)
    return card.Goal(ask=goal.ask, again=goal.again, reached=reached, answered=answered, consents=goal.agrees)


class BankUserSuite:
    """The bank's scenarios, played by simulated users in place of the bank's own customers."""

    name = "bank"

    def __init__(self, style: Style | None = None, seed: int = 0) -> None:
        self.style, self.seed, self._bank = style or Style(), seed, BankSuite()

    def scenarios(self, split: str, count: int, seed: int) -> Sequence[Scenario]:
        """The bank's own."""
        return self._bank.scenarios(split, count, seed)

    def environment(self, scenario: Scenario) -> UserEnvironment:
        """A fresh conversation."""
        case = Case.model_validate(scenario.data)
        simulated = SimulatedUser(card_of(case, self.style, scenario.id), TALK, self.seed)
        return UserEnvironment(BankEnvironment(scenario), simulated)
