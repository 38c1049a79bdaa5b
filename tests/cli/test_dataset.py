import json

import pytest
from typer.testing import CliRunner

from journeyman.cli.dataset import app
from journeyman.config import Settings
from journeyman.errors import InvalidInput, NotFound
from journeyman.records import Choice, Exchange
from journeyman.records.message import assistant, user
from journeyman.store.sql import open_store


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("JOURNEYMAN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "250")

    def invoke(*arguments: str) -> str:
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return invoke


@pytest.fixture
def captured(run):
    store = open_store(Settings())
    for number in range(20):
        store.put(
            Exchange(
                model="m",
                state="complete",
                session=f"s{number}",
                tags={"stage": "production" if number % 2 else "test"},
                messages=(user(f"question {number}"),),
                choices=(Choice(message=assistant(f"answer {number}"), finish_reason="stop"),),
            )
        )
    store.close()


def test_build_then_list_then_show(run, captured):
    built = run("build", "bank", "--where", "tags.stage = production", "--validation", "0.3")
    title = built.split(":")[0]
    assert title.startswith("bank@")
    assert f"{title}.jsonl" in built
    assert 'filter: state = "complete" and tags.stage = "production"' in built
    listed = run("list")
    assert title in listed
    assert 'tags.stage = "production"' in listed
    shown = run("show", "bank", "--rows", "10")
    assert shown.startswith(built)
    assert all(f"answer {number}\n" in shown for number in range(1, 20, 2))
    assert "answer 2\n" not in shown


def test_the_seed_changes_what_is_held_out(run, captured):
    first = run("build", "bank", "--seed", "1")
    assert run("build", "bank", "--seed", "1") == first
    assert run("build", "bank", "--seed", "2").split(":")[0] != first.split(":")[0]


def test_export_and_import(run, captured, tmp_path):
    title = run("build", "bank").split(":")[0]
    file = tmp_path / "out.jsonl"
    assert run("export", title, str(file)) == f"20 rows written to {file}\n"
    assert json.loads(file.read_text().splitlines()[0])["messages"][0] == {"role": "user", "content": "question 0"}
    imported = run("import", "copy", str(file))
    assert imported.split(":")[0] == title.replace("bank", "copy")
    assert "imported from a file" in imported
    assert "imported" in run("list")


def test_an_empty_list_says_what_to_do(run):
    assert "journeyman dataset build" in run("list")


def test_errors_pass_through_for_the_command_line_to_show(run, captured, tmp_path):
    with pytest.raises(NotFound, match="no dataset named 'bank'"):
        run("show", "bank")
    with pytest.raises(InvalidInput, match="no exchange matches"):
        run("build", "bank", "--where", "model = nobody")
    with pytest.raises(InvalidInput, match="cannot read"):
        run("import", "bank", str(tmp_path / "gone.jsonl"))


def test_a_graph_from_a_file_tells_what_ran_and_what_was_reused(run, captured, tmp_path):
    file = tmp_path / "bank.toml"
    file.write_text(
        '[source.production]\nwhere = "tags.stage = production"\n'
        '[prune.short]\nfrom = "production"\ntexts = ["question "]\n'
    )
    built = run("build", "bank", "--graph", str(file))
    assert "ran    source production: 10 in, 10 kept" in built
    assert "ran    prune short: 10 in, 10 kept; 10 changed; 20 prompt tokens saved" in built
    assert "pruned from prompts, here and when served: 'question '" in built
    again = run("build", "bank", "--graph", str(file))
    assert "reused source production" in again
    assert "reused prune short" in again
    assert "graph of 2 nodes" in run("list")
    shown = run("show", "bank")
    assert "reused prune short: 10 in" in shown
    with pytest.raises(InvalidInput, match="leave out --where, --no-corrections"):
        run("build", "bank", "--graph", str(file), "--where", "model = m", "--no-corrections")


def test_options_for_a_sample_for_what_is_alike_and_for_pruning(run, captured):
    built = run("build", "bank", "--rate", "0.5", "--prune", "question", "--near", "0.9", "--seed", "3")
    assert "left out: not in the sample" in built
    assert "ran    near distinct" in built
    assert "when served: 'question'" in built
    assert "\nquestion" not in run("show", "bank", "--rows", "20")


def test_show_measures_the_rows(run, captured, tiny):
    run("build", "bank", "--where", "tags.stage = production")
    shown = run("show", "bank", "--rows", "0")
    assert "10 conversations, 55 tokens, estimated at four characters each; about 25 of them learned" in shown
    assert "messages: 10 user, 10 assistant" in shown
    exact = run("show", "bank", "--rows", "0", "--base", str(tiny))
    assert f"tokens as {tiny} counts them" in exact
    assert "█" in exact
