"""The two-turn task with a tool: ask for a price by `price(item)`, then say what came back.

A model that was never trained for tools does it a third of the time from the examples before it, and learns the rest
within minutes: real turns, a real environment, rewards by code.
"""

import json
import random
import re
from collections.abc import Sequence
from copy import copy
from typing import Any, Literal

from pydantic import Field

from journeyman.engines.scripted import Script
from journeyman.environments.environment import Observation
from journeyman.environments.tasks.drawing import Drawn, draw_scenarios, require_suite, share
from journeyman.environments.tasks.words import QUALITIES, THINGS
from journeyman.errors import InvalidInput
from journeyman.records import Frozen, Message, Outcome, Scenario, Score, Tool
from journeyman.records.message import Function, assistant, call, system, tool_result, user

NAME, VERSION = "price-tool", "price-tool/1"
VALID_CALL, RIGHT_ANSWER = 0.3, 0.7
"""What the reward gives for each of the two turns."""
PROMPT = "You tell prices. Look each one up with price(item), then say the number."
QUESTIONS = (
    "How much is the {item}?",
    "What does the {item} cost?",
    "Price of the {item}, please.",
    "I would like to buy the {item}. What is its price?",
    "Tell me the price of the {item}.",
    "Do you know what the {item} costs?",
)
PRICE = Tool(
    function=Function(
        name="price",
        description="The price of an item.",
        parameters={"type": "object", "properties": {"item": {"type": "string"}}, "required": ["item"]},
    )
)
_CALL = re.compile(r"price\((?P<item>[^()]+)\)")


class PriceToolSettings(Frozen):
    """What makes the task easy or hard, all of it.

    `examples` go before the question, as turns of the same conversation; `words` are those of an item's name,
    `digits` those of its price, `questions` how many ways of asking there are. `prompt`: whether a system prompt says
    what is wanted. `speak`: whether calls are plain text, or the tool calls of the model's chat template.
    """

    examples: int = Field(2, ge=0, le=8)
    words: int = Field(3, ge=1, le=3)
    digits: int = Field(4, ge=2, le=5)
    questions: int = Field(6, ge=1, le=len(QUESTIONS))
    prompt: bool = False
    speak: Literal["text", "tools"] = "text"


