from pathlib import Path

import pytest

from journeyman.datasets.versions import Made, find_dataset, keep_dataset, load_rows
from journeyman.errors import InvalidInput, NotFound
from journeyman.records import Filter, Row
from journeyman.records.message import assistant, user
from journeyman.store.memory import MemoryStore


@pytest.fixture
def store():
    return MemoryStore()


def rows(*questions: str) -> list[Row]:
    return [Row(messages=(user(q), assistant("ok")), conversation=q, source="s") for q in questions]


def test_the_newest_version_answers_to_the_name_and_any_to_its_version(store, tmp_path):
    old = keep_dataset(store, tmp_path, "x", rows("a", "b"))
    new = keep_dataset(store, tmp_path, "x", rows("a", "b", "c"))
    keep_dataset(store, tmp_path, "y", rows("z"))
    assert find_dataset(store, "x") == new
    assert find_dataset(store, f"x@{old.version}") == old
    assert load_rows(old) == rows("a", "b")


def test_a_name_that_does_not_exist_lists_those_that_do(store, tmp_path):
    with pytest.raises(NotFound, match="there is: none yet"):
        find_dataset(store, "x")
    kept = keep_dataset(store, tmp_path, "x", rows("a"))
    keep_dataset(store, tmp_path, "y", rows("b"))
    with pytest.raises(NotFound, match="no dataset named 'z'; there is: x, y"):
        find_dataset(store, "z")
    with pytest.raises(NotFound, match=f"there is: x@{kept.version}"):
        find_dataset(store, "x@nope")


@pytest.mark.parametrize("change", [lambda text: text[:-20], lambda text: text.replace(b"ok", b"no"), lambda text: b""])
def test_a_file_that_was_changed_or_cut_says_how_to_rebuild(store, tmp_path, change):
    kept = keep_dataset(store, tmp_path, "x", rows("a", "b"), Made(where=Filter.parse("model = m")))
    path = Path(kept.path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InvalidInput, match=r"altered or cut short.*dataset build x --where 'model = \"m\"'"):
        load_rows(kept)


def test_a_file_that_is_gone_says_how_to_rebuild(store, tmp_path):
    kept = keep_dataset(store, tmp_path, "x", rows("a", "b"))
    Path(kept.path).unlink()
    with pytest.raises(InvalidInput, match=r"cannot read .*Import it again"):
        load_rows(kept)
