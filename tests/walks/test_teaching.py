"""From captured calls to two generations of adapters behind one name, command by command, as a person types them."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from journeyman.cli.main import app
from journeyman.config import Settings
from journeyman.datasets.versions import find_dataset, load_rows
from journeyman.records import Choice, Exchange
from journeyman.records.message import assistant, user
from journeyman.registry.adapters import find_adapter
from journeyman.registry.resolve import resolve
from journeyman.store.sql import SqlStore, open_store
from tests.datasets.conftest import ChatServer, chat_server  # noqa: F401

pytestmark = pytest.mark.slow
SMALL = ("--base", "tiny", "--rank", "2", "--batch-rows", "4", "--threads", "1")
GRAPH = """
[source.production]
where = "tags.stage = production"

[filter.answered]
from = "production"
criterion = "The assistant knows the answer."
model = "judge"
url = "{url}"

[relabel.stronger]
from = "answered"
model = "teacher"
url = "{url}"
requests_per_minute = 6000
rejected = true

[correct.people]
from = "stronger"

[dataset]
from = "people"
validation = 0.3
"""


@pytest.fixture
def store(home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqlStore]:
    monkeypatch.setenv("JOURNEYMAN_MODELS", str(tiny.parent))
    monkeypatch.setenv("COLUMNS", "250")
    with closing(open_store(Settings())) as opened:
        for number in range(14):
            reply = "I do not know." if number in (3, 5) else f"{number} it is"
            choice = Choice(message=assistant(reply), finish_reason="stop")
            opened.put(Exchange(
                model="weak", state="complete", session=f"s{number}", tags={"stage": "production"},
                messages=(user(f"What is {number}?"),), choices=(choice,),
            ))  # fmt: skip
        yield opened


def said(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, (arguments, result.output, result.exception)
    return result.output


def script(asked: dict[str, object]) -> object:
    """A judge that says no to those who do not know; a teacher that answers at length, and fails at one question."""
    text = json.dumps(asked["messages"])
    if asked["model"] == "judge":
        return "no" if "do not know" in text else "yes"
    return (400, {"error": {"message": "nothing of the sort"}}, {}) if "What is 7?" in text else "indeed, it is"


def test_from_calls_to_two_generations_behind_one_name(
    store: SqlStore, tmp_path: Path, chat_server: ChatServer  # noqa: F811
) -> None:  # fmt: skip
    chat_server.script = script
    graph = tmp_path / "support.toml"
    graph.write_text(GRAPH.format(url=chat_server.url))

    built = said("dataset", "build", "support", "--graph", str(graph))
    assert re.search(r"ran +filter answered: 14 in, 12 kept;.* 2 left out: it does not meet the criterion", built)
    assert re.search(r"ran +relabel stronger: 12 in, 11 kept; 11 changed;", built)
    assert "s7: " in built, "what failed is told by its conversation"
    asked = len(chat_server.asked)
    again = said("dataset", "build", "support", "--graph", str(graph))
    assert "reused filter answered" in again
    assert len(chat_server.asked) == asked + 1, "what failed is asked again, and nothing else"
    rows = load_rows(find_dataset(store, "support"))
    assert {row.messages[-1].text for row in rows} == {"indeed, it is"}
    assert all(row.rejected and row.rejected[-1].text.endswith("it is") for row in rows)

    said("train", "sft", "support", *SMALL, "--name", "first")
    said("train", "dpo", "support", "--base", "tiny", "--batch-rows", "4", "--threads", "1", "--from", "first",
         "--name", "second")  # fmt: skip
    said("promote", "support", "first", "--force", "there is nothing yet")
    split = said("promote", "support", "--split", "first=75,second=25", "--force", "a quarter tries it")
    assert "support now answers with first" in split
    first, second = (find_adapter(store, name) for name in ("first", "second"))
    tree = said("adapters", "tree").splitlines()
    parent, child = (next(at for at, line in enumerate(tree) if each.id in line) for each in (first, second))
    assert child == parent + 1
    assert tree[child].index("second") > tree[parent].index("first"), "a child stands further in"
    assert "support 75%" in tree[parent]
    assert "support 25%" in tree[child]

    def answers(session: str) -> str:
        return resolve("support", store, ("tiny",), (), session=session).model

    quarter = {f"customer-{n}" for n in range(400) if answers(f"customer-{n}") == second.id}
    assert 70 < len(quarter) < 130
    said("promote", "support", "--split", "first=50,second=50", "--force", "more of it")
    half = {f"customer-{n}" for n in range(400) if answers(f"customer-{n}") == second.id}
    assert quarter < half, "nobody who had it loses it"
    history = said("aliases", "support")
    assert history.count("Forced: ") == 3
    assert "75%" in said("rollback", "support", "--reason", "too soon")
    assert {each for each in half if answers(each) == second.id} == quarter
