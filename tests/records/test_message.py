from journeyman.records import Message, Scenario, Tool, Trajectory, new_id
from journeyman.records.message import assistant, user

ODD = {"role": "assistant", "content": None, "reasoning": {"b": 1, "a": None}, "alpha": 1}


def test_a_message_crosses_as_it_came():
    assert str(Message.model_validate(ODD).wire()) == str(ODD)
    assert Message(role="user").wire() == {"role": "user"}


def test_a_record_that_holds_messages_writes_them_as_they_came():
    tried = Trajectory(scenario_id="1", model="m", session="s", messages=(Message.model_validate(ODD), user("x")))
    written = tried.model_dump(mode="json")
    assert written["messages"] == [ODD, {"role": "user", "content": "x"}]
    assert written["error"] is None
    assert Trajectory.model_validate_json(tried.model_dump_json()) == tried


def test_only_the_type_that_servers_insist_on_is_added():
    assert Tool.model_validate({"function": {"name": "f"}}).wire() == {"type": "function", "function": {"name": "f"}}


def test_the_words_of_a_message():
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": "b"}]
    assert Message(role="user", content=parts).text == "ab"
    assert Message(role="assistant").text == ""
    assert assistant("hi").text == "hi"


def test_ids_are_unique_and_every_record_gets_one():
    made = [Scenario(environment="bank", kind="k").id for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(len(each) == 32 for each in (*made, new_id()))
