"""The bank's clients as simulated users, fitted to captured traffic of the demo and compared with more of it."""

import asyncio

import pytest

from journeyman.demos.bank import players
from journeyman.demos.bank.environment import BankSuite
from journeyman.demos.bank.users import TALK, BankUserSuite
from journeyman.engines.scripted import ScriptedEngine
from journeyman.environments.rollout import roll_out_many
from journeyman.records import Choice, Exchange
from journeyman.records.message import assistant
from journeyman.store.memory import MemoryStore
from journeyman.worlds.users.card import Style
from journeyman.worlds.users.likeness import compare_users
from journeyman.worlds.users.mining import dialogues_of, fit_style


def play(suite, split, count, seed, script=players.gold):
    scenarios = suite.scenarios(split, count, seed)
    return asyncio.run(roll_out_many(suite, scenarios, ScriptedEngine(script), "gold"))


def captured(trajectories):
    """The calls of these conversations as the gateway keeps them: each with all that was said before."""
    store = MemoryStore()
    for each in trajectories:
        for place, message in enumerate(each.messages):
            if message.role == "assistant":
                choices = (Choice(message=message, finish_reason="stop"),)
                asked = each.messages[:place]
                store.put(
                    Exchange(model="gold", state="complete", session=each.session, messages=asked, choices=choices)
                )
    return store.find(Exchange, None, limit=10_000)


@pytest.fixture(scope="module")
def style():
    return fit_style(dialogues_of(captured(play(BankSuite(), "train", 45, 0))), TALK)


def test_a_good_agent_serves_them_and_one_that_only_claims_does_not(style):
    suite = BankUserSuite(style)
    played = play(suite, "held-out", 30, 1)
    assert sum(each.score("success") for each in played) == 30
    assert not any(each.score("user_faults") for each in played)

    def liar(messages, tools):
        return assistant("Done: I transferred it, your card is frozen and the payment is disputed.")

    assert sum(each.score("success") for each in play(suite, "held-out", 30, 1, liar)) == 0


def test_fitted_users_are_like_real_ones_and_made_up_ones_are_not(style):
    real = dialogues_of(captured(play(BankSuite(), "held-out", 40, 0)))
    for fitted, word in ((style, "calibrated: fitted to 45"), (Style(), "uncalibrated (")):
        ours = [each.messages for each in play(BankUserSuite(fitted), "held-out", 40, 1)]
        found = compare_users(real, ours, TALK, fitted_to=fitted.conversations)
        assert found.statement.startswith(word), found.statement


async def test_a_fork_of_a_conversation_shares_nothing(style):
    suite = BankUserSuite(style)
    environment = suite.environment(suite.scenarios("held-out", 1, 0)[0])
    await environment.start()
    one, other = environment.fork(2)
    await one.step(assistant("Nice weather."))
    assert one.simulated.turns == 2
    assert environment.simulated.turns == other.simulated.turns == 1
    first, second = await other.step(assistant("Your name?")), await environment.step(assistant("Your name?"))
    assert first == second
