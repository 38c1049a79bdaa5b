"""`journeyman users`: fitted to captured conversations, kept as a file, played in a place and in their own world."""

import asyncio
import json

import pytest
import yaml
from typer.testing import CliRunner

from journeyman.cli.main import app
from journeyman.config import Settings
from journeyman.demos.bank.players import gold, play
from journeyman.demos.bank.users import TALK
from journeyman.environments.suites import load_suite
from journeyman.errors import InvalidInput, JourneymanError, NotFound, Refused
from journeyman.records import Choice, Exchange, Trajectory
from journeyman.records.message import assistant, call, tool_result, user
from journeyman.store.sql import open_store
from journeyman.worlds.users.card import Style
from journeyman.worlds.users.mined_cards import card_of
from journeyman.worlds.users.population import Domain, load_users

GOLD = "journeyman.demos.bank.players:gold"


def captured(trajectory, session):
    """The calls of an attempt, as the gateway would have captured them."""
    return [
        Exchange(
            model="gold", state="complete", session=session, messages=trajectory.messages[:place],
            tools=trajectory.tools, choices=(Choice(message=said, finish_reason="stop"),), latency=0.1,
        )
        for place, said in enumerate(trajectory.messages)
        if said.role == "assistant"
    ]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with 24 captured conversations of the bank, and a world built from them."""
    found = tmp_path_factory.mktemp("users")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JOURNEYMAN_HOME", str(found))
        store = open_store(Settings())
        for number, trajectory in enumerate(asyncio.run(play(gold, "gold", "train", 24, 0))):
            store.put(*captured(trajectory, f"s{number}"))
        store.close()
        built = CliRunner().invoke(app, ["world", "build", "support"])
        assert built.exit_code == 0, built.output
    return found


@pytest.fixture
def users(home, monkeypatch):
    monkeypatch.setenv("JOURNEYMAN_HOME", str(home))
    monkeypatch.setenv("COLUMNS", "250")

    def invoke(*words):
        result = CliRunner().invoke(app, ["users", *words], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return invoke


def test_users_of_a_style_are_played_in_a_place_and_compared(users, home, tmp_path):
    fitted = users("fit", "clients", "--talk", "bank", "--where", "model = gold")
    assert "never compared with real users: uncalibrated" in fitted
    assert "no cards: no world" in fitted
    held_out = load_users("clients", home / "users").held_out
    assert 4 <= len(held_out) < 30
    told = users("play", "clients", "--place", "bank", "--player", GOLD, "--count", "12", "--out", str(tmp_path / "a"))
    assert "served: " in told
    assert f"uncalibrated ({len(held_out)} real conversations, and 30 are needed" in " ".join(told.split())
    attempts = [Trajectory.model_validate_json(line) for line in (tmp_path / "a").read_text().splitlines()]
    assert len(attempts) == 12
    found = load_users("clients", home / "users")
    assert (found.agent, found.likeness.real, found.likeness.simulated) == ("gold", len(held_out), 12)
    shown = users("show", "clients")
    assert "words (AUC)" in shown
    assert "against the agent gold" in shown


def test_each_session_becomes_a_user_of_their_world(users, home):
    fitted = users("fit", "residents", "--talk", "bank", "--world", "support")
    found = load_users("residents", home / "users")
    assert len(found.cards) >= 6, fitted
    assert len(found.cards) + sum(found.left_out.values()) == 24
    reached = [goal for card in found.cards.values() for goal in card.goals if goal.reached]
    assert reached, "what was done in the world is what a user wanted"
    assert all("birth_date" in card.facts for card in found.cards.values() if "name" in card.facts)
    told = users("play", "residents", "--player", GOLD, "--count", "6")
    assert "served: " in told
    with pytest.raises(Refused, match="S2"):
        load_suite("users/residents")


def test_a_file_of_users_travels(users, home, tmp_path, monkeypatch):
    users("fit", "movers", "--talk", "bank")
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "users").mkdir(parents=True)
    (elsewhere / "users" / "movers.json").write_bytes((home / "users" / "movers.json").read_bytes())
    monkeypatch.setenv("JOURNEYMAN_HOME", str(elsewhere))
    assert "users movers" in users("show", "movers")
    (elsewhere / "users" / "broken.json").write_text('{"name": "broken"}')
    for words, kind, word in (
        (["show", "broken"], InvalidInput, "holds no users"),
        (["show", "nobody"], NotFound, "journeyman users fit nobody"),
        (["play", "movers"], InvalidInput, "--player"),
        (["play", "movers", "--player", GOLD], InvalidInput, "live in no world"),
        (["play", "movers", "--player", GOLD, "--place", "moon"], NotFound, "moon"),
        (["fit", "x", "--talk", "bank"], InvalidInput, "no captured call matches"),
        (["fit", "x", "--talk", "moon"], NotFound, "moon"),
    ):
        with pytest.raises(kind) as problem:
            users(*words)
        assert isinstance(problem.value, JourneymanError)
        assert word in str(problem.value)


def test_a_talk_is_a_file_and_brings_what_users_can_do_themselves(tmp_path, home, users):
    talk = {**json.loads(TALK.model_dump_json()), "tools": [
        {"name": "restart", "told": r"\brestart\b", "sees": "It is on again.", "sets": {"phone": "on"}},
    ]}  # fmt: skip
    file = tmp_path / "talk.yaml"
    file.write_text(yaml.safe_dump(talk))
    users("fit", "own", "--talk", str(file))
    domain = load_users("own", home / "users").domain
    assert domain.tools[0].sets == {"phone": "on"}
    file.write_text(yaml.safe_dump({**talk, "greets": 3, "facts": "none"}))
    with pytest.raises(InvalidInput, match="facts"):
        users("fit", "own", "--talk", str(file))


def test_what_a_real_user_was_told_to_do_belongs_to_the_wish_that_was_open():
    domain = Domain.model_validate({
        "talk": TALK.model_dump(),
        "tools": [{"name": "restart", "told": r"\brestart\b", "sees": "It is on.", "sets": {"phone": "on"}}],
    })  # fmt: skip
    said = (
        user("Hello. My card does not work in the phone."), assistant("Please restart the phone."),
        user("It is on."), assistant("Good."), user("Thanks. What is my balance?"),
        call("c1", "get_balance", account="A1"), tool_result("c1", '{"euros": "12.50"}'),
        assistant("Your balance is €12.50."),
    )  # fmt: skip
    nothing = {"cells": {}, "calls": []}
    card = card_of("s", said, [nothing] * 4, domain)
    first, second = card.goals
    assert [(each.field, each.value) for each in first.reached] == [("own.phone", "on")]
    assert second.ask == "What is my balance?"
    assert second.reached == ()
    assert [tool.name for tool in card.tools] == ["restart"]
    assert Style() == card.style
    silent = (*said[:4], user("Thanks. And now?"), assistant("That is all."))
    assert card_of("s", silent, [nothing] * 4, domain) == "nothing was observed of what the user wanted"
