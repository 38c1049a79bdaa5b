import json
from datetime import UTC, datetime, timedelta

import pytest

from journeyman.datasets.build import build_dataset, import_dataset
from journeyman.datasets.formats import export_rows
from journeyman.datasets.versions import load_rows
from journeyman.errors import InvalidInput
from journeyman.records import Choice, Dataset, Erasure, Exchange, Filter, Message, Row, Tool
from journeyman.records.message import assistant, call, system, tool_result, user
from journeyman.store.memory import MemoryStore

EVERYTHING = Filter()
BALANCE = Tool.model_validate({"type": "function", "function": {"name": "balance", "parameters": {}}})


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def put(store):
    """Store the exchange in which `messages` got the reply; each is a minute younger than the one before."""
    at = datetime(2026, 7, 1, tzinfo=UTC)

    def put_one(session: str | None, *messages: Message, reply: Message | None, **fields: object) -> Exchange:
        nonlocal at
        at += timedelta(minutes=1)
        choices = () if reply is None else (Choice(message=reply, finish_reason="stop"),)
        given = {"model": "m", "state": "complete", "tools": (BALANCE,), **fields}
        made = Exchange(at=at, session=session, messages=messages, choices=choices, **given)
        store.put(made)
        return made

    return put_one


@pytest.fixture
def put_conversation(put):
    """Store the calls of a conversation with a customer, as an agent makes them: each sends all that was said."""

    def put_all(name: str, turns: int = 2, session: str | None = None) -> Exchange:
        said = [system("You work in a bank."), user(f"Hello, I am {name}.")]
        for turn in range(turns):
            asked = call(f"call_{name}_{turn}", "balance", account=turn)
            put(session or name, *said, reply=asked)
            said += [asked, tool_result(f"call_{name}_{turn}", f"{name} has {turn}")]
            answer = assistant(f"{name}, you have {turn}.")
            last = put(session or name, *said, reply=answer)
            said += [answer, user(f"And account {turn + 1}?")]
        return last

    return put_all


def test_a_conversation_becomes_its_longest_call(store, put_conversation, tmp_path):
    last = {name: put_conversation(name, turns=4) for name in ("Ann", "Bob", "Cem")}
    dataset = build_dataset(store, tmp_path, "bank", EVERYTHING)
    rows = load_rows(dataset)
    assert {row.conversation: row.source for row in rows} == {name: each.id for name, each in last.items()}
    for row in rows:
        assert row.messages == (*last[row.conversation].messages, last[row.conversation].reply)
        assert row.messages[-1].role == "assistant"
        assert row.tools == (BALANCE,)
    assert (dataset.train_rows + dataset.validation_rows, dataset.validation_rows) == (3, 1)
    assert store.find(Dataset) == [dataset]


def test_a_client_that_sends_replies_back_in_other_words_is_still_one_conversation(
    store, put, put_conversation, tmp_path
):
    put_conversation("Ann")
    asked = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    asked_again = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    reply = {"role": "assistant", "content": None, "refusal": None, "reasoning_content": "hm", "tool_calls": [asked]}
    sent_back = {"role": "assistant", "content": "", "tool_calls": [asked_again]}
    put("s", user("go"), reply=Message.model_validate(reply))
    last = put("s", user("go"), Message.model_validate(sent_back), tool_result("c1", "ok"), reply=assistant("Done."))
    rows = load_rows(build_dataset(store, tmp_path, "bank", EVERYTHING))
    assert [row.source for row in rows if row.conversation == "s"] == [last.id]


def test_forks_in_one_session_give_a_row_each_on_the_same_side(store, put, put_conversation, tmp_path):
    for name in ("Ann", "Bob", "Cem", "Dan"):
        put_conversation(name)
    for answer in ("one", "two", "three"):
        put("fork", user("Tell me."), reply=assistant(answer))
    put("fork", system("A helper of the agent."), user("Summarise."), reply=assistant("short"))
    rows = [row for row in load_rows(build_dataset(store, tmp_path, "x", EVERYTHING)) if row.conversation == "fork"]
    assert len(rows) == 4
    assert len({row.split for row in rows}) == 1


