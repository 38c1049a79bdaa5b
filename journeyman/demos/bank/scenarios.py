"""Makes scenarios: a seed, a split and an index always give the same one, and no two splits share any.

Customers differ between splits by their full names, and a part of the pairs of greeting and request is kept for
held-out scenarios.
"""

import hashlib
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, get_args

from journeyman.demos.bank import phrases
from journeyman.demos.bank.case import Case, Effect, Goal, GoalKind, Wording
from journeyman.demos.bank.customer import PATIENCE
from journeyman.demos.bank.database import CUSTOMERS, Bank, Split
from journeyman.demos.bank.money import euros
from journeyman.demos.bank.tools import PAGE
from journeyman.errors import InvalidInput
from journeyman.records import Scenario

DECK = {
    "balance": 3,
    "dispute": 3,
    "dispute_page_2": 2,
    "freeze": 2,
    "transfer": 3,
    "transfer_refused": 2,
    "same_name": 3,
    "timeout": 2,
    "investment": 2,
    "hand_over": 3,
    "wrong_birth_date": 1,
    "unverified": 1,
    "two_goals": 3,
}
"""How many of each kind there are in every 30 scenarios."""

NAMESAKES, SAVERS, ANYBODY = range(2), range(2, 4), range(2, CUSTOMERS)
"""Places of the bank's customers: two of one name, two who surely have savings, all who share no name."""
FOR_ANYBODY = ("balance", "dispute", "freeze", "investment", "wrong_birth_date")

FAULTS: dict[GoalKind, tuple[str, ...]] = {
    "balance": ("find_customer", "verify_identity", "get_balance"),
    "dispute": ("verify_identity", "list_transactions", "dispute_transaction"),
    "freeze": ("find_customer", "freeze_card"),
    "transfer": ("verify_identity", "transfer"),
}


def make_scenarios(split: str, count: int, seed: int) -> list[Scenario]:
    """The first `count` scenarios of a split and a seed; every run of 30 holds the whole deck of kinds."""
    if split not in get_args(Split):
        raise InvalidInput(f"no split named {split!r}; use {' or '.join(get_args(Split))}")
    if count < 1:
        raise InvalidInput(f"{count} scenarios were asked for; ask for at least 1")
    return [_scenario("train" if split == "train" else "held-out", seed, index) for index in range(count)]


def _scenario(split: Split, seed: int, index: int) -> Scenario:
    deck = [kind for kind, copies in DECK.items() for _ in range(copies)]
    block, place = divmod(index, len(deck))
    random.Random(f"deck/{split}/{seed}/{block}").shuffle(deck)
    case = make_case(split, f"{seed}/{index}", deck[place])
    return Scenario(
        id=f"bank-{split}-{seed}-{index}",
        # A scenario is a value of its seed: were the clock in it, the same seed would not give the same scenario.
        at=datetime(2026, 1, 1, tzinfo=UTC),
        environment="bank",
        kind=deck[place],
        data=case.model_dump(mode="json"),
    )


def make_case(split: Split, seed: str, kind: str) -> Case:
    """One case of a kind, from the bank of that seed."""
    bank = Bank.build(seed, split)
    try:
        return _Maker(bank, split, seed, kind).case()
    finally:
        bank.close()


