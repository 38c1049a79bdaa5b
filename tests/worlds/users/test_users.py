"""Simulated users: what they do is code's, what they say is checked, and they are served when it shows."""

import random

import pytest

from journeyman.engines.scripted import ScriptedEngine
from journeyman.errors import InvalidInput
from journeyman.records.message import assistant, user
from journeyman.worlds.users.card import FactKind, Goal, Objection, OwnTool, Style, Talk, UserCard
from journeyman.worlds.users.controller import Decision
from journeyman.worlds.users.likeness import area_under_curve, compare_users, kolmogorov_smirnov
from journeyman.worlds.users.mining import fit_style, turns_of
from journeyman.worlds.users.phrasing import ModelPhraser, ungrounded
from journeyman.worlds.users.user import SimulatedUser

TALK = Talk(
    facts=(
        FactKind(name="name", asked=(r"\bname\b",), value=r"[A-Z]\w+ [A-Z]\w+"),
        FactKind(name="born", asked=(r"\bborn\b",), value=r"\d{4}-\d\d-\d\d"),
    ),
    asks_consent=(r"\bshall i\b",), hands_over=(r"\bcolleague\b",), yes=r"^yes", no=r"^no",
)  # fmt: skip
FREEZE = Goal(
    ask="Please freeze my card.", again="My card, please.", reached=({"field": "after.frozen", "value": True},)
)
CARD = UserCard(
    id="u1", goals=(FREEZE,), facts={"name": "Ida Adler", "born": "1960-01-02"}, style=Style(greets=0, patience=1),
    objections=(Objection(trigger=r"\bfee\b", says="I will pay no fee."),),
    tools=(OwnTool(name="restart", told=r"\brestart\b", sees="It is on again.", sets={"phone": "on"}),),
)  # fmt: skip


async def talk(card, *lines, state=None, seed=0, **given):
    simulated = SimulatedUser(card, TALK, seed, **given)
    turns, heard = [await simulated.open({"frozen": False})], []
    for line in lines:
        said, now = line if isinstance(line, tuple) else (line, {"frozen": False})
        heard.append(assistant(said))
        turns.append(await simulated.hear(tuple(heard), now))
    return simulated, turns


async def test_agreeing_or_a_claim_is_no_end_and_the_effect_is():
    simulated, turns = await talk(CARD, "Shall I freeze it?", "Done, your card is frozen.")
    assert [turn.act for turn in turns] == ["open", "confirm", "vent"], "it was claimed, but it does not show"
    assert simulated.outcome is None
    simulated, turns = await talk(CARD, "Shall I freeze it?", ("Done.", {"frozen": True}))
    assert (turns[-1].act, turns[-1].ends, simulated.outcome) == ("close", True, "close")


async def test_facts_are_told_when_asked_for_once_for_free_and_unknown_ones_never():
    _, turns = await talk(CARD, "Your name, and when were you born?", "What is your name?", "Your name?")
    assert turns[1].text == "Ida Adler, 1960-01-02."
    assert [turn.act for turn in turns[2:]] == ["answer", "abandon"], "asked a third time, patience is over"
    unknown = CARD.model_copy(update={"facts": {"name": "Ida Adler"}, "unknown": ("born",)})
    simulated, turns = await talk(unknown, "When were you born?")
    assert turns[1].act == "cannot_say"
    assert "1960" not in turns[1].text
    assert simulated.mood.patience == 1, "to be asked once for what one does not know is fair"
    _, turns = await talk(unknown, *["When were you born?"] * 3)
    assert [turn.act for turn in turns[1:]] == ["cannot_say", "cannot_say", "abandon"]
    with pytest.raises(ValueError, match="knows and does not know"):
        UserCard(id="u", goals=(FREEZE,), facts={"born": "1960"}, unknown=("born",))


async def test_hidden_constraints_and_own_tools_come_out_at_their_trigger_alone():
    simulated, turns = await talk(CARD, "There is a fee of €5.", "No fee then. Please restart your phone.")
    assert turns[1].text == "I will pay no fee."
    assert (turns[2].act, turns[2].text) == ("act", "It is on again.")
    assert simulated.mood.own == {"phone": "on"}
    assert all("fee" not in turn.text for turn in (await talk(CARD, "Hello!"))[1])


async def test_a_hand_over_is_accepted_and_uselessness_ends_it():
    assert (await talk(CARD, "A colleague will call you."))[0].outcome == "close"
    simulated, turns = await talk(CARD, "Nice weather.", "Indeed.")
    assert [turn.act for turn in turns] == ["open", "vent", "abandon"]
    with pytest.raises(InvalidInput, match="has left"):
        await simulated.hear((assistant("Wait!"),), None)
    assert (await talk(CARD, *["Your name?"] * 2, max_turns=3))[0].outcome == "abandon"