def test_without_sessions_calls_that_begin_alike_are_one_conversation(store, put, tmp_path):
    put(None, user("a"), reply=assistant("1"))
    put(None, user("a"), assistant("1"), user("more"), reply=assistant("2"))
    put(None, user("b"), reply=assistant("1"))
    rows = load_rows(build_dataset(store, tmp_path, "x", EVERYTHING))
    assert sorted(len(row.messages) for row in rows) == [2, 4]
    assert len({row.conversation for row in rows}) == 2


def test_only_complete_exchanges_unless_the_filter_says_otherwise(store, put, put_conversation, tmp_path):
    put_conversation("Ann")
    put_conversation("Bob")
    put("cut", user("long"), reply=assistant("it beg"), state="truncated_upstream")
    complete = load_rows(build_dataset(store, tmp_path, "x", Filter.parse("model = m or model = n")))
    assert {row.conversation for row in complete} == {"Ann", "Bob"}
    chosen = Filter.parse("state = truncated_upstream or session = Ann")
    assert {row.conversation for row in load_rows(build_dataset(store, tmp_path, "x", chosen))} == {"Ann", "cut"}


def test_duplicates_are_dropped_and_counted_whatever_their_call_ids(store, put_conversation, put, tmp_path):
    put_conversation("Bob")
    for session, id in (("s1", "call_1"), ("s2", "call_2")):
        asked = call(id, "balance", account=1)
        put(session, user("balance?"), asked, tool_result(id, "12"), reply=assistant("12"))
    put("other tools", user("balance?"), call("x", "balance", account=1), tool_result("x", "12"), reply=assistant("12"),
        tools=())  # fmt: skip
    dataset = build_dataset(store, tmp_path, "x", EVERYTHING)
    assert dataset.duplicates == 1
    assert {row.conversation for row in load_rows(dataset)} == {"Bob", "s1", "other tools"}


def test_what_holds_nothing_to_learn_is_left_out_and_counted(store, put_conversation, put, tmp_path):
    put_conversation("Ann")
    put_conversation("Bob")
    put("no reply", user("x"), reply=None)
    put("empty", user("x"), reply=assistant(""))
    put("disorder", user("x"), tool_result("never made", "y"), reply=assistant("z"))
    dataset = build_dataset(store, tmp_path, "x", EVERYTHING)
    assert dataset.left_out == 3
    assert {row.conversation for row in load_rows(dataset)} == {"Ann", "Bob"}


def test_the_version_names_the_rows(store, put_conversation, tmp_path):
    put_conversation("Ann")
    put_conversation("Bob")
    first = build_dataset(store, tmp_path, "x", EVERYTHING)
    assert build_dataset(store, tmp_path, "y", Filter.parse("model = m")).version == first.version
    put_conversation("Cem")
    assert build_dataset(store, tmp_path, "x", EVERYTHING).version != first.version
    assert sorted(each.name for each in tmp_path.iterdir() if each.name.startswith("x")) == sorted(
        f"x@{each.version}.jsonl" for each in store.find(Dataset, Filter.parse("name = x"))
    )


def test_a_filter_over_more_than_one_page_misses_nothing(store, tmp_path):
    store.put(
        *(
            Exchange(model="m", state="complete", session=str(n), messages=(user(f"q{n}"),),
                     choices=(Choice(message=assistant("a")),))
            for n in range(2100)
        )
    )  # fmt: skip
    dataset = build_dataset(store, tmp_path, "x", EVERYTHING)
    assert dataset.train_rows + dataset.validation_rows == 2100


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a@b", ".hidden", "a b"])
def test_names_that_cannot_be_files_are_refused(store, put_conversation, name, tmp_path):
    put_conversation("Ann")
    with pytest.raises(InvalidInput, match="cannot be named"):
        build_dataset(store, tmp_path, name, EVERYTHING)


