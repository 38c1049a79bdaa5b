import pytest

from journeyman.demos.bank.case import Case
from journeyman.demos.bank.database import Bank, split_of
from journeyman.demos.bank.money import amounts, euros
from journeyman.demos.bank.phrases import GREETINGS
from journeyman.demos.bank.scenarios import DECK, is_reserved, make_case, make_scenarios
from journeyman.errors import InvalidInput
from journeyman.records import Scenario

CALLS = sum(DECK.values())


def cases(split: str, count: int = 300, seed: int = 0) -> list[Case]:
    return [Case.model_validate(scenario.data) for scenario in make_scenarios(split, count, seed)]


def content(case: Case) -> tuple[object, ...]:
    return case.name, tuple((goal.kind, goal.facts, goal.mentions) for goal in case.goals)


def test_the_same_seed_gives_the_same_scenarios() -> None:
    assert make_scenarios("train", 60, 3) == make_scenarios("train", 60, 3)
    assert make_scenarios("train", 60, 3)[:20] == make_scenarios("train", 20, 3)


def test_other_seeds_give_other_scenarios() -> None:
    first, second = ({content(case) for case in cases("train", 60, seed)} for seed in (0, 1))
    assert not first & second


def test_scenarios_survive_storage() -> None:
    for scenario in make_scenarios("held-out", CALLS, 0):
        assert Scenario.model_validate_json(scenario.model_dump_json()) == scenario


def test_splits_share_no_scenario_and_no_customer() -> None:
    train, held_out = cases("train"), cases("held-out")
    assert not {content(case) for case in train} & {content(case) for case in held_out}
    assert not {case.name for case in train} & {case.name for case in held_out}
    ids = [scenario.id for split in ("train", "held-out") for scenario in make_scenarios(split, 300, 0)]
    assert len(set(ids)) == len(ids)


def test_scenarios_hardly_ever_open_with_the_same_words() -> None:
    openings = [f"{case.wording.greeting} {case.goals[0].ask} {case.name}" for case in cases("train")]
    assert len(set(openings)) > 0.97 * len(openings)


def test_some_openings_are_kept_for_held_out_scenarios() -> None:
    request = "Could you freeze my card?"
    reserved = {greeting for greeting in GREETINGS if is_reserved(greeting, request)}

    def greetings(split: str) -> set[str]:
        drawn = [make_case(split, str(seed), "freeze") for seed in range(400)]
        return {case.wording.greeting for case in drawn if case.goals[0].ask == request}

    assert 0 < len(reserved) < len(GREETINGS)
    assert not reserved & greetings("train")
    assert reserved & greetings("held-out")


def test_each_thirty_hold_the_whole_deck() -> None:
    for split in ("train", "held-out"):
        kinds = [scenario.kind for scenario in make_scenarios(split, 2 * CALLS, 5)][CALLS:]
        assert {kind: kinds.count(kind) for kind in DECK} == DECK


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no split named 'test'; use train or held-out"):
        make_scenarios("test", 1, 0)
    with pytest.raises(InvalidInput, match="at least 1"):
        make_scenarios("train", 0, 0)


def test_a_bank_is_small_and_has_the_warts() -> None:
    for split in ("train", "held-out"):
        bank = Bank.build("7", split)
        customers = bank.rows("select id, name, birth_date, city from customers order by rowid")
        assert len(customers) == 12
        assert all(split_of(name) == split for _, name, _, _ in customers)
        assert customers[0][1] == customers[1][1]
        assert customers[0][2:] != customers[1][2:]
        assert customers[0][3] != customers[1][3]
        counts = [count for (count,) in bank.rows("select count(*) from transactions group by account")]
        assert 5 <= min(counts) <= max(counts) <= 9
        bank.close()


def test_forks_of_a_bank_are_independent() -> None:
    bank = Bank.build("7", "train")
    before, fork = bank.snapshot(), bank.fork()
    fork.rows("update cards set frozen = 1")
    assert bank.snapshot() == before != fork.snapshot()
    bank.close()
    assert len(fork.rows("select * from customers")) == 12
    fork.close()


@pytest.mark.parametrize(
    ("text", "cents"),
    [
        ("It is €1204.50.", [120450]),
        ("1,204.50 euros", [120450]),
        ("1204.5", [120450]),
        ("EUR 1.204,50, and 50 euros", [120450, 5000]),
        ("€1,204", [120400]),
        ("2490 cents", []),
        ("You have 2 accounts: A31 and T482, born 1984-03-12.", []),
        ("€2490", [249000]),
    ],
)
def test_amounts_in_words(text: str, cents: list[int]) -> None:
    assert amounts(text) == cents


def test_euros_and_back() -> None:
    for cents in (5, 2490, 120450, 100):
        assert amounts(euros(cents)) == [cents]
