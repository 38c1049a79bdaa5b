"""The tools of the support agent: their schemas, and what they do to the bank.

As in a real backend the tools trust the agent: they answer with clear errors, but the bank's rules are for the
agent to keep. Their warts are kept too: balances are in euros and everything else in cents, a page holds three
payments, and now and then a call times out.
"""

import json
from collections.abc import Callable
from typing import Any

from journeyman.demos.bank.database import Bank
from journeyman.demos.bank.money import euros
from journeyman.records import Function, FunctionCall, Tool

PAGE = 3
TIMEOUT = "timeout, try again"
Result = dict[str, Any]

PARAMETERS: dict[str, tuple[str, dict[str, str]]] = {
    "find_customer": ("Customers by full name, with city", {"name": "string"}),
    "verify_identity": ("Check birth date, get accounts and card", {"customer": "string", "birth_date": "string"}),
    "get_balance": ("Balance in euros", {"account": "string"}),
    "list_transactions": ("Payments in cents, 3 a page", {"account": "string", "page": "integer"}),
    "freeze_card": ("Freeze a card", {"card": "string"}),
    "dispute_transaction": ("Dispute a payment", {"transaction": "string"}),
    "transfer": ("Move cents", {"from_account": "string", "to_account": "string", "cents": "integer"}),
    "hand_over": ("Hand over to a human", {"reason": "string"}),
}


def _tool(name: str, description: str, parameters: dict[str, str]) -> Tool:
    schema = {
        "type": "object",
        "properties": {parameter: {"type": kind} for parameter, kind in parameters.items()},
        "required": list(parameters),
    }
    return Tool(type="function", function=Function(name=name, description=description, parameters=schema))


TOOLS = tuple(_tool(name, description, parameters) for name, (description, parameters) in PARAMETERS.items())


def read_arguments(call: FunctionCall) -> dict[str, str | int]:
    """The arguments of a call, checked against the schema; ValueError says what is wrong with them."""
    if call.name not in PARAMETERS:
        raise ValueError(f"no tool named {call.name}")
    expected = PARAMETERS[call.name][1]
    try:
        given = json.loads(call.arguments)
    except json.JSONDecodeError:
        raise ValueError("arguments are not valid JSON") from None
    if not isinstance(given, dict):
        raise ValueError("arguments are not an object")
    if set(given) != set(expected):
        raise ValueError(f"{call.name} takes {', '.join(expected)}")
    for name, kind in expected.items():
        if type(given[name]) is not {"string": str, "integer": int}[kind]:
            raise ValueError(f"{name} must be {'a string' if kind == 'string' else 'an integer'}")
    return given


def run_tool(bank: Bank, name: str, arguments: dict[str, str | int]) -> Result:
    """What the tool answers; an unknown id or an impossible request is an answer with `error`."""
    return _RUN[name](bank, **arguments)


def written(result: Result) -> str:
    """A result as the agent reads it: compact JSON."""
    return json.dumps(result, ensure_ascii=False, separators=(",", ":"))


def _find_customer(bank: Bank, name: str) -> Result:
    found = bank.rows("select id, city from customers where lower(name) = ? order by id", name.strip().lower())
    return {"matches": len(found), "customers": dict(found)}


def _verify_identity(bank: Bank, customer: str, birth_date: str) -> Result:
    known = bank.row("select birth_date from customers where id = ?", customer)
    if known is None:
        return {"error": f"unknown customer {customer}"}
    if known[0] != birth_date.strip():
        return {"ok": False}
    accounts = bank.rows("select type, id from accounts where customer = ? order by type", customer)
    card = bank.row("select id from cards where customer = ?", customer)
    return {"ok": True, "accounts": dict(accounts), "card": card[0] if card else None}


def _get_balance(bank: Bank, account: str) -> Result:
    cents = _cents_on(bank, account)
    return {"error": f"unknown account {account}"} if cents is None else {"euros": euros(cents)}


def _list_transactions(bank: Bank, account: str, page: int) -> Result:
    if _cents_on(bank, account) is None:
        return {"error": f"unknown account {account}"}
    rows = bank.rows("select merchant, id, cents from transactions where account = ? order by position", account)
    start = (page - 1) * PAGE
    if not 0 <= start < len(rows):
        return {"error": f"no page {page}"}
    return {"payments": [list(row) for row in rows[start : start + PAGE]], "more": start + PAGE < len(rows)}


def _freeze_card(bank: Bank, card: str) -> Result:
    row = bank.row("select frozen from cards where id = ?", card)
    if row is None:
        return {"error": f"unknown card {card}"}
    bank.rows("update cards set frozen = 1 where id = ?", card)
    return {"ok": True}


def _dispute_transaction(bank: Bank, transaction: str) -> Result:
    row = bank.row("select merchant, cents from transactions where id = ?", transaction)
    if row is None:
        return {"error": f"unknown transaction {transaction}"}
    bank.rows("update transactions set disputed = 1 where id = ?", transaction)
    return {"ok": True, "merchant": row[0], "cents": row[1]}


def _transfer(bank: Bank, from_account: str, to_account: str, cents: int) -> Result:
    for account in (from_account, to_account):
        if _cents_on(bank, account) is None:
            return {"error": f"unknown account {account}"}
    if from_account == to_account or cents <= 0:
        return {"error": "two accounts and a positive amount are needed"}
    if (_cents_on(bank, from_account) or 0) < cents:
        return {"error": "not enough money"}
    bank.rows("update accounts set cents = cents - ? where id = ?", cents, from_account)
    bank.rows("update accounts set cents = cents + ? where id = ?", cents, to_account)
    bank.rows("insert into transfers values (?,?,?)", from_account, to_account, cents)
    return {"ok": True}


def _hand_over(bank: Bank, reason: str) -> Result:
    bank.rows("insert into handovers values (?)", reason)
    return {"ok": True}


def _cents_on(bank: Bank, account: str) -> int | None:
    row = bank.row("select cents from accounts where id = ?", account)
    return None if row is None else int(row[0])


_RUN: dict[str, Callable[..., Result]] = {
    "find_customer": _find_customer,
    "verify_identity": _verify_identity,
    "get_balance": _get_balance,
    "list_transactions": _list_transactions,
    "freeze_card": _freeze_card,
    "dispute_transaction": _dispute_transaction,
    "transfer": _transfer,
    "hand_over": _hand_over,
}