class PriceToolEnvironment:
    """One question: a call is answered by `Result: PRICE`, anything else ends the episode, and so does the answer."""

    def __init__(self, scenario: Scenario) -> None:
        require_suite(scenario, NAME)
        self._data: dict[str, Any] = scenario.data
        self._settings = PriceToolSettings.model_validate(scenario.data["settings"])
        self._called = self._answered = self._is_done = False
        self._replies: tuple[Message, ...] = ()

    async def start(self) -> Observation:
        """The examples, then the question."""
        messages: list[Message] = [system(PROMPT)] if self._settings.prompt else []
        for number, example in enumerate(self._data["examples"]):
            messages += self._example(number, example)
        messages.append(user(self._data["question"]))
        return Observation(messages=tuple(messages), tools=self._tools())

    async def step(self, reply: Message) -> Observation:
        """Answer the call, or take the answer."""
        if self._is_done:
            raise InvalidInput("this episode is over; start a new environment for another one")
        return self._react(reply)

    def _react(self, reply: Message) -> Observation:
        self._replies = (*self._replies, reply)
        if self._called:
            self._answered = reply.text.strip() == str(self._data["price"])
        elif self._asked_for(reply) == self._data["item"]:
            self._called = True
            id = reply.tool_calls[0].id if reply.tool_calls else ""
            return Observation(messages=(self._result(id, self._data["price"]),), tools=self._tools())
        self._is_done = True
        return Observation(done=True)

    def fork(self, n: int) -> "Sequence[PriceToolEnvironment]":
        """`n` independent copies: all that changes is three truths and what was replied."""
        return [copy(self) for _ in range(n)]

    def score(self) -> tuple[Score, ...]:
        """`reward`: 0.3 for a valid call and 0.7 for the right answer after it; `success`: both."""
        reason = "answered" if self._answered else "called, and answered wrongly" if self._called else "no valid call"
        reward = VALID_CALL * self._called + RIGHT_ANSWER * self._answered
        return (
            Score(name="reward", value=reward, reason=reason, version=VERSION),
            Score(name="success", value=float(self._answered), reason=reason, version=VERSION),
        )

    def outcome(self) -> Outcome:
        """What was replied; everything follows from that."""
        return Outcome(events=tuple(reply.wire() for reply in self._replies))

    async def close(self) -> None:
        """There is nothing to release."""

    def _tools(self) -> tuple[Tool, ...]:
        return (PRICE,) if self._settings.speak == "tools" else ()

    def _asked_for(self, reply: Message) -> str | None:
        """The item that the reply calls the tool for, and nothing else; None when it does not."""
        if self._settings.speak == "text":
            found = _CALL.fullmatch(reply.text.strip())
            return found["item"].strip() if found else None
        calls = reply.tool_calls or ()
        if len(calls) != 1 or calls[0].function.name != "price":
            return None
        try:
            arguments = json.loads(calls[0].function.arguments)
        except ValueError:
            return None
        return arguments.get("item") if isinstance(arguments, dict) else None

    def _result(self, id: str, price: int) -> Message:
        return user(f"Result: {price}") if self._settings.speak == "text" else tool_result(id, str(price))

    def _example(self, number: int, example: dict[str, Any]) -> list[Message]:
        item, price = example["item"], example["price"]
        id = f"call_{number}"
        asked = assistant(f"price({item})") if self._settings.speak == "text" else call(id, "price", item=item)
        return [user(example["question"]), asked, self._result(id, price), assistant(str(price))]


class PriceToolSuite:
    """Items and prices without end. Those of held-out scenarios, examples included, occur in no training scenario."""

    name, version = NAME, VERSION

    def __init__(self, settings: PriceToolSettings = PriceToolSettings()) -> None:
        self.settings = settings

    def scenarios(self, split: str, count: int, seed: int) -> Sequence[Scenario]:
        """`count` scenarios of `split`; the same seed gives the same ones."""
        things = share(THINGS, split)
        prices = share(range(10 ** (self.settings.digits - 1), 10**self.settings.digits), split)

        def draw(rng: random.Random, number: int) -> Drawn:
            several = self.settings.examples + 1
            *examples, asked = [
                self._asked(rng, thing, price)
                for thing, price in zip(rng.sample(things, several), rng.sample(prices, several), strict=True)
            ]
            return Drawn("price", {**asked, "examples": examples, "settings": self.settings.model_dump()})

        return draw_scenarios(self.name, split, count, seed, draw)

    def environment(self, scenario: Scenario) -> PriceToolEnvironment:
        """A fresh episode of that scenario."""
        return PriceToolEnvironment(scenario)

    def verify(self, scenario: Scenario, outcome: Outcome) -> tuple[Score, ...]:
        """The scores of kept replies."""
        environment = self.environment(scenario)
        for reply in outcome.events:
            environment._react(Message.model_validate(reply))
        return environment.score()

    def gold(self, scenario: Scenario) -> Script:
        """Calls for the item, then says the number."""
        item, price = scenario.data["item"], str(scenario.data["price"])
        asked = call("call", "price", item=item) if self.settings.speak == "tools" else assistant(f"price({item})")
        return lambda messages, tools: assistant(price) if price in messages[-1].text else asked

    def _asked(self, rng: random.Random, thing: str, price: int) -> dict[str, Any]:
        item = " ".join([*rng.sample(QUALITIES, self.settings.words - 1), thing])
        question = rng.choice(QUESTIONS[: self.settings.questions]).format(item=item)
        return {"item": item, "price": price, "question": question}
