"""What builds keep on the disk is found by an erasure, rows and answers of models alike."""

import pytest
import zstandard

from journeyman.config import Settings
from journeyman.datasets.build import build_graph
from journeyman.datasets.erasure import Said, purge_nodes, rewrite_without
from journeyman.datasets.nodes import parse_graph
from journeyman.datasets.versions import find_dataset, load_rows
from journeyman.records import Choice, Exchange, Filter
from journeyman.records.message import assistant, user
from journeyman.store.sql import open_store


@pytest.fixture
def store(tmp_path):
    opened = open_store(Settings(home=tmp_path))
    for number in range(6):
        said = {"messages": (user(f"secret {number}"),), "choices": (Choice(message=assistant(f"reply {number}")),)}
        opened.put(Exchange(model="m", state="complete", session=f"s{number}", **said))
    yield opened
    opened.close()


def words_on_disk(folder):
    found = ""
    for path in (folder / "nodes").iterdir():
        content = path.read_bytes()
        found += (zstandard.ZstdDecompressor().decompressobj().decompress(content) if path.suffix == ".zst" else content
                  ).decode()  # fmt: skip
    return found


def test_erased_words_leave_nodes_and_answers(store, tmp_path, chat_server):
    chat_server.script = lambda asked: "better " + asked["messages"][-1]["content"]
    folder = tmp_path / "datasets"
    graph = parse_graph(
        {"source": {"all": {}}, "relabel": {"new": {"from": "all", "model": "m", "url": chat_server.url}}}
    )
    build_graph(store, folder, "x", graph, Settings(home=tmp_path))
    assert "better secret 3" in words_on_disk(folder)

    (gone,) = store.find(Exchange, Filter.parse("session = s3"))
    store.forget(Exchange, Filter.parse("session = s3"))
    said = Said(store)
    said.add([gone])
    assert purge_nodes(folder, said) == 3  # both nodes, and one answer
    assert "secret 3" not in words_on_disk(folder)
    assert "better secret 4" in words_on_disk(folder)
    assert purge_nodes(folder, said) == 0

    chat_server.asked = []
    build_graph(store, folder, "x", graph, Settings(home=tmp_path))
    assert chat_server.asked == []
    assert {row.conversation for row in load_rows(find_dataset(store, "x"))} == {"s0", "s1", "s2", "s4", "s5"}
    assert purge_nodes(tmp_path / "nowhere", said) == 0


def test_a_dataset_without_erased_rows_tells_all_that_the_old_one_told(store, tmp_path):
    folder = tmp_path / "datasets"
    tables = {
        "source": {"all": {"where": "session != s5"}},
        "prune": {"short": {"from": "all", "texts": ["secret "]}},
    }
    old = build_graph(store, folder, "x", parse_graph(tables), Settings(home=tmp_path))
    for session in ("s3", "s4"):
        (gone,) = store.find(Exchange, Filter.parse(f"session = {session}"))
        said = Said(store, [gone.id])
        old = find_dataset(store, "x")
        new = rewrite_without(store, old, said)
    assert new is not None
    assert (new.pruning, new.nodes) == (old.pruning, old.nodes)
    assert (new.reasons, new.left_out) == ({"erased": 2}, 2)
    assert {row.conversation for row in load_rows(find_dataset(store, "x"))} == {"s0", "s1", "s2"}
