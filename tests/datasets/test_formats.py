import errno
import json
import os

import pytest

from journeyman.datasets.formats import export_rows, import_rows
from journeyman.errors import DiskFull, InvalidInput
from journeyman.records import Message, Row, Tool
from journeyman.records.message import assistant, call, system, tool_result, user

ROW = Row(
    messages=(
        system("Größe: \u2028 \ud83d"),
        user("a\nb"),
        call("1", "f", x="ü"),
        tool_result("1", ""),
        Message.model_validate({"role": "assistant", "content": "done", "extra": {"b": 1, "a": None}}),
    ),
    tools=(Tool.model_validate({"type": "function", "function": {"name": "f", "parameters": {"z": 1, "a": 2}}}),),
    split="validation",
    conversation="c",
    source="s",
)


def lines(path, *written: object):
    path.write_bytes(
        b"".join(each if isinstance(each, bytes) else json.dumps(each).encode() + b"\n" for each in written)
    )
    return path


def talk(*messages: dict[str, object], **fields: object) -> dict[str, object]:
    return {"messages": list(messages), **fields}


ASK = {"role": "user", "content": "hi"}
SAY = {"role": "assistant", "content": "hello"}
CALL = {
    "role": "assistant",
    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
RESULT = {"role": "tool", "tool_call_id": "1", "content": "ok"}


@pytest.mark.parametrize("written", ["NaN", "Infinity", "-Infinity", '"nan"', "1e999"])
def test_a_score_that_is_no_number_is_refused_by_its_line(tmp_path, written):
    good = json.dumps(talk(ASK, SAY, score=0.5))
    bad = good.replace("0.5", written)
    path = lines(tmp_path / "in.jsonl", f"{good}\n{bad}\n{good}\n".encode())
    with pytest.raises(InvalidInput, match=r"1 of 3 rows .* nothing was imported:\n  line 2: score: .*finite number"):
        import_rows(path)


def test_what_is_exported_can_be_imported_unchanged(tmp_path):
    path = tmp_path / "deep" / "rows.jsonl"
    export_rows([ROW, ROW], path)
    assert import_rows(path) == [ROW, ROW]
    assert [str(each.wire()) for each in import_rows(path)[0].messages] == [str(each.wire()) for each in ROW.messages]
    assert len(path.read_bytes().split(b"\n")) == 3


def test_a_file_from_elsewhere_gets_a_conversation_and_a_source_per_line(tmp_path):
    path = lines(tmp_path / "in.jsonl", b"\xef\xbb\xbf", talk(ASK, SAY), b"\n", b" \r\n", talk(ASK, CALL, RESULT, SAY))
    first, second = import_rows(path)
    assert (first.source, second.source) == ("in.jsonl:1", "in.jsonl:4")
    assert first.conversation != second.conversation
    assert "split" not in first.model_fields_set


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"{nope\n", "is not JSON"),
        (b"\xff\xfe\n", "is not JSON"),
        ([1], "is not an object"),
        ({}, "has no list of messages"),
        (talk(), "it has no messages"),
        ({"messages": "hi"}, "has no list of messages"),
        (talk(ASK, SAY, functions=[]), "unknown keys functions"),
        (talk(ASK, SAY, split="test"), "split 'test'; it is train or validation"),
        (talk(ASK, SAY, conversation=7), "conversation: Input should be a valid string"),
        (talk(ASK, SAY, tools=[{"type": "function"}]), "tool 1: function: Field required"),
        (talk(ASK, {"role": "robot", "content": "x"}), "message 2: role"),
        (talk(ASK, "hello"), "message 2: "),
        (talk(ASK), "no assistant turn"),
        (talk(ASK, RESULT, SAY), r"message 2 \(tool\) answers the call '1', which"),
        (talk(ASK, CALL, RESULT, RESULT, SAY), r"message 4 \(tool\) answers the call '1'"),
        (talk(ASK, CALL, SAY), "before the tool call '1' was answered"),
        (talk(ASK, CALL, ASK, SAY), r"message 3 \(user\) comes before the tool call"),
        (talk(ASK, CALL, {"role": "tool", "content": "x"}), "has no tool_call_id"),
        (talk(ASK, CALL, {"role": "tool", "tool_call_id": "1"}), "has no content"),
        (talk(ASK, {"role": "assistant", "content": ""}), "neither content nor tool calls"),
        (talk({"role": "user", "content": ""}, SAY), r"message 1 \(user\) has no content"),
        (talk({**CALL, "role": "user", "content": "x"}, SAY), "which only an assistant does"),
        (talk(ASK, {**SAY, "weight": 0}), "weight 0"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path, line, complaint):
    path = lines(tmp_path / "in.jsonl", talk(ASK, SAY), line)
    with pytest.raises(InvalidInput, match=f"1 of 2 rows .*\n  line 2: .*{complaint}"):
        import_rows(path)


def test_all_bad_lines_are_listed_at_once(tmp_path):
    path = lines(tmp_path / "in.jsonl", b"{\n", talk(ASK, SAY), talk(ASK), b"\n", talk(ASK, RESULT))
    with pytest.raises(InvalidInput) as raised:
        import_rows(path)
    assert [line.split(":")[0] for line in str(raised.value).splitlines()[1:]] == ["  line 1", "  line 3", "  line 5"]
    assert "3 of 4 rows" in str(raised.value)


def test_a_conversation_may_end_with_a_call_or_start_with_the_agent(tmp_path):
    path = lines(tmp_path / "in.jsonl", talk(SAY, ASK, CALL), talk(ASK, {**SAY, "weight": 1}))
    assert len(import_rows(path)) == 2


def test_files_that_are_missing_or_empty_are_named(tmp_path):
    with pytest.raises(InvalidInput, match=r"cannot read .*gone.jsonl"):
        import_rows(tmp_path / "gone.jsonl")
    with pytest.raises(InvalidInput, match="holds no rows"):
        import_rows(lines(tmp_path / "empty.jsonl", b"\n"))


def test_a_full_disk_leaves_the_old_file_and_no_half_of_the_new(tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    export_rows([ROW], path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match="nothing half-written was left"):
        export_rows([ROW, ROW], path)
    assert [each.name for each in tmp_path.iterdir()] == ["rows.jsonl"]
    assert path.read_bytes() == before


def test_a_place_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot write"):
        export_rows([ROW], tmp_path / "file" / "rows.jsonl")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidInput, match="cannot write"):
        export_rows([ROW], tmp_path / "folder")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "folder"]


def test_a_row_of_plain_text_reads_like_openai_writes_it(tmp_path):
    row = Row(messages=(user("hi"), assistant("hello")), conversation="c", source="s")
    export_rows([row], tmp_path / "rows.jsonl")
    written = json.loads((tmp_path / "rows.jsonl").read_text())
    assert written["messages"] == [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    assert "tools" not in written