def test_nothing_to_build_from_says_what_matched(store, put, put_conversation, tmp_path):
    with pytest.raises(InvalidInput, match="no exchange matches 'state = \"complete\"', of 0 in the store"):
        build_dataset(store, tmp_path, "x", EVERYTHING)
    put("s", user("x"), reply=None)
    with pytest.raises(InvalidInput, match=r"1 exchanges match .* none can be learned from: no reply \(1\)"):
        build_dataset(store, tmp_path, "x", EVERYTHING)
    put_conversation("Ann", turns=3)
    with pytest.raises(InvalidInput, match=r"7 exchanges match .* are one conversation \(Ann\).*no reply \(1\)"):
        build_dataset(store, tmp_path, "x", EVERYTHING)
    assert not list(tmp_path.iterdir())
    assert store.find(Dataset) == []


def test_an_unknown_field_is_refused(store, put_conversation, tmp_path):
    put_conversation("Ann")
    with pytest.raises(InvalidInput, match="no field 'tag"):
        build_dataset(store, tmp_path, "x", Filter.parse("tag.stage = production"))


def test_an_import_holds_what_was_exported(store, put_conversation, tmp_path):
    for name in ("Ann", "Bob", "Cem"):
        put_conversation(name)
    built = build_dataset(store, tmp_path, "x", EVERYTHING)
    export_rows(load_rows(built), tmp_path / "out.jsonl")
    imported = import_dataset(store, tmp_path, "y", tmp_path / "out.jsonl")
    assert load_rows(imported) == load_rows(built)
    assert imported.version == built.version


def write(path, *rows: dict[str, object]):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def line(opening: str, **fields: object) -> dict[str, object]:
    return {"messages": [user(opening).wire(), assistant("ok").wire()], **fields}


def test_an_import_without_splits_gets_some(store, tmp_path):
    path = write(tmp_path / "in.jsonl", *(line(f"question {n}") for n in range(40)), line("question 1"))
    dataset = import_dataset(store, tmp_path, "x", path, validation_share=0.2)
    assert dataset.duplicates == 1
    assert dataset.train_rows + dataset.validation_rows == 40
    assert dataset.validation_rows > 0


def test_an_import_keeps_the_splits_that_are_given(store, tmp_path):
    path = write(tmp_path / "in.jsonl", line("a", split="validation"), line("b", split="train"), line("c"), line("d"))
    rows: list[Row] = load_rows(import_dataset(store, tmp_path, "x", path))
    assert [row.split for row in rows[:2]] == ["validation", "train"]


def test_an_import_with_a_conversation_on_both_sides_is_refused(store, tmp_path):
    path = write(
        tmp_path / "in.jsonl",
        line("a", split="train", conversation="c"),
        line("b", split="validation", conversation="c"),
    )
    with pytest.raises(InvalidInput, match="both train and validation: c"):
        import_dataset(store, tmp_path, "x", path)


def test_an_import_of_one_conversation_is_refused(store, tmp_path):
    with pytest.raises(InvalidInput, match="at least two are needed"):
        import_dataset(store, tmp_path, "x", write(tmp_path / "in.jsonl", line("a")))
    with pytest.raises(InvalidInput, match="no conversation is left for validation"):
        import_dataset(
            store, tmp_path, "x", write(tmp_path / "in.jsonl", line("a", split="train"), line("b", split="train"))
        )


def test_an_import_leaves_out_erased_calls_and_refuses_what_is_measured_in_train(store, tmp_path):
    store.put(Erasure(what="session", who="h", exchanges=("gone",), by="t"))
    path = write(tmp_path / "in.jsonl", line("a", source="gone"), line("b"), line("c"))
    dataset = import_dataset(store, tmp_path, "x", path)
    assert dataset.reasons == {"erased": 1}
    assert {row.messages[0].text for row in load_rows(dataset)} == {"b", "c"}
    path = write(tmp_path / "in.jsonl", line("a", split="train"), line("a", split="validation", conversation="else"))
    with pytest.raises(InvalidInput, match="measured on what it has learned"):
        import_dataset(store, tmp_path, "x", path)
