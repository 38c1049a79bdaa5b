"""Puts many questions to one model: several at a time, not too fast, each answer kept at once, each failure told."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import NamedTuple

from journeyman.config import Settings
from journeyman.datasets.cache import Answer, AnswerBook
from journeyman.datasets.nodes import Asking, digest
from journeyman.datasets.sources import STAGE
from journeyman.engines.engine import Engine
from journeyman.engines.provider import ProviderEngine
from journeyman.errors import DeadlineExceeded, InvalidInput, NotFound, Overloaded, UpstreamFailed
from journeyman.prices import PriceList
from journeyman.records import Message, Sampling, Tool, Usage

Progress = Callable[[str, int, int], None]
"""Told a node's name, how many of its questions are answered, and how many there are."""

HOPELESS = 5
"""Failures with which a node stops when not one answer has ever come: the address or the key is wrong."""
HOPELESS_NOW = 50
"""The same where answers are known from before: a few of what is left may fail each time, for what they are."""
BACKOFF = 0.5
"""Seconds before a question is put again; they double each time, unless the server says how long to wait."""


class Question(NamedTuple):
    """What is put to the model about one row; `source` is the row's."""

    source: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()

    @property
    def key(self) -> str:
        """The hash under which its answer is kept."""
        return digest([message.wire() for message in self.messages], [tool.wire() for tool in self.tools])


class Answered(NamedTuple):
    """The answers and the failures, each by its question's key, and how many questions were put this time.

    `usage` is that of all answers, `spent` that of those which were given this time.
    """

    answers: dict[str, Answer]
    failures: dict[str, str]
    asked: int
    usage: Usage
    spent: Usage


class Address(NamedTuple):
    """Where a model is asked, and under which name."""

    url: str
    key: str | None
    model: str


def address_of(asking: Asking, settings: Settings) -> Address:
    """The given URL, else the provider that the model's name begins with, else this installation's own gateway."""
    key = None
    if asking.key_env is not None:
        key = os.environ.get(asking.key_env)
        if not key:
            raise InvalidInput(f"key_env: the environment variable {asking.key_env} is not set; nothing was asked")
    if asking.url is not None:
        return Address(asking.url, key, asking.model)
    provider, _, model = asking.model.partition("/")
    found = settings.providers.get(provider) if model else None
    if found is None:
        return Address(f"http://{settings.host}:{settings.port}/v1", key, asking.model)
    own = found.api_key.get_secret_value() if found.api_key else None
    return Address(found.base_url, key or own, model)


def ask_all(
    name: str,
    questions: Sequence[Question],
    asking: Asking,
    sampling: Sampling,
    book: AnswerBook,
    settings: Settings,
    progress: Progress | None = None,
) -> Answered:
    """Answers to all questions; those that the book holds are not asked again.

    A question that stays without an answer is a failure of its own. NotFound for a model that the server does not
    know, and UpstreamFailed when nothing at all is answered: what was answered until then is kept.
    """
    wanted = dict.fromkeys(question.key for question in questions)
    new = {question.key: question for question in questions if book.get(question.key) is None}
    failures: dict[str, str] = {}
    if new:
        most = HOPELESS_NOW if len(new) < len(wanted) else min(HOPELESS, len(new))
        failures = asyncio.run(_ask(name, new, asking, sampling, book, address_of(asking, settings), most, progress))
    answers = {key: answer for key in wanted if (answer := book.get(key)) is not None}
    fresh = [answer for key, answer in answers.items() if key in new]
    return Answered(answers, failures, len(new), _sum(answers.values()), _sum(fresh))


def cost_of(usage: Usage, asking: Asking, settings: Settings) -> float | None:
    """US dollars that these tokens cost; None when the model has no price, and 0 when nothing was asked."""
    if not usage.total_tokens:
        return 0.0
    price = PriceList(settings.prices).find(asking.model.rpartition("/")[2], asking.model)
    return None if price is None else price.usd(usage)


class _Pace:
    """Lets through so many calls per minute, evenly."""

    def __init__(self, per_minute: float | None) -> None:
        self._gap = 60 / per_minute if per_minute else 0.0
        self._next = 0.0

    async def wait(self) -> None:
        now = time.monotonic()
        self._next = max(self._next, now)
        delay, self._next = self._next - now, self._next + self._gap
        if delay > 0:
            await asyncio.sleep(delay)


async def _ask(
    name: str,
    new: dict[str, Question],
    asking: Asking,
    sampling: Sampling,
    book: AnswerBook,
    address: Address,
    most_failures: int,
    progress: Progress | None,
) -> dict[str, str]:
    failures: dict[str, str] = {}
    waiting, answered, pace = iter(new.items()), 0, _Pace(asking.requests_per_minute)

    async def work(engine: Engine) -> None:
        nonlocal answered
        for key, question in waiting:
            try:
                answer = await _answer(engine, question, address.model, sampling, asking.tries, pace)
            except (InvalidInput, UpstreamFailed, DeadlineExceeded, Overloaded) as problem:
                failures[key] = str(problem)
                if not answered and len(failures) >= most_failures:
                    raise UpstreamFailed(
                        f"{name}: {len(failures)} questions to {address.model} at {address.url} failed, and none was "
                        f"answered: {problem}. Nothing was built; check `url`, `model` and `key_env`, and build again"
                    ) from problem
                continue
            book.add(key, question.source, answer)
            answered += 1
            if progress:
                progress(name, answered + len(failures), len(new))

    async with ProviderEngine(address.url, address.key, asking.timeout) as engine, _all_or_none() as tasks:
        tasks += [asyncio.create_task(work(engine)) for _ in range(min(asking.concurrency, len(new)))]
        await asyncio.gather(*tasks)
    return failures


@contextlib.asynccontextmanager
async def _all_or_none() -> AsyncIterator[list[asyncio.Task[None]]]:
    """Tasks that end together: when one gives up, the others are called off."""
    tasks: list[asyncio.Task[None]] = []
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _answer(
    engine: Engine, question: Question, model: str, sampling: Sampling, tries: int, pace: _Pace
) -> Answer:
    for number in range(1, tries + 1):
        await pace.wait()
        try:
            reply = await engine.reply(model, question.messages, question.tools, sampling, tags=STAGE)
        except (UpstreamFailed, Overloaded) as problem:
            if number == tries:
                raise
            await asyncio.sleep(problem.retry_after or BACKOFF * 2 ** (number - 1))
            continue
        except NotFound as missing:
            raise NotFound("model", model, (), f"The server says: {missing}") from missing
        choice = reply.choices[0]
        return Answer(choice.message, reply.usage, choice.finish_reason)
    raise AssertionError("unreachable: tries is at least 1")


def _sum(answers: Iterable[Answer]) -> Usage:
    found = [answer.usage for answer in answers]
    return Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in found),
        completion_tokens=sum(usage.completion_tokens for usage in found),
        cached_prompt_tokens=sum(usage.cached_prompt_tokens for usage in found),
    )
