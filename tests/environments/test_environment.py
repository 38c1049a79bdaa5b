"""What every environment promises, run against each implementation."""

from collections.abc import Callable

import pytest

from journeyman.demos.bank.environment import BankSuite
from journeyman.environments.environment import Environment
from journeyman.environments.scripted import ScriptedEnvironment
from journeyman.records.message import assistant


def scripted() -> Environment:
    return ScriptedEnvironment(("one", "two", "three"), lambda replies: len(replies) == 3)


def bank() -> Environment:
    suite = BankSuite()
    return suite.environment(suite.scenarios("train", 1, 0)[0])


@pytest.fixture(params=[scripted, bank])
def make(request: pytest.FixtureRequest) -> Callable[[], Environment]:
    return request.param


async def test_it_opens_with_words_of_the_user(make: Callable[[], Environment]) -> None:
    environment = make()
    opening = await environment.start()
    assert opening.messages[-1].role == "user"
    assert not opening.done
    await environment.close()


async def test_it_ends_on_an_agent_that_only_mumbles(make: Callable[[], Environment]) -> None:
    environment = make()
    observation = await environment.start()
    steps = 0
    while not observation.done:
        observation = await environment.step(assistant("Hm."))
        steps += 1
    assert steps < 20
    await environment.close()


async def test_success_is_one_or_zero_at_any_time(make: Callable[[], Environment]) -> None:
    environment = make()
    await environment.start()
    before = {score.name: score.value for score in environment.score()}
    await environment.step(assistant("Hm."))
    after = {score.name: score.value for score in environment.score()}
    assert before["success"] in (0, 1)
    assert after["success"] in (0, 1)
    await environment.close()


async def test_forks_go_on_alike_and_apart(make: Callable[[], Environment]) -> None:
    environment = make()
    await environment.start()
    first, second = environment.fork(2)
    assert await first.step(assistant("Hm.")) == await second.step(assistant("Hm."))
    await first.close()
    await second.step(assistant("Hm."))
    assert not (await environment.step(assistant("Hm."))).done
    await second.close()
    await environment.close()
