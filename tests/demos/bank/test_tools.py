import json

import pytest

from journeyman.demos.bank.database import Bank
from journeyman.demos.bank.tools import TOOLS, read_arguments, run_tool, written
from journeyman.records import FunctionCall


@pytest.fixture
def bank():
    bank = Bank.build("1", "train")
    yield bank
    bank.close()


def test_a_customer_is_found_verified_and_served(bank: Bank) -> None:
    customer, name, birth_date, city = bank.rows("select id, name, birth_date, city from customers")[2]
    assert run_tool(bank, "find_customer", {"name": name.upper()}) == {"matches": 1, "customers": {customer: city}}
    assert run_tool(bank, "verify_identity", {"customer": customer, "birth_date": "1900-01-01"}) == {"ok": False}
    verified = run_tool(bank, "verify_identity", {"customer": customer, "birth_date": birth_date})
    assert set(verified["accounts"]) == {"checking", "savings"}
    source, target = verified["accounts"]["checking"], verified["accounts"]["savings"]
    before = run_tool(bank, "get_balance", {"account": source})["euros"]
    moved = {"from_account": source, "to_account": target, "cents": 1250}
    assert run_tool(bank, "transfer", moved) == {"ok": True}
    after = run_tool(bank, "get_balance", {"account": source})["euros"]
    assert round(float(before) - float(after), 2) == 12.50
    assert run_tool(bank, "freeze_card", {"card": verified["card"]}) == {"ok": True}
    assert (verified["card"], customer, 1) in bank.snapshot()["cards"]


def test_pages_hold_three_payments_until_none_is_left(bank: Bank) -> None:
    account = bank.rows("select id from accounts")[0][0]
    seen, page, more = [], 0, True
    while more:
        page += 1
        result = run_tool(bank, "list_transactions", {"account": account, "page": page})
        seen += result["payments"]
        more = result["more"]
        assert len(result["payments"]) == 3 or not more
    assert len(seen) == bank.rows("select count(*) from transactions where account = ?", account)[0][0]
    assert run_tool(bank, "list_transactions", {"account": account, "page": page + 1}) == {
        "error": f"no page {page + 1}"
    }
    assert "error" in run_tool(bank, "list_transactions", {"account": account, "page": 0})


def test_two_of_one_name_are_both_found(bank: Bank) -> None:
    name = bank.rows("select name from customers")[0][0]
    assert len(run_tool(bank, "find_customer", {"name": name})["customers"]) == 2


@pytest.mark.parametrize(
    ("tool", "arguments", "error"),
    [
        ("verify_identity", {"customer": "C1", "birth_date": "1984-03-12"}, "unknown customer C1"),
        ("get_balance", {"account": "A1"}, "unknown account A1"),
        ("list_transactions", {"account": "A1", "page": 1}, "unknown account A1"),
        ("freeze_card", {"card": "K1"}, "unknown card K1"),
        ("dispute_transaction", {"transaction": "T1"}, "unknown transaction T1"),
        ("transfer", {"from_account": "A1", "to_account": "A2", "cents": 1}, "unknown account A1"),
    ],
)
def test_unknown_ids_are_clear_errors_and_change_nothing(bank: Bank, tool: str, arguments: dict, error: str) -> None:
    before = bank.snapshot()
    assert run_tool(bank, tool, arguments) == {"error": error}
    assert bank.snapshot() == before


def test_impossible_transfers_are_refused(bank: Bank) -> None:
    first, second = (account for (account,) in bank.rows("select id from accounts limit 2"))
    for cents, target in ((10**9, second), (0, second), (-5, second), (100, first)):
        assert "error" in run_tool(bank, "transfer", {"from_account": first, "to_account": target, "cents": cents})
    assert bank.snapshot()["transfers"] == []


@pytest.mark.parametrize(
    ("name", "arguments", "problem"),
    [
        ("get_money", "{}", "no tool named get_money"),
        ("get_balance", '{"account": ', "not valid JSON"),
        ("get_balance", '"A31"', "not an object"),
        ("get_balance", "{}", "get_balance takes account"),
        ("get_balance", '{"account": "A31", "page": 1}', "get_balance takes account"),
        ("list_transactions", '{"account": "A31", "page": "1"}', "page must be an integer"),
        ("list_transactions", '{"account": "A31", "page": true}', "page must be an integer"),
        ("get_balance", '{"account": 31}', "account must be a string"),
    ],
)
def test_bad_arguments_say_what_is_wrong(name: str, arguments: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_arguments(FunctionCall(name=name, arguments=arguments))


def test_schemas_and_results_are_compact(bank: Bank) -> None:
    assert len(json.dumps([tool.wire() for tool in TOOLS], separators=(",", ":"))) < 1700
    accounts = [account for (account,) in bank.rows("select id from accounts")]
    results = [run_tool(bank, "list_transactions", {"account": account, "page": 1}) for account in accounts]
    assert max(len(written(result)) for result in results) <= 120
