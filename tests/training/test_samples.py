"""Rows of preferences, from a file to the tokens that are learned."""

import json

import pytest

from journeyman.datasets.formats import as_lines, import_rows, read_lines
from journeyman.errors import InvalidInput
from journeyman.records import Row
from journeyman.records.message import assistant, call, system, tool_result, user
from journeyman.rendering.chat import ChatTokenizer
from journeyman.training.samples import last_reply, pair, question, whole

ASKED = (system("You are a bank."), user("2 + 2?"), assistant("4"), user("and 3 + 3?"))
GOOD, BAD = assistant("6"), assistant("five")


@pytest.fixture
def tokenizer(tiny):
    return ChatTokenizer(tiny)


def imported(tmp_path, **fields):
    wired = {
        name: [message.wire() for message in value] if isinstance(value, tuple) else value
        for name, value in fields.items()
    }
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(wired))
    (row,) = import_rows(path)
    return row


def learned(tokenizer, sample):
    return tokenizer.decode([token for token, learn in zip(sample.ids, sample.mask, strict=True) if learn])


@pytest.mark.parametrize("rejected", [(BAD,), (*ASKED, BAD)], ids=["the reply alone", "the whole conversation"])
@pytest.mark.parametrize("name", ["messages", "chosen"])
def test_a_worse_reply_is_read_and_only_the_replies_are_learned(tmp_path, tokenizer, rejected, name):
    row = imported(tmp_path, **{name: (*ASKED, GOOD), "rejected": rejected})
    assert row.rejected == (*ASKED, BAD)
    better, worse = pair(tokenizer, row)
    assert (learned(tokenizer, better), learned(tokenizer, worse)) == ("6", "five")
    assert read_lines(as_lines([row])) == [row]


def test_labels_and_scores_are_read(tmp_path):
    row = imported(tmp_path, messages=(*ASKED, GOOD), label=False, score=0.25)
    assert (row.label, row.score, row.rejected) == (False, 0.25, None)
    assert read_lines(as_lines([row])) == [row]


def test_rows_without_preferences_are_written_as_before(tmp_path):
    row = imported(tmp_path, messages=(*ASKED, GOOD))
    assert json.loads(as_lines([row])).keys() == {"messages", "split", "conversation", "source"}


@pytest.mark.parametrize(
    ("rejected", "said"),
    [([], "no list of messages in it"), ((user("no"), user("reply")), "as rejected: it has no assistant turn")],
)
def test_a_worse_conversation_that_is_none_is_refused(tmp_path, rejected, said):
    with pytest.raises(InvalidInput, match=said):
        imported(tmp_path, messages=(*ASKED, GOOD), rejected=rejected)


def test_what_a_sample_learns(tokenizer):
    using = (user("what is it?"), call("c", "balance"), tool_result("c", "7"), assistant("it is 7"))
    row = Row(messages=(*ASKED, GOOD, *using), conversation="c", source="t")
    assert len(whole(tokenizer, row)) == 1
    everything = learned(tokenizer, whole(tokenizer, row)[0])
    assert everything.startswith("46")
    assert "balance" in everything
    assert everything.endswith("it is 7")
    last = learned(tokenizer, last_reply(tokenizer, row))
    assert "balance" in last
    assert last.endswith("it is 7")
    assert "6" not in last
    asked = tokenizer.decode(question(tokenizer, row))
    assert "what is it?" in asked
    assert "it is 7" not in asked