async def test_the_same_seed_says_the_same_and_a_fork_goes_on_alike():
    style = Style(greets=0.5, templates={"vent": ("What?", "Hm?", "Sorry?", "Excuse me?")})
    card = CARD.model_copy(update={"style": style, "patience": 9})
    lines = ["Nice weather."] * 5
    once, again, other = [[t.text for t in (await talk(card, *lines, seed=seed))[1]] for seed in (1, 1, 2)]
    assert once == again != other
    simulated, _ = await talk(card, *lines, seed=1)
    twins = [simulated.fork(), simulated.fork()]
    said = [(await twin.hear((assistant("Rain."),), {"frozen": False})).text for twin in twins]
    assert said[0] == said[1]
    assert simulated.turns == 6


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("Yes please, freeze it.", None),
        ("Yes, and my birth date is 1960-01-02.", "1960-01-02"),
        ("I am Ida Adler, freeze it.", "leaks"),
        ("Freeze card 4711.", "4711"),
        ("I was told €5.", None),
    ],
)
def test_a_turn_tells_only_what_was_decided_or_heard(text, fault):
    found = ungrounded(CARD, "Yes, please.", (assistant("It costs €5. Shall I?"),), text)
    assert (found is None) if fault is None else (fault in found)


async def test_a_model_words_what_was_decided_and_its_faults_are_the_simulators():
    def phraser(*replies):
        said = iter(replies)
        return ModelPhraser(ScriptedEngine(lambda messages, tools: assistant(next(said))), "m")

    good = await phraser("Yep, do that.").phrase(CARD, 0, Decision("confirm"), (), random.Random(0))
    assert good == ("Yep, do that.", None)
    twice = phraser("Card 4711!", "Card 4712!")
    bad = await twice.phrase(CARD, 0, Decision("confirm"), (assistant("Shall I?"),), random.Random(0))
    assert bad.text.startswith("Yes"), "the template stands in"
    assert "4712" in bad.fault
    simulated, turns = await talk(CARD, "Shall I?", phraser=phraser("Hi, freeze my card.", "Card 1!", "Card 2!"))
    assert len(simulated.faults) == 1
    assert turns[1].fault is not None


def test_a_fact_that_nobody_could_ask_for_is_refused():
    with pytest.raises(InvalidInput, match="shoe"):
        SimulatedUser(CARD.model_copy(update={"facts": {"shoe": "42"}}), TALK, 0)


REAL = [
    user("Hi. Freeze my card."), assistant("What is your name?"), user("It's Ida Adler."), assistant("Shall I?"),
    user("Yes, thanks."), assistant("Done. Anything else?"), user("Thanks. What is my balance?"),
]  # fmt: skip


def test_real_turns_are_read_and_a_style_is_mined_without_anybodys_facts():
    assert [turn.act for turn in turns_of(REAL, TALK)] == ["open", "answer", "confirm", "request"]
    style = fit_style([REAL], TALK)
    assert style.templates["answer:name"] == ("It's {name}.",)
    assert style.templates["request"] == ("Thanks.",)
    assert (style.greets, style.greetings, style.conversations) == (1, ("Hi.",), 1)
    assert "Ida" not in style.model_dump_json()
    with pytest.raises(InvalidInput):
        fit_style([], TALK)


def test_distances_are_those_of_the_textbook():
    stats = pytest.importorskip("scipy.stats")
    rng = random.Random(0)
    one, other = [rng.randrange(9) for _ in range(40)], [rng.randrange(3, 12) for _ in range(50)]
    assert kolmogorov_smirnov(one, other) == pytest.approx(stats.ks_2samp(one, other).statistic)
    u = stats.mannwhitneyu(one, other).statistic
    assert area_under_curve(one, other) == pytest.approx(u / (len(one) * len(other)))


def test_users_unlike_the_real_ones_are_uncalibrated():
    stiff = [[user(f"Greetings to you, honourable agent number {n}."), *REAL[1:]] for n in range(40)]
    found = compare_users([REAL] * 40, stiff, TALK, fitted_to=0)
    assert found.statement.startswith("uncalibrated")
    alike = compare_users([REAL] * 40, [REAL] * 40, TALK, fitted_to=40)
    assert alike.statement.startswith("calibrated")
    few = compare_users([REAL] * 10, [REAL] * 10, TALK, fitted_to=40)
    assert "10 real conversations" in few.statement
    with pytest.raises(InvalidInput):
        compare_users([REAL], [REAL], TALK, fitted_to=1)
