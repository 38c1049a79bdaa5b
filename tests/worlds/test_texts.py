"""A world of words: its form is found in episodes, it answers what was recorded, and says when it does not know."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from journeyman.errors import InvalidInput
from journeyman.records import Message, Trajectory
from journeyman.records.message import assistant, tool_result, user
from journeyman.worlds.environment import WorldSuite
from journeyman.worlds.expressions import Unknown
from journeyman.worlds.texts.beginnings import begun_by_sight, known_by_sight
from journeyman.worlds.texts.episodes import read_episodes
from journeyman.worlds.texts.form import UNOFFERED, TextForm, learn_form, with_starts
from journeyman.worlds.texts.making import make_text_world
from journeyman.worlds.texts.sayings import Sayings
from journeyman.worlds.world import World, load_world
from tests.worlds import house

SEEDS = range(18)


@cache
def form() -> TextForm:
    return learn_form(read_episodes(house.attempts(SEEDS)).episodes)


@cache
def world() -> World:
    return make_text_world("house", read_episodes(house.attempts(SEEDS)), success=({"told": "You take the lamp"},))


def test_an_episode_begins_after_the_examples_and_an_unanswered_action_is_named():
    one = house.attempt(0, 0, "wild")
    cut = one.model_copy(update={"messages": one.messages[:-1]})
    found = read_episodes([one, cut])
    whole, short = found.episodes
    assert [said.role for said in whole.opening] == ["system", "user", "assistant", "user"]
    assert len(whole.steps) == one.turns == len(short.steps) + 1
    assert found.left_out.left_out == {"actions without an answer": 1}


def test_conversations_with_tool_calls_are_none_of_these():
    said = (user("hello"), assistant("hi"), tool_result("c", "x"))
    found = read_episodes([house.attempt(0, 0, "wild").model_copy(update={"messages": said})])
    assert not found.episodes
    with pytest.raises(InvalidInput, match="1 conversations with tool calls"):
        make_text_world("none", found)


def test_the_form_of_a_system_is_found_in_its_words():
    found = form()
    assert found.labels == ("You can",)
    assert found.menu == "You can"
    assert found.scene == "You stand in"
    assert found.endings == (house.TOOK,)
    assert found.longest == house.LONGEST


def test_verbs_whose_effects_no_scene_tells_are_found_from_contradictions():
    assert {"lift", "shut"} >= set(form().lasting) != set()
    assert all(len(found) == 1 for found in (form().starts or {}).values())


def test_words_survive_being_taken_apart():
    for each in read_episodes(house.attempts(range(3))).episodes:
        assert all(form().words(form().told(answer)) == answer for _, answer in each.steps)
    assert form().told("no status here") == {"said": "no status here"}
    assert TextForm.read(json.loads(json.dumps(form().wire()))) == form()


async def played(world: World, start: str, actions: list[str]) -> tuple[list[str], dict[str, float], bool]:
    suite = WorldSuite(world)
    scenario = next(each for split in ("train", "held-out") for each in suite.scenarios(split, 60, 0)
                    if each.data["start"] == start)  # fmt: skip
    environment = suite.environment(scenario)
    await environment.start()
    told, done = [], False
    for action in actions:
        if not done:
            seen = await environment.step(assistant(action))
            told, done = [*told, *(said.text for said in seen.messages)], seen.done
    return told, {score.name: score.value for score in environment.score()}, done


async def test_the_world_never_says_what_the_real_house_would_not():
    answered = right = 0
    for start in world().starts:
        seed = int(start.id.split("-")[1])
        for policy in range(4):
            again = house.attempt(seed, 100 + policy, "lost")
            own = [said.text for said in again.messages[4:]]
            told, _, _ = await played(world(), start.id, own[::2])
            assert told == own[1::2][: len(told)]
            answered, right = answered + len(own) // 2, right + len(told)
    assert right > 0.6 * answered


def test_where_a_verb_leads_is_read_off_the_scene_and_known_from_whoever_was_there():
    trial = world().built.trials["go"]
    assert (form().linked, world().text.linked if world().text else ()) == ((), ("go",))
    assert trial.admitted
    assert trial.right == trial.answered >= 5
    twin = world().built.programs["go"]
    start = next(each for each in world().starts if "take lamp" not in each.messages[-1].text)
    way = next(each for each in start.document["text"]["You can"] if each.startswith("go "))
    answer, changes, error = twin.run({"action": way, "rest": way.removeprefix("go ")}, start.document)
    assert "A lamp stands there." in answer["said"]
    assert error is None
    assert changes
    with pytest.raises(Unknown):
        twin.run({"action": "go up", "rest": "up"}, start.document)


async def test_success_is_what_the_builder_said_and_ends_the_episode():
    start = next(each for each in world().starts if "take lamp" in each.messages[-1].text)
    told, scores, done = await played(world(), start.id, ["look", "take lamp"])
    assert told[-1].startswith(house.TOOK)
    assert (scores["success"], scores["reward"], scores["abstained"], done) == (1.0, 1.0, 0.0, True)
    _, scores, _ = await played(world(), start.id, ["look"])
    assert scores["success"] == 0.0


async def test_where_nobody_went_the_world_abstains_and_nothing_is_rewarded():
    made = world()
    kept = [each for each in made.built.memory if each.tool != "go"]
    bare = replace(made, built=replace(made.built, memory=kept, programs={}))
    start = made.starts[0]
    way = next(each for each in start.document["text"]["You can"] if each.startswith("go "))
    told, scores, done = await played(bare, start.id, [way])
    assert (told, done) == ([], True)
    assert scores == {"abstained": 1.0}


def test_its_card_lets_it_be_trained_in_and_it_survives_its_file(tmp_path: Path):
    assert world().card is not None
    assert world().card.problems == ()
    world().save(tmp_path)
    again = load_world("house", tmp_path)
    assert again.content == world().content
    again.check_training()
    assert again.text == world().text
    with pytest.raises(InvalidInput, match="words"):
        WorldSuite(again, faults="stress")


def test_one_beginning_with_two_hidden_states_is_told_apart():
    one, other = house.House(1), house.House(1)
    other.lamp = other.second if one.lamp == one.first else one.first
    found = []
    for number, game in enumerate((one, other)):
        first, action = "You stand in the yard.\nYou can: go in", "go in"
        said: tuple[Message, ...] = (user(first), assistant(action), user(game.shown(game.scene())))
        found.append(house.attempt(1, number, "wild").model_copy(update={"messages": said, "latencies": (0.1,)}))
    episodes = read_episodes(found).episodes
    learned = learn_form(episodes)
    assert len({learned.start_of(each) for each in episodes}) == 2


def under_two_names(seen_otherwise: str = "") -> list[Trajectory]:
    """Attempts of which every other one says that its scenario is another, and may have gone on otherwise."""
    found = []
    for number, each in enumerate(house.attempts(range(6))):
        messages = each.messages
        if number % 2 and seen_otherwise:
            later = [
                said.model_copy(update={"content": said.text.replace(seen_otherwise, "")}) for said in messages[4:]
            ]
            messages = (*messages[:4], *later)
        found.append(each.model_copy(update={"scenario_id": f"{each.scenario_id}/{number % 2}", "messages": messages}))
    return found


def test_scenarios_that_began_and_went_on_alike_are_one_beginning():
    episodes = read_episodes(under_two_names()).episodes
    learned = learn_form(episodes)
    assert len({learned.start_of(each) for each in episodes}) == 12
    assert known_by_sight(learned, episodes)
    together = begun_by_sight(episodes)
    starts = {with_starts(learned, together).start_of(each) for each in together}
    assert len(starts) == len({each.first for each in together}) < 7
    assert not known_by_sight(learned, episodes[:4])


def test_scenarios_that_began_alike_and_went_on_otherwise_stay_apart():
    episodes = read_episodes(under_two_names(seen_otherwise=" A lamp stands there.")).episodes
    assert not known_by_sight(learn_form(episodes), episodes)


def test_what_is_no_action_is_answered_as_whatever_else_was_none():
    junk = [each for each in world().built.memory if each.tool == UNOFFERED]
    known = Sayings(UNOFFERED, form(), [each for each in junk if each.arguments["action"] != "fly"])
    for each in junk:
        told, _, error = known.run(each.arguments, each.before)
        assert (told, error) == (each.observation, None)
        assert told["said"] == "That is no action."
    odd = replace(junk[-1], arguments={"action": "sing"}, observation={**junk[-1].observation, "said": "La la."})
    # Where one of them was told something else, in the same state, nobody knows what a new one is told.
    torn = Sayings(UNOFFERED, form(), [junk[-1], odd])
    with pytest.raises(Unknown):
        torn.run({"action": "I am not sure."}, junk[-1].before)
