"""The contract with the real package: its tools and rewards give here what they give in its own traces."""

import importlib
import sys
from pathlib import Path

import pytest

from journeyman.engines.scripted import ScriptedEngine
from journeyman.environments.rollout import roll_out_many
from journeyman.environments.suites import load_suite
from journeyman.environments.verifying import scored_again
from journeyman.errors import InvalidInput, UpstreamFailed
from journeyman.records import FunctionCall, Message, ToolCall
from journeyman.records.message import assistant
from tests.absences import skip_for_lack_of


@pytest.fixture
def vf(request, monkeypatch):
    try:
        import verifiers.v1 as found
    except ImportError as error:
        skip_for_lack_of("verifiers", f"{error}; pip install verifiers", request.config)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    yield found
    sys.modules.pop("counting_taskset", None)


def store(count, id="c"):
    function = FunctionCall(name="shelf_store", arguments=f'{{"count": {count}}}')
    return Message(role="assistant", content=None, tool_calls=(ToolCall(id=id, function=function),))


def wanted(messages):
    return int(messages[1].text.split()[1].rstrip("."))


def diligent(messages, tools):
    """Stores in two parts where it can, then says so."""
    count, made = wanted(messages), sum(message.role == "assistant" for message in messages)
    parts = [count] if count == 1 else [1, count - 1]
    return store(parts[made], f"c{made}") if made < len(parts) else assistant(f"There are {count}.")


def theirs(vf, task, played):
    """The same conversation in a trace that the package's own graph has built, turn by turn."""
    from verifiers.v1 import types
    from verifiers.v1.configs.agent import AgentConfig
    from verifiers.v1.graph import prepare_turn
    from verifiers.v1.trace import AgentInfo, Trace, TraceTask

    counting = sys.modules["counting_taskset"]
    stored = played.outcome.state["shared"]["stored"]
    trace = Trace(
        task=TraceTask(type=type(task).__name__, data=task.data, key=task.key, hash=task.hash),
        state=counting.Shelf(stored=stored), agent=AgentInfo(config=AgentConfig()),
    )  # fmt: skip
    prompt = []
    for message in played.messages:
        if message.role == "assistant":
            calls = [
                types.ToolCall(id=each.id, name=each.function.name, arguments=each.function.arguments)
                for each in message.tool_calls or ()
            ]
            said = types.AssistantMessage(content=message.text or None, tool_calls=calls or None)
            turn = prepare_turn(trace, list(prompt))
            turn.commit(types.Response(id="r", created=0, model="m", message=said, finish_reason="stop"))
            prompt.append(said)
        elif message.role == "tool":
            prompt.append(types.ToolMessage(tool_call_id=message.tool_call_id, content=message.text))
        else:
            kind = types.SystemMessage if message.role == "system" else types.UserMessage
            prompt.append(kind(content=message.text))
    return trace


async def test_rewards_are_those_of_the_packages_own_traces(vf):
    suite = load_suite("verifiers/counting_taskset")
    scenarios = suite.scenarios("train", 4, 0)
    attempts = await roll_out_many(suite, scenarios, ScriptedEngine(diligent), "diligent")
    tasks = {task.key: task for task in suite._taskset}
    for played in attempts:
        assert played.error is None
        task = tasks[played.scenario.data["task"]]
        trace = theirs(vf, task, played)
        await task.score(trace)
        assert played.score("reward") == trace.reward == 1
        assert played.score("success") == 1
        assert played.score("turns") == trace.metrics["turns"] == (3 + 200 if task.data.wanted > 1 else 2 + 100)
        assert scored_again(suite, played) == played.scores
        assert played.scores[0].version.startswith("verifiers 0.")
    lazy = await roll_out_many(
        suite, scenarios, ScriptedEngine(lambda m, t: assistant(f"There are {wanted(m)}.")), "lazy"
    )
    assert {each.score("reward") for each in lazy} == {0.25}
    assert {each.score("success") for each in lazy} == {0}


async def test_tools_have_the_packages_names_and_answer_errors(vf):
    suite = load_suite("verifiers/counting_taskset")
    [scenario] = suite.scenarios("train", 1, 0)
    environment = suite.environment(scenario)
    opening = await environment.start()
    [tool] = opening.tools
    assert (tool.function.name, tool.function.description) == ("shelf_store", "Put so many on the shelf.")
    assert tool.function.parameters["properties"]["count"]["type"] == "integer"
    assert [each.role for each in opening.messages] == ["system", "user"]
    said = [(await environment.step(each)).messages[0].text for each in (store(999), store('"many"'), store(1))]
    assert "are left" in said[0]
    assert said[0].startswith("Error: ")
    assert said[1].startswith("Error: ")
    assert said[2].startswith("1 stored")
    await environment.close()


async def test_forks_share_nothing_and_are_where_the_first_was(vf):
    suite = load_suite("verifiers/counting_taskset")
    scenario = max(suite.scenarios("train", 9, 0), key=lambda each: int(each.kind.split()[1]))
    environment = suite.environment(scenario)
    await environment.start()
    await environment.step(store(2))
    one, other = environment.fork(2)
    assert (await one.step(store(3))).messages[0].text.startswith("5 stored")
    assert (await other.step(store(1))).messages[0].text.startswith("3 stored")
    assert (await environment.step(store(4))).messages[0].text.startswith("6 stored")
    assert one.outcome().state["shared"]["stored"] == 5
    late = environment.fork(1)[0]
    late._calls[0]["answer"] = "something else"
    with pytest.raises(UpstreamFailed, match="cannot be forked"):
        await late.step(store(1))
    for each in (environment, one, other, late):
        await each.close()


def test_splits_share_no_task_and_what_is_not_there_is_refused(vf):
    suite = load_suite("verifiers/counting_taskset")
    train, held_out = (
        {each.data["task"] for each in suite.scenarios(*asked, 0)} for asked in (("train", 9), ("held-out", 3))
    )
    assert len(train | held_out) == 12
    with pytest.raises(InvalidInput, match="train tasks of"):
        suite.scenarios("train", 10, 0)
    with pytest.raises(InvalidInput, match="no taskset"):
        load_suite("verifiers/no-such-taskset")


@pytest.mark.parametrize(
    ("added", "word"),
    [
        ({"NEEDS_CONTAINER": True}, "runs in a container"),
        ({"finalize": lambda self, trace, runtime: None}, "has a finalize of its own"),
        ({"stop": True}, "has stop conditions"),
        ({"sandbox": True}, "looks into a sandbox"),
    ],
)
def test_what_only_the_package_can_play_is_refused_before_anything_is_played(vf, added, word):
    from journeyman.environments.adapters.verifiers import VerifiersSuite

    counting = importlib.import_module("counting_taskset")
    members = dict(added)
    if members.pop("stop", False):
        members["enough"] = vf.stop(lambda self, trace: True)
        members["enough"].__name__ = "enough"
    if members.pop("sandbox", False):
        members["looked"] = vf.reward(lambda self, runtime: 1.0)
        members["looked"].__name__ = "looked"
    other = type("Other", (counting.CountTask,), members)

    class Taskset(counting.CountTaskset):
        def load(self):
            return [other(each.data, each.config) for each in super().load()]

    with pytest.raises(InvalidInput, match=word):
        VerifiersSuite(Taskset(counting.CountTasksetConfig(id="other")), "other")
