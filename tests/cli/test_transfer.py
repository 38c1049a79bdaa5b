import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from journeyman.cli import transfer
from journeyman.config import Settings
from journeyman.errors import InvalidInput
from journeyman.records import Exchange, Feedback, Filter
from journeyman.store.sql import open_store

app = typer.Typer()
app.command("import")(transfer.import_command)
app.add_typer(transfer.app, name="export")


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("JOURNEYMAN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result.stdout

    return invoke


@pytest.fixture
def file(tmp_path):
    rows = [
        {"messages": [{"role": "user", "content": f"q {number}"}, {"role": "assistant", "content": f"a {number}"}]}
        for number in range(3)
    ]
    target = tmp_path / "chat.jsonl"
    target.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
    return str(target)


def stored(where=""):
    store = open_store(Settings())
    found = store.find(Exchange, Filter.parse(where))
    store.close()
    return found


def test_import_says_what_came_of_it_and_again_adds_nothing(run, file):
    told = run("import", "openai-chat", file, "--tag", "batch=gold", "--tag", "by=me")
    assert "4 rows: 3 calls (3 lossy) and 0 pieces of feedback" in told
    assert "3 calls are new; 0 were in the store already" in told
    assert "1 rows could not be used:\n  chat.jsonl, line 4: is not JSON" in told
    assert "0 calls are new; 3 were in the store already" in run("import", "openai-chat", file)
    assert len(stored("tags.batch = gold and tags.by = me")) == 3


def test_what_is_imported_is_redacted_as_what_is_captured(run, tmp_path, monkeypatch):
    monkeypatch.setenv("JOURNEYMAN_REDACTION", '{"rules": ["email"], "key": "sixteen letters or more"}')
    row = {"input": {"messages": [{"role": "user", "content": "I am ana@example.org"}]},
           "output": {"choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]},
           "criteria": {"kind": {"score": 1, "explanation": "it greets ana@example.org"}}}  # fmt: skip
    (tmp_path / "logs.jsonl").write_text(json.dumps(row))
    run("import", "openpipe", "logs.jsonl")
    (made,) = stored()
    assert "ana@" not in made.model_dump_json()
    assert made.messages[0].text.startswith("I am [")
    store = open_store(Settings())
    (given,) = store.find(Feedback)
    store.close()
    assert "ana@" not in given.reason


def test_a_dry_run_stores_nothing(run, file):
    assert "a dry run: nothing was stored" in run("import", "openai-chat", file, "--dry-run")
    assert stored() == []


def test_a_file_of_which_nothing_is_good_fails(run, file):
    assert "4 rows could not be used" in run("import", "helicone", file, code=1)
    Path("empty.jsonl").write_text("")
    run("import", "helicone", "empty.jsonl")


def test_a_tag_that_is_none_is_refused(run, file):
    with pytest.raises(InvalidInput, match="NAME=VALUE"):
        run("import", "openai-chat", file, "--tag", "gold")


def test_export_openai_and_import_again(run, file):
    run("import", "openai-chat", file)
    assert "3 rows written to out.jsonl" in run("export", "openai", "-o", "out.jsonl")
    rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert rows[-1] == {"messages": [{"role": "user", "content": "q 0"}, {"role": "assistant", "content": "a 0"}]}
    assert "1 rows written" in run("export", "openai", "--where", 'text ~ "a 1"', "-o", "one.jsonl")


def test_export_says_what_a_format_cannot_express(run):
    store = open_store(Settings())
    store.put(Exchange(model="m", state="failed"))
    store.close()
    told = run("export", "openai", "-o", "out.jsonl")
    assert "0 rows written" in told
    assert "left out: call with the state failed (1)" in told


def test_export_parquet_and_back_into_another_home(run, file, monkeypatch, tmp_path):
    run("import", "openai-chat", file)
    before = stored()
    assert "3 calls of 1 days and 0 pieces of feedback written to days" in run("export", "parquet", "-o", "days")
    monkeypatch.setenv("JOURNEYMAN_HOME", str(tmp_path / "other"))
    assert "3 calls are new" in run("import", "parquet", "days")
    assert stored() == before


def test_export_otlp_to_a_file(run, file):
    run("import", "openai-chat", file)
    assert "3 spans written to spans.jsonl" in run("export", "otlp", "-o", "spans.jsonl")
    with open("spans.jsonl", encoding="utf-8") as lines:
        (request,) = [json.loads(line) for line in lines]
    assert len(request["resourceSpans"][0]["scopeSpans"][0]["spans"]) == 3
    with pytest.raises(InvalidInput, match="URL only"):
        run("export", "otlp", "-o", "x.jsonl", "--header", "a=b")


def test_a_file_that_cannot_be_written_leaves_nothing(run, file, tmp_path):
    run("import", "openai-chat", file)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidInput, match="cannot write"):
        run("export", "openai", "-o", "folder")
    assert not (tmp_path / "folder.part").exists()
