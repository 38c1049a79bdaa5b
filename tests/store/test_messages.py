from journeyman.records import Message
from journeyman.records.message import assistant, user
from journeyman.store.messages import chain, follow, read_message


def test_a_chain_is_named_by_all_that_was_said_before():
    first, second = chain([user("a"), assistant("b")])
    assert (first.parent, second.parent) == (None, first.hash)
    assert chain([user("a"), assistant("b")]) == [first, second]
    assert chain([user("other"), assistant("b")])[1].hash != second.hash
    assert chain([assistant("b")], parent=first.hash) == [second]


def test_following_a_chain_gives_the_conversation():
    said = (
        user("a"),
        assistant("b"),
        Message.model_validate({"role": "user", "content": [{"type": "text", "text": "c"}]}),
    )
    links = {link.hash: (link.parent, read_message(link.text, link.body)) for link in chain(said)}
    assert follow(chain(said)[-1].hash, links) == said
    assert follow(None, links) == ()


def test_words_are_stored_once_and_can_be_searched():
    plain, parts = chain([user("hello"), Message(role="user", content=[{"type": "text", "text": "hello"}])])
    assert (plain.text, parts.text) == ("hello", "hello")
    assert "hello" not in plain.body
    assert "hello" in parts.body
