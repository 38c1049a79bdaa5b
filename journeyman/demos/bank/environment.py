"""The bank's support desk as an environment: the agent talks to a simulated customer and acts on a real database."""

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

from journeyman.demos.bank import expert
from journeyman.demos.bank.case import Case
from journeyman.demos.bank.customer import Answer, Customer
from journeyman.demos.bank.database import Bank
from journeyman.demos.bank.events import Event, Ran, Said
from journeyman.demos.bank.scenarios import make_scenarios
from journeyman.demos.bank.tools import TIMEOUT, TOOLS, Result, read_arguments, run_tool, written
from journeyman.demos.bank.verifier import VERSION, account, verify_again
from journeyman.engines.scripted import Script
from journeyman.environments.environment import Observation
from journeyman.errors import InvalidInput
from journeyman.records import Message, Outcome, Scenario, Score, Tool, ToolCall
from journeyman.records.message import assistant, system, tool_result, user

MAX_CALLS = 12
_COURTESY = "Certainly. "
_LOOKS, _AGAIN = ("find_customer", "get_balance", "list_transactions"), "-again"
PROMPT = (
    "You are the support agent of North Bank. Be brief. Rules:\n"
    "- Verify name and birth date before any account data or action. If two customers match, ask the city. "
    "Hand over after two wrong dates.\n"
    "- Ask for a yes before a transfer.\n"
    "- Give no investment advice.\n"
    "- Hand over what tools cannot do.\n"
    "- On a timeout, try once more.\n"
    "- Tell amounts in euros; payments and transfers are in cents."
)


class BankEnvironment:
    """One conversation between an agent and a customer of the bank."""

    def __init__(self, scenario: Scenario) -> None:
        self.case = Case.model_validate(scenario.data)
        self.bank = Bank.build(self.case.seed, self.case.split)
        self.customer = Customer(self.case)
        self.log: list[Event] = []
        self.fault = self.case.fault
        self.calls = 0
        self.is_done = False

    async def start(self) -> Observation:
        """The system prompt, the customer's first words, and the tools."""
        opening = self._customer_says(self.customer.open())
        return Observation(messages=(system(PROMPT), opening), tools=TOOLS)

    async def step(self, reply: Message) -> Observation:
        """Run the agent's tool calls in order; when there are none, let the customer answer."""
        if self.is_done:
            raise InvalidInput("this episode is over; start a new environment for another one")
        self.calls += 1
        if reply.text.strip():
            self.log.append(Said(by="agent", text=reply.text, goal=self.customer.goal_index))
        messages: tuple[Message, ...] = ()
        if reply.tool_calls:
            messages = tuple(tool_result(call.id, written(self._run(call))) for call in reply.tool_calls)
        elif answer := self.customer.hear(reply.text):
            messages = (self._customer_says(answer),)
        else:
            self.is_done = True
        self.is_done = self.is_done or self.calls >= MAX_CALLS
        return Observation(messages=messages, tools=TOOLS, done=self.is_done)

    def fork(self, n: int) -> "Sequence[BankEnvironment]":
        """`n` independent copies of the conversation and of the bank as they stand now."""
        return [self._copy() for _ in range(n)]

    def score(self) -> tuple[Score, ...]:
        """`success`, and apart: `state` of the bank, `facts` told, `rules` kept."""
        return verify_again(self.case, self.outcome())

    def outcome(self) -> Outcome:
        """The bank as it stands, and the log."""
        return account(self.bank.snapshot(), self.log, self.customer.is_served)

    def state(self) -> Mapping[str, Any]:
        """What has been done in this bank, for whoever judges; the agent never sees it."""
        return {
            "transfers": self.bank.rows("select from_account, to_account, cents from transfers"),
            "handovers": [reason for (reason,) in self.bank.rows("select reason from handovers")],
            "frozen": [card for (card,) in self.bank.rows("select id from cards where frozen order by id")],
            "disputed": [id for (id,) in self.bank.rows("select id from transactions where disputed order by id")],
        }

    async def close(self) -> None:
        """Free the database."""
        self.bank.close()

    def _copy(self) -> "BankEnvironment":
        twin = copy(self)
        twin.bank, twin.customer, twin.log = self.bank.fork(), self.customer.fork(), list(self.log)
        return twin

    def _customer_says(self, answer: Answer) -> Message:
        self.log.append(Said(by="customer", text=answer.text, goal=self.customer.goal_index, act=answer.act))
        return user(answer.text)

    def _run(self, call: ToolCall) -> Result:
        try:
            arguments = read_arguments(call.function)
        except ValueError as problem:
            return {"error": str(problem)}
        if call.function.name == self.fault:
            self.fault = None
            result: Result = {"error": TIMEOUT}
        else:
            result = run_tool(self.bank, call.function.name, arguments)
        goal = self.customer.goal_index
        self.log.append(Ran(tool=call.function.name, arguments=arguments, result=result, goal=goal))
        return result


class BankSuite:
    """All scenarios of the bank's support desk."""

    name, version = "bank", VERSION

    def scenarios(self, split: str, count: int, seed: int) -> Sequence[Scenario]:
        """`count` scenarios of `split`; the same seed gives the same ones."""
        return make_scenarios(split, count, seed)

    def environment(self, scenario: Scenario) -> BankEnvironment:
        """A fresh episode of that scenario."""
        if scenario.environment != self.name:
            raise InvalidInput(f"scenario {scenario.id} belongs to {scenario.environment!r}, not to {self.name!r}")
        return BankEnvironment(scenario)

    def verify(self, scenario: Scenario, outcome: Outcome) -> tuple[Score, ...]:
        """The four scores of a kept episode."""
        return verify_again(Case.model_validate(scenario.data), outcome)

    def gold(self, scenario: Scenario) -> Script:
        """The scripted expert, which sees the conversation alone."""
        return _expert

    def other_paths(self, scenario: Scenario) -> Sequence[Script]:
        """The expert in other words, and the expert who looks everything up twice."""
        return (_wordy, _looking_twice)


def _expert(messages: Sequence[Message], tools: Sequence[Tool]) -> Message:
    return expert.reply(messages)


def _wordy(messages: Sequence[Message], tools: Sequence[Tool]) -> Message:
    plain = [
        assistant(each.text.removeprefix(_COURTESY)) if each.role == "assistant" and not each.tool_calls else each
        for each in messages
    ]
    said = expert.reply(plain)
    return said if said.tool_calls else assistant(_COURTESY + said.text)


def _looking_twice(messages: Sequence[Message], tools: Sequence[Tool]) -> Message:
    once = [
        each.model_copy(update={"tool_calls": each.tool_calls[:1]}) if each.tool_calls else each
        for each in messages
        if not (each.tool_call_id or "").endswith(_AGAIN)
    ]
    said = expert.reply(once)
    if not said.tool_calls or said.tool_calls[0].function.name not in _LOOKS:
        return said
    first = said.tool_calls[0]
    return said.model_copy(update={"tool_calls": (first, first.model_copy(update={"id": first.id + _AGAIN}))})
