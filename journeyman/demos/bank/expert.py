"""The scripted expert: a support agent in code, for the demo's incumbent and as the gold player.

It sees only the conversation, like any model behind an API, never the scenario. What it knows beforehand is
language: given names, and the words in which customers ask for things. Its wording is short and regular on purpose,
because a tiny model learns it by imitation.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from journeyman.demos.bank import speech
from journeyman.demos.bank.database import FIRST_NAMES
from journeyman.demos.bank.money import amounts, euros
from journeyman.demos.bank.phrases import WISHES
from journeyman.records import Message
from journeyman.records.message import assistant, call

MORE = "Is there anything else?"
GREET = "How can I help you?"
ASK_BOTH = "May I have your full name and date of birth, please?"
ASK_NAME = "Thank you. What is your full name?"
ASK_DATE = "Thank you. What is your date of birth?"
ASK_DATE_AGAIN = "That date of birth does not match. Could you check it, please?"
ASK_CITY = "There are two customers of that name. Which city do you live in?"
ASK_NAME_AGAIN = "I cannot find that name. Could you tell me your full name again, please?"
NOT_VERIFIED = "I could not verify your identity, so I have handed this over to a colleague."
NO_ADVICE = f"I am sorry, I cannot give investment advice. {MORE}"
HANDED_OVER = f"I have handed this over to a colleague who will help you. {MORE}"
BROKEN = "I am sorry, our system has a problem. I have handed this over to a colleague."
FROZEN = f"Your card is frozen now. {MORE}"
NOT_FOUND = "I cannot find that payment. Could you check the shop and the amount, please?"
NOT_TRANSFERRED = f"All right, I did not transfer anything. {MORE}"

_NAME = re.compile(rf"\b(?:{'|'.join(FIRST_NAMES)}) [A-Z][a-z]+\b")
_DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")
_FROM = re.compile(r"\bfrom (?:my )?(checking|savings)", re.I)
_TO = re.compile(r"\b(?:to|into) (?:my )?(checking|savings)", re.I)
_YES = re.compile(r"\b(?:yes|go ahead|right|correct|sure|do it|please do|ok|okay)\b", re.I)
_TOPIC = re.compile("|".join(rf"\b{topic}" for topic in WISHES))
_REQUESTS = {
    "investment": re.compile(r"\binvest|\bshould i buy\b", re.I),
    "hand_over": _TOPIC,
    "dispute": re.compile(r"\bdispute", re.I),
    "freeze": re.compile(r"\b(?:freeze|block|lock|blocked|locked|frozen)\b", re.I),
    "transfer": re.compile(r"\b(?:transfer|transferred|move|send)\b", re.I),
    "balance": re.compile(r"\bbalance\b|\bhow much\b|\bin my (?:checking|savings) account\b", re.I),
}


@dataclass
class Ran:
    """A tool call of the conversation and its result."""

    tool: str
    arguments: dict[str, Any]
    result: dict[str, Any]


@dataclass
class Conversation:
    """What the expert gathers from the messages; `ran` holds the calls since the present request."""

    name: str = ""
    date: str = ""
    request: str = ""
    kind: str = ""
    heard: str = ""
    found: dict[str, str] | None = None
    wrong_dates: list[str] = field(default_factory=list)
    accounts: dict[str, str] = field(default_factory=dict)
    card: str = ""
    has_rechecked_date: bool = False
    consent: bool | None = None
    last_words: str = ""
    ran: list[Ran] = field(default_factory=list)
    calls: int = 0

    def results(self, tool: str) -> list[Ran]:
        """The calls of a tool since the present request that did not fail."""
        return [ran for ran in self.ran if ran.tool == tool and ran.result and "error" not in ran.result]


def reply(messages: Sequence[Message]) -> Message:
    """The expert's next message."""
    conversation = _read(messages)
    step = _retry(conversation) or _next(conversation)
    if isinstance(step, str):
        return assistant(step)
    tool, arguments = step
    return call(f"call_{conversation.calls + 1}", tool, **arguments)


Step = str | tuple[str, dict[str, Any]]


def _read(messages: Sequence[Message]) -> Conversation:
    conversation = Conversation()
    open_calls: dict[str, tuple[str, dict[str, Any]]] = {}
    for message in messages:
        if message.role == "user":
            _hear(conversation, message.text)
        elif message.role == "assistant":
            conversation.last_words = message.text
            conversation.has_rechecked_date |= message.text == ASK_DATE_AGAIN
            for made in message.tool_calls or ():
                conversation.calls += 1
                open_calls[made.id] = (made.function.name, _object(made.function.arguments))
        elif message.role == "tool" and message.tool_call_id in open_calls:
            _learn(conversation, Ran(*open_calls.pop(message.tool_call_id), _object(message.text)))
    return conversation


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _hear(conversation: Conversation, text: str) -> None:
    if match := _NAME.search(text):
        conversation.found = conversation.found if match[0] == conversation.name else None
        conversation.name = match[0]
    if match := _DATE.search(text):
        conversation.date = match[0]
    conversation.heard += f" {text}"
    if conversation.kind == "transfer" and speech.asks_consent(conversation.last_words):
        conversation.consent = bool(_YES.search(text)) and not text.lower().startswith("no")
    elif kind := next((kind for kind, words in _REQUESTS.items() if words.search(text)), ""):
        conversation.kind, conversation.request = kind, text
        conversation.consent, conversation.ran = None, []
    conversation.last_words = ""


