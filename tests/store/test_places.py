"""A home folder can be moved: what its records name moves with it."""

import shutil
from contextlib import closing
from pathlib import Path

from journeyman.config import Settings
from journeyman.records import Adapter
from journeyman.store.sql import SqlStore, open_store


def an_adapter(name: str, path: Path) -> Adapter:
    return Adapter(id=name, name=name, base="base", rank=1, path=str(path), template="t")


def test_a_home_that_was_moved_finds_its_files(tmp_path):
    home, moved = tmp_path / "home", tmp_path / "elsewhere" / "home"
    folder, outside = home / "adapters" / "Zoë\0@1", tmp_path / "outside"
    plain = home / "adapters" / "a@2"
    plain.mkdir(parents=True)
    outside.mkdir()
    with closing(open_store(Settings(home=home))) as store:
        store.put(an_adapter("odd", folder), an_adapter("plain", plain), an_adapter("outside", outside))
        assert store.get(Adapter, "plain").path == str(plain)
    moved.parent.mkdir()
    shutil.move(home, moved)
    with closing(open_store(Settings(home=moved))) as store:
        paths = {adapter.id: adapter.path for adapter in store.find(Adapter)}
    assert paths == {
        "odd": str(moved / "adapters" / "Zoë\0@1"), "plain": str(moved / "adapters" / "a@2"), "outside": str(outside),
    }  # fmt: skip
    assert Path(paths["plain"]).is_dir()


def test_records_with_whole_paths_are_read_as_they_were_written(tmp_path):
    settings = Settings(home=tmp_path / "home")
    folder = settings.home / "adapters" / "a"
    folder.mkdir(parents=True)
    with closing(SqlStore(settings.database)) as older:
        older.put(an_adapter("a", folder))
    with closing(open_store(settings)) as store:
        assert store.get(Adapter, "a").path == str(folder)


def test_a_home_named_from_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with closing(open_store(Settings(home=Path("home")))) as store:
        store.put(an_adapter("a", Path("home/adapters/a")), an_adapter("b", tmp_path / "home" / "adapters" / "b"))
    with closing(open_store(Settings(home=tmp_path / "home"))) as store:
        assert {each.path for each in store.find(Adapter)} == {
            str(tmp_path / "home" / "adapters" / "a"), str(tmp_path / "home" / "adapters" / "b"),
        }  # fmt: skip