class _Maker:
    """Draws one case: first who calls, then what they want, then how they say it."""

    def __init__(self, bank: Bank, split: Split, seed: str, kind: str) -> None:
        self.bank, self.split, self.seed, self.kind = bank, split, seed, kind
        self.rng = random.Random(f"case/{split}/{seed}")
        self.templates: dict[str, str] = {}
        places = NAMESAKES if kind == "same_name" else ANYBODY if kind in FOR_ANYBODY else SAVERS
        row = bank.rows("select id, name, birth_date, city from customers order by rowid")[self.rng.choice(places)]
        self.customer, self.name, self.birth_date, self.city = row
        self.accounts: dict[str, str] = dict(
            bank.rows("select type, id from accounts where customer = ?", self.customer)
        )

    def case(self) -> Case:
        """The case, whole."""
        goals = self._goals()
        manner = self.rng.choices(("when_asked", "name_first", "up_front"), (14, 3, 3))[0]
        birth_dates = [self.birth_date]
        if self.kind == "wrong_birth_date":
            birth_dates = [*self._slips(1), self.birth_date]
        elif self.kind == "unverified":
            birth_dates = self._slips(2)
        greeting = self._greeting(goals[0])
        if manner == "up_front":
            told = self.rng.choice(phrases.UP_FRONT).format(name=self.name, date=birth_dates[0])
            greeting = f"{greeting} {told}".strip()
        fault = None
        if self.kind == "timeout":
            fault = self.rng.choice(FAULTS[goals[0].kind])
        return Case(
            split=self.split,
            seed=self.seed,
            customer=self.customer,
            name=self.name,
            city=self.city,
            is_namesake=self.kind == "same_name",
            birth_dates=tuple(birth_dates),
            is_verifiable=self.kind != "unverified",
            manner=manner,
            wording=self._wording(greeting, birth_dates),
            goals=tuple(goals),
            fault=fault,
        )

    def _goals(self) -> list[Goal]:
        if self.kind == "two_goals":
            return self._two_goals()
        if self.kind == "investment":
            return self.rng.sample([self._investment(), self._plain()], 2)
        if self.kind == "hand_over":
            return self.rng.choice(([self._hand_over()], [self._hand_over(), self._plain()]))
        if self.kind in ("dispute", "dispute_page_2"):
            return [self._dispute(page=2 if self.kind == "dispute_page_2" else 1)]
        if self.kind in ("transfer", "transfer_refused"):
            return [self._transfer(agrees=self.kind == "transfer")]
        if self.kind == "balance":
            return [self._balance()]
        if self.kind == "freeze":
            return [self._freeze()]
        return [self.rng.choice((self._plain, lambda: self._dispute(page=1), self._some_transfer))()]

    def _two_goals(self) -> list[Goal]:
        if self.rng.random() < 0.3:
            transfer = self._transfer(agrees=True)
            return [transfer, self._balance_after(transfer)]
        makers = [self._balance, self._freeze, lambda: self._dispute(page=1), self._some_transfer]
        first, second = self.rng.sample(makers, 2)
        if first == self._some_transfer and second == self._balance:
            first, second = second, first
        return [first(), second()]

    def _plain(self) -> Goal:
        return self.rng.choice((self._balance, self._freeze))()

    def _some_transfer(self) -> Goal:
        return self._transfer(agrees=True) if len(self.accounts) > 1 else self._balance()

    def _balance(self) -> Goal:
        account = self.rng.choice(sorted(self.accounts))
        return self._goal("balance", phrases.BALANCE, account=account, facts=(self._cents(account),))

    def _balance_after(self, transfer: Goal) -> Goal:
        account = self.rng.choice((transfer.source, transfer.target))
        change = transfer.mentions[0] * (1 if account == transfer.target else -1)
        return self._goal("balance", phrases.BALANCE_LATER, account=account, facts=(self._cents(account) + change,))

    def _freeze(self) -> Goal:
        card = self.bank.rows("select id from cards where customer = ?", self.customer)[0][0]
        return self._goal("freeze", phrases.FREEZE, Effect(tool="freeze_card", arguments={"card": card}))

    def _dispute(self, page: int) -> Goal:
        account = self.rng.choice(sorted(self.accounts))
        payments = self.bank.rows(
            "select id, merchant, cents from transactions where account = ? order by position",
            self.accounts[account],
        )
        on_page = payments[(page - 1) * PAGE : page * PAGE]
        transaction, merchant, cents = self.rng.choice(on_page)
        is_unique = [payment[1] for payment in payments].count(merchant) == 1
        manners: list[tuple[Sequence[str], tuple[int, ...]]] = [
            (phrases.DISPUTE_BOTH, ()),
            (phrases.DISPUTE_AMOUNT, ()),
        ]
        if is_unique:
            manners += [(phrases.DISPUTE_MERCHANT, ()), (phrases.DISPUTE_MERCHANT_HOW_MUCH, (cents,))]
        wordings, facts = self.rng.choice(manners)
        effect = Effect(tool="dispute_transaction", arguments={"transaction": transaction})
        return self._goal(
            "dispute", wordings, effect, account=account, merchant=merchant, facts=facts, mentions=(cents,)
        )

    def _transfer(self, agrees: bool) -> Goal:
        source, target = self.rng.sample(sorted(self.accounts), 2)
        cents = self.rng.choice((1, 5, 50)) * 100 * self.rng.randrange(1, 6) + self.rng.choice((0, 0, 50, 25))
        arguments: dict[str, str | int] = {
            "from_account": self.accounts[source],
            "to_account": self.accounts[target],
            "cents": cents,
        }
        effect = Effect(tool="transfer", arguments=arguments) if agrees else None
        return self._goal(
            "transfer", phrases.TRANSFER, effect, source=source, target=target, mentions=(cents,), agrees=agrees
        )

    def _investment(self) -> Goal:
        return self._goal("investment", phrases.INVESTMENT, asset=self.rng.choice(phrases.ASSETS))

    def _hand_over(self) -> Goal:
        topic = self.rng.choice(sorted(phrases.WISHES))
        effect = Effect(tool="hand_over", arguments={"reason": topic})
        return self._goal("hand_over", phrases.HAND_OVER, effect, wish=phrases.WISHES[topic])

    def _goal(self, kind: GoalKind, wordings: Sequence[str], effect: Effect | None = None, **details: Any) -> Goal:
        """A goal in two wordings; `details` fill the wordings, and those that a goal keeps become its fields."""
        first, again = self.rng.sample(wordings, 2)
        shown = {name: value for name, value in details.items() if isinstance(value, str)}
        if "mentions" in details:
            shown["amount"] = self._written(details["mentions"][0])
        kept = {name: value for name, value in details.items() if name in Goal.model_fields}
        ask = first.format(**shown)
        self.templates[ask] = first
        return Goal(kind=kind, ask=ask, again=again.format(**shown), effect=effect, **kept)

    def _greeting(self, goal: Goal) -> str:
        """A greeting; one in four pairs of greeting and request is kept for held-out scenarios."""
        wordings = list(phrases.GREETINGS)
        if self.split == "train":
            request = self.templates[goal.ask]
            wordings = [greeting for greeting in wordings if not is_reserved(greeting, request)]
        return self.rng.choice(wordings)

    def _wording(self, greeting: str, dates: list[str]) -> Wording:
        pick = self.rng.choice
        first = pick(phrases.TELL_DATE).format(date=dates[0])
        again = [pick(phrases.TELL_DATE_AGAIN).format(date=date) for date in dates[1:]]
        return Wording(
            greeting=greeting,
            both=pick(phrases.TELL_BOTH).format(name=self.name, date=dates[0]),
            name=pick(phrases.TELL_NAME).format(name=self.name),
            dates=(first, *again),
            city=pick(phrases.TELL_CITY).format(city=self.city),
            agree=pick(phrases.YES),
            refuse=pick(phrases.NO),
            no_other_date=pick(phrases.NO_OTHER_DATE),
            nudges=tuple(self.rng.sample(phrases.NUDGE, PATIENCE)),
            thanks=tuple(self.rng.sample(phrases.THANKS, 2)),
        )

    def _written(self, cents: int) -> str:
        exact = euros(cents)
        forms = [f"€{exact}", f"{exact} euros"]
        if cents % 100 == 0:
            forms += [f"€{cents // 100}", f"{cents // 100} euros"]
        return self.rng.choice(forms)

    def _cents(self, account: str) -> int:
        return int(self.bank.rows("select cents from accounts where id = ?", self.accounts[account])[0][0])

    def _slips(self, count: int) -> list[str]:
        """Different birth dates near the true one, all wrong."""
        year_and_month, day = self.birth_date[:8], int(self.birth_date[8:])
        days = self.rng.sample([other for other in range(1, 29) if other != day], count)
        return [f"{year_and_month}{other:02d}" for other in days]


def is_reserved(greeting: str, request: str) -> bool:
    """Whether a greeting before a request is kept for held-out scenarios."""
    return hashlib.sha256(f"{greeting}/{request}".encode()).digest()[0] % 4 == 0