def _learn(conversation: Conversation, ran: Ran) -> None:
    conversation.ran.append(ran)
    if "customers" in ran.result and ran.arguments.get("name") == conversation.name:
        conversation.found = ran.result["customers"]
    elif ran.tool == "verify_identity" and ran.result.get("ok"):
        conversation.accounts, conversation.card = ran.result["accounts"], ran.result["card"]
    elif ran.tool == "verify_identity" and ran.result.get("ok") is False:
        conversation.wrong_dates.append(ran.arguments["birth_date"])


def _retry(conversation: Conversation) -> Step | None:
    """The last call once more if it timed out for the first time; a human, if a call failed twice."""
    if not conversation.ran or "error" not in conversation.ran[-1].result:
        return None
    failed = conversation.ran[-1]
    tries = sum(ran == failed for ran in conversation.ran)
    if tries == 1:
        return (failed.tool, failed.arguments) if "timeout" in failed.result["error"] else None
    return BROKEN if failed.tool == "hand_over" else ("hand_over", {"reason": "system error"})


def _next(conversation: Conversation) -> Step:
    if not conversation.kind:
        return GREET
    if conversation.kind == "investment":
        return NO_ADVICE
    if conversation.kind == "hand_over":
        topic = _TOPIC.search(conversation.request)
        reason = topic[0] if topic else conversation.request
        return HANDED_OVER if conversation.results("hand_over") else ("hand_over", {"reason": reason})
    if conversation.results("hand_over"):
        return NOT_VERIFIED if not conversation.accounts else HANDED_OVER
    if not conversation.accounts:
        return _identify(conversation)
    return {"balance": _balance, "freeze": _freeze, "dispute": _dispute, "transfer": _transfer}[conversation.kind](
        conversation
    )


def _identify(conversation: Conversation) -> Step:
    name, date, found = conversation.name, conversation.date, conversation.found
    if not name or not date:
        return ASK_BOTH if name == date else ASK_NAME if date else ASK_DATE
    if found is None:
        return "find_customer", {"name": name}
    if not found:
        return ASK_NAME_AGAIN
    here = [customer for customer, city in found.items() if len(found) == 1 or city in conversation.heard]
    if not here:
        return ASK_CITY
    is_wrong = date in conversation.wrong_dates
    if len(conversation.wrong_dates) > 1 or (is_wrong and conversation.has_rechecked_date):
        return "hand_over", {"reason": "not verified"}
    if is_wrong:
        return ASK_DATE_AGAIN
    return "verify_identity", {"customer": here[0], "birth_date": date}


def _account(conversation: Conversation) -> tuple[str, str]:
    named = [kind for kind in conversation.accounts if re.search(rf"\b{kind}\b", conversation.request, re.I)]
    kind = named[0] if named else next(iter(conversation.accounts))
    return kind, conversation.accounts[kind]


def _balance(conversation: Conversation) -> Step:
    kind, account = _account(conversation)
    known = [ran for ran in conversation.results("get_balance") if ran.arguments.get("account") == account]
    if known:
        return f"Your {kind} balance is €{known[-1].result['euros']}. {MORE}"
    return "get_balance", {"account": account}


def _freeze(conversation: Conversation) -> Step:
    return FROZEN if conversation.results("freeze_card") else ("freeze_card", {"card": conversation.card})


def _dispute(conversation: Conversation) -> Step:
    account = _account(conversation)[1]
    listed = conversation.results("list_transactions")
    pages = [ran.result for ran in listed if ran.arguments.get("account") == account]
    wanted = amounts(conversation.request)
    payments = [payment for page in pages for payment in page["payments"]]
    matches = [payment for payment in payments if payment[2] in wanted] if wanted else []
    matches = matches or [payment for payment in payments if not wanted and payment[0] in conversation.request]
    if matches:
        merchant, transaction, cents = matches[0]
        if conversation.results("dispute_transaction"):
            return f"I have disputed the payment of €{euros(cents)} to {merchant}. {MORE}"
        return "dispute_transaction", {"transaction": transaction}
    if pages and not pages[-1]["more"]:
        return NOT_FOUND
    return "list_transactions", {"account": account, "page": len(pages) + 1}


def _transfer(conversation: Conversation) -> Step:
    source, target = _FROM.search(conversation.request), _TO.search(conversation.request)
    wanted = amounts(conversation.request)
    if not wanted or source is None or target is None:
        return "Which amount should I transfer, from which account and to which?"
    what = f"€{euros(wanted[0])} from {source[1].lower()} to {target[1].lower()}"
    if conversation.results("transfer"):
        return f"Done. I transferred {what}. {MORE}"
    if conversation.consent is None:
        return f"Shall I transfer {what}?"
    if not conversation.consent:
        return NOT_TRANSFERRED
    accounts = conversation.accounts
    ends = {"from_account": accounts.get(source[1].lower(), ""), "to_account": accounts.get(target[1].lower(), "")}
    return "transfer", {**ends, "cents": wanted[0]}
