"""A model as the learned layer: what it is asked and taught, what it earns; its answers are checked and kept."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from journeyman.config import Settings
from journeyman.errors import InvalidInput, Refused
from journeyman.rendering.chat import ChatTokenizer
from journeyman.training.samples import whole
from journeyman.worlds.build import Built, build
from journeyman.worlds.consent import agree
from journeyman.worlds.learned.earning import earned, said_of
from journeyman.worlds.learned.model import Answers, ModelLayer, learned_of
from journeyman.worlds.learned.patches import from_patch, to_patch
from journeyman.worlds.learned.prompt import read_answer
from journeyman.worlds.learned.proposer import Proposer
from journeyman.worlds.learned.rows import divided, rows_of
from journeyman.worlds.learned.suite import PredictionSuite
from journeyman.worlds.state import Change, State, applied, difference, leaf_changes
from journeyman.worlds.world import World, load_world
from tests.datasets.conftest import ChatServer, chat_server  # noqa: F401
from tests.worlds import shop


@cache
def built() -> Built:
    """The shop without its twins, so that a model is what is left."""
    return replace(build(shop.sessions(12)), rules={}, trials={}, neighbours={})


def oracle() -> Callable[[dict[str, Any]], str]:
    """What a model would say that knows the shop by heart."""
    known = {row.messages[1].text: row.messages[-1].text for row in rows_of(built())}
    return lambda asked: known.get(asked["messages"][1]["content"], "{}")


def layer(server: ChatServer, folder: Any, world: Built) -> ModelLayer:
    """With the neighbours that rows show: the oracle knows no other questions."""
    proposer = world.proposer or Proposer("gpt-4.1", server.url)
    return ModelLayer(proposer, divided(world, 0)[0], Answers(proposer, folder, Settings()))


def test_patches_say_every_change_and_are_read_back():
    for call in shop.sessions(6):
        patch = json.loads(json.dumps(to_patch(difference(call.before, call.after), call.before)))
        assert not leaf_changes(applied(call.before, from_patch(patch, call.before)), call.after)
    listed = {"a": {"b": [1, 2, 3]}}
    for change in (Change("append", ("a", "b"), 4), Change("remove", ("a", "b"), 2), Change("set", ("a", "x/y"), 1)):
        assert applied(listed, from_patch(to_patch([change], listed), listed)) == applied(listed, [change])
    with pytest.raises(InvalidInput, match="no place in a list"):
        from_patch([{"op": "replace", "path": "/a/b/first", "value": 0}], listed)


def test_rows_teach_the_answer_alone_and_nothing_that_trust_is_measured_on(tiny):
    rows = rows_of(built())
    learned, judged = divided(built(), 0)
    names = {split: {row.source for row in rows if row.split == split} for split in ("train", "validation")}
    assert names["train"] <= {call.name for call in learned}
    assert names["validation"] <= {call.name for call in judged}
    assert {call.family for call in learned}.isdisjoint(call.family for call in judged)
    sample = whole(ChatTokenizer(tiny), rows[0])[0]
    said = ChatTokenizer(tiny).decode([i for i, learned in zip(sample.ids, sample.mask, strict=True) if learned])
    assert rows[0].messages[-1].text in said
    assert rows[0].messages[1].text not in said


def test_a_model_that_is_right_earns_its_place_and_two_runs_are_identical(chat_server, tmp_path):  # noqa: F811
    chat_server.script = oracle()
    world = earned(built(), Proposer("gpt-4.1", chat_server.url), Answers(_named(chat_server), tmp_path, Settings()))
    assert world.proposer is not None
    assert min(world.proposer.trust.values()) > 0.9
    assert all(asked["temperature"] == 0 and asked["response_format"] for asked in chat_server.asked)
    assert any("is asked for sell: right about" in line for line in said_of(world.proposer, {}, world.least))
    with pytest.raises(InvalidInput, match="opened without it"):
        world.resolver()
    call = next(each for each in divided(world, 0)[1] if each.tool == "sell" and each.error is None)
    resolver = replace(world.resolver(layer(chat_server, tmp_path, world)), nearest=_Silent(), replay=_Silent())
    first = resolver.answer(call.tool, call.arguments, State(call.before))
    assert (first.source, first.observation) == ("learned", call.observation)
    assert not leaf_changes(applied(call.before, first.changes), call.after)
    asked = len(chat_server.asked)
    again = replace(world.resolver(layer(chat_server, tmp_path, world)), nearest=_Silent(), replay=_Silent())
    assert again.answer(call.tool, call.arguments, State(call.before)) == first
    assert len(chat_server.asked) == asked


def test_a_model_that_rambles_earns_nothing_and_is_not_asked(chat_server, tmp_path):  # noqa: F811
    chat_server.script = lambda asked: "I believe it went well."
    world = earned(built(), _named(chat_server), Answers(_named(chat_server), tmp_path, Settings()))
    assert max(world.proposer.trust.values()) == 0
    chat_server.asked = []
    resolver = replace(world.resolver(layer(chat_server, tmp_path, world)), nearest=_Silent(), replay=_Silent())
    call = next(each for each in shop.sessions(9, first=401) if each.tool == "restock")
    assert resolver.answer(call.tool, call.arguments, State(call.before)).source == "abstain"
    assert chat_server.asked == []


def test_what_a_model_proposes_is_checked_before_it_is_committed(chat_server, tmp_path):  # noqa: F811
    call = next(each for each in shop.sessions(9, first=401) if each.tool == "restock" and each.error is None)
    said = {"outcome": "ok", "patch": [{"op": "replace", "path": "/shop/user", "value": "eve"}]}
    chat_server.script = lambda asked: json.dumps(said | {"answer": call.observation})
    trusted = replace(_named(chat_server), trust={"restock": 0.9})
    world = replace(built(), proposer=trusted)
    resolver = replace(world.resolver(layer(chat_server, tmp_path, world)), nearest=_Silent(), replay=_Silent())
    assert resolver.answer(call.tool, call.arguments, State(call.before)).source == "abstain"
    assert resolver.refused == {"learned: it writes outside the tool's footprint": 1}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("no json", "no JSON"),
        ('{"outcome": "ok"}', "lacks"),
        ('{"outcome": "on fire", "patch": [], "answer": {}}', "never seen to end"),
        ('{"outcome": "ok", "patch": [{"op": "test", "path": "/a"}], "answer": {}}', "add/replace/remove"),
        ('{"outcome": "ok", "patch": [{}, {}, {}], "answer": {}}', "more than 2"),
    ],
)
def test_what_is_no_proposal_is_told_why(said, why):
    assert why in str(read_answer(said, built().shapes["sell"], {"shop": {}}))


def test_the_answer_tells_the_cell_as_it_is_after_the_change(tmp_path):
    call = next(e for e in built().memory if e.tool == "restock" and e.error is None)
    model = ModelLayer(Proposer("m"), built().memory, Answers(Proposer("m"), tmp_path, Settings()))
    item, count = call.arguments["item"], call.arguments["count"]
    now = call.before["shop"]["items"][item]["stock"] + count
    patch = [{"op": "replace", "path": f"/shop/items/{item}/stock", "value": now}]
    text = json.dumps({"outcome": "ok", "patch": patch, "answer": {"stock": 99999}})
    similar = [each for each in built().memory if each.tool == "restock" and each.error is None]
    found = model.read(text, "restock", call.arguments, State(call.before), built().shapes["restock"], similar[:3])
    assert found is not None
    assert found.observation == {"stock": now}


def test_the_fidelity_measures_are_the_rewards():
    suite = PredictionSuite(World("shop", built(), ()))
    train, held = suite.scenarios("train", 6, 1), suite.scenarios("held-out", 6, 0)
    assert {each.data["call"] for each in train}.isdisjoint(each.data["call"] for each in held)
    for scenario in train:
        call = next(each for each in built().memory if each.name == scenario.data["call"])
        right = next(row for row in rows_of(built()) if row.source == call.name).messages[-1].text
        assert {score.value for score in _scored(suite, scenario, right)} == {1.0}
        assert {score.value for score in _scored(suite, scenario, "done")} == {0.0}
    call = next(each for each in built().memory if each.tool == "sell" and each.error is None)
    scenario = suite._scenario(next(r for r in rows_of(built()) if r.source == call.name), "train")
    patchless = json.dumps({"outcome": "ok", "patch": [], "answer": call.observation})
    values = {score.name: score.value for score in _scored(suite, scenario, patchless)}
    assert values == {"f1": 1, "f2": 1, "f3": 1, "f4": 0, "reward": 0.75, "success": 0}


def test_a_world_with_a_model_survives_its_file(chat_server, tmp_path):  # noqa: F811
    proposer = replace(_named(chat_server), trust={"sell": 0.8}, tried={"sell": 4}, right={"sell": 4})
    World("shop", replace(built(), proposer=proposer), ()).save(tmp_path)
    again = load_world("shop", tmp_path)
    assert again.built.proposer == proposer
    with pytest.raises(Refused, match=rf"model gpt-4.1 at {chat_server.url}, and nobody .*world trust shop --model"):
        learned_of("shop", again.built.proposer, again.built.memory, tmp_path, Settings())
    # No world brings its own agreement, whatever lies in its folder and whatever it calls itself.
    agree(proposer.asked_of, tmp_path / "shop")
    World("inner", again.built, ()).save(tmp_path / "shop")
    with pytest.raises(Refused, match="nobody agreed to that here"):
        learned_of("shop", again.built.proposer, again.built.memory, tmp_path, Settings())
    with pytest.raises(InvalidInput, match="cannot be a world's name"):
        load_world("shop/inner", tmp_path)
    agree(proposer.asked_of, tmp_path)
    opened = learned_of("shop", again.built.proposer, again.built.memory, tmp_path, Settings())
    assert opened is not None
    assert opened.trust("sell") == 0.8
    assert opened.trust("order") == 0.0


class _Silent:
    """Neighbours that say nothing."""

    def answer(self, tool: str, arguments: Any, state: State) -> None:
        return None


def _named(server: ChatServer) -> Proposer:
    return Proposer("gpt-4.1", server.url)


def _scored(suite: PredictionSuite, scenario: Any, reply: str) -> Any:
    return suite.verify(scenario, suite.environment(scenario).outcome().model_copy(update={"state": {"reply": reply}}))
