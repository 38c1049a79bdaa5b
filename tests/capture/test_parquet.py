"""Parquet by day, and back: not a bit is lost."""

import builtins
from datetime import UTC, datetime, timedelta

import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from journeyman.capture.exports.reading import About, matching
from journeyman.capture.imports.importing import import_files
from journeyman.capture.parquet import feedback_beside, read_parquet, write_parquet
from journeyman.errors import InvalidInput
from journeyman.records import (
    Attempt,
    Choice,
    Exchange,
    Feedback,
    Filter,
    Sampling,
    Tagging,
    Tokens,
    Tool,
    Usage,
    WireExchange,
)
from journeyman.records.message import Message, assistant, call, system, tool_result, user
from journeyman.store.memory import MemoryStore

DAY = datetime(2026, 7, 1, tzinfo=UTC)
TOOL = Tool.model_validate({"function": {"name": "f", "parameters": {"type": "object"}, "strict": True}})


def full(number=0, **fields):
    tokens = Tokens(prompt=(1, 2, 3), reply=(4, 2**31 - 1), logprobs=(-0.1 - 1e-17, -1 / 3))
    told = {
        "id": f"{number:032x}", "at": DAY + timedelta(hours=number, microseconds=7), "model": "support",
        "state": "complete", "upstream": "engine", "served": "base", "adapter": "a@1",
        "messages": (system("sé"), user("hi"), call("c", "f", x=1), tool_result("c", "🙂"),
                     Message.model_validate({"role": "user", "content": [{"type": "text"}], "more": None})),
        "tools": (TOOL,), "sampling": Sampling(temperature=0.1, stop=["a"], top_k=3),  # type: ignore[call-arg]
        "choices": (Choice(message=assistant("yes"), finish_reason="stop", tokens=tokens),
                    Choice(message=assistant("no"))),
        "usage": Usage(prompt_tokens=3, completion_tokens=2, cached_prompt_tokens=1), "cost_usd": 0.1, "latency": 1 / 3,
        "time_to_first_token": 1e-5, "status": 200,
        "attempts": (Attempt(upstream="u", served="s", status=503, error="busy", latency=0.2),), "session": "s",
        "project": "p", "key": "k", "person": "ana", "external_id": "x", "response_id": "r", "trace": "t", "span": "sp",
        "tags": {"b": "1", "a": ""}, "source": "gateway", "fidelity": "exact", "parser": 1,
    }  # fmt: skip
    return Exchange.model_validate({**told, **fields})


def test_everything_survives_in_one_file_a_day(tmp_path):
    kept = [full(number) for number in range(60)] + [Exchange(model="m", state="started", at=DAY + timedelta(days=9))]
    counted = write_parquet(map(WireExchange.of, kept), tmp_path / "out")
    assert counted == (61, 4, 0)
    names = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.parquet"))
    assert names == [f"date=2026-07-{day}/part-0.parquet" for day in ("01", "02", "03", "10")]
    assert [each.exchange() for each in read_parquet(tmp_path / "out")] == kept


def test_others_can_read_it(tmp_path):
    write_parquet([WireExchange.of(full())], tmp_path / "out")
    table = pyarrow.parquet.read_table(tmp_path / "out")
    row = table.to_pylist()[0]
    assert (str(row["date"]), row["model"], row["prompt_tokens"], row["cost_usd"]) == ("2026-07-01", "support", 3, 0.1)
    assert row["reply_ids"] == [[4, 2**31 - 1], None]
    assert row["at"] == DAY + timedelta(microseconds=7)
    metadata = pyarrow.parquet.ParquetFile(tmp_path / "out/date=2026-07-01/part-0.parquet").metadata
    assert metadata.row_group(0).column(0).compression == "ZSTD"


texts = st.text(max_size=8)
extras = st.none() | st.integers(-9, 9) | st.lists(texts, max_size=2)
messages = st.builds(
    lambda text, extra: Message.model_validate({"role": "user", "content": text, "more": extra}), texts, extras
)
tokens = st.builds(
    lambda ids: Tokens(prompt=ids, reply=ids, logprobs=[-each / 7 for each in ids]),
    st.lists(st.integers(0, 2**31 - 1), max_size=3),
)
exchanges = st.builds(
    full,
    number=st.integers(0, 5000),
    messages=st.lists(messages, max_size=3),
    tags=st.dictionaries(texts, texts, max_size=3),
    session=st.none() | texts,
    choices=st.lists(st.builds(Choice, message=messages, tokens=st.none() | tokens), max_size=3),
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(kept=st.lists(exchanges, max_size=4))
def test_any_exchanges_survive(tmp_path_factory, kept):
    folder = tmp_path_factory.mktemp("parquet") / "out"
    write_parquet(map(WireExchange.of, kept), folder)
    assert not kept or sorted(each.exchange().model_dump_json() for each in read_parquet(folder)) == sorted(
        each.model_dump_json() for each in kept
    )


def test_half_surrogate_pairs_survive_in_messages_and_are_replaced_in_names(tmp_path):
    kept = full(messages=(user("\ud800"),), session="s\ud800")
    write_parquet([WireExchange.of(kept)], tmp_path / "out")
    (back,) = read_parquet(tmp_path / "out")
    assert back.messages == [{"role": "user", "content": "\ud800"}]
    assert back.session == "s?"


def test_import_puts_back_what_was_exported(tmp_path):
    kept = [full(number) for number in range(30)]
    write_parquet(map(WireExchange.of, kept), tmp_path / "out")
    store = MemoryStore()
    report = import_files(store, "parquet", [tmp_path / "out"])
    assert (report.exchanges, report.new) == (30, 30)
    assert import_files(store, "parquet", [tmp_path / "out"]).new == 0
    assert store.find(Exchange) == list(reversed(kept))


def test_nothing_is_overwritten_and_nothing_half_written_stays(tmp_path):
    out = tmp_path / "out"
    write_parquet([WireExchange.of(full())], out)
    with pytest.raises(InvalidInput, match="not an empty folder"):
        write_parquet([], out)

    def broken():
        yield WireExchange.of(full())
        raise RuntimeError("the store went away")

    with pytest.raises(RuntimeError):
        write_parquet(broken(), tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_files_that_are_none_of_ours_are_refused(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"nonsense")
    with pytest.raises(InvalidInput, match="cannot read"):
        list(read_parquet(tmp_path))
    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), tmp_path / "a.parquet")
    with pytest.raises(InvalidInput, match="lacks the columns"):
        list(read_parquet(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match=r"no \.parquet file"):
        list(read_parquet(tmp_path / "empty"))


def test_without_pyarrow_the_error_names_the_extra(tmp_path, monkeypatch):
    real = builtins.__import__

    def absent(name, *rest, **options):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(InvalidInput, match=r"journeyman\[parquet\]"):
        write_parquet([], tmp_path / "out")


SAID = [
    Feedback(exchange_id=f"{0:032x}", name="good", value=1 / 3, label="é", reason="🙂", by="ana", at=DAY,
             correction=Message.model_validate({"role": "assistant", "content": "better", "more": [1]})),
    Feedback(session="s", turn=2, name="solved", by="t", at=DAY),
    Feedback(external_id="elsewhere", name="good", value=0.0, by="t", at=DAY),
    Tagging(exchange_id=f"{1:032x}", tags={"a": "1", "b": ""}, by="t", at=DAY),
]  # fmt: skip


def test_feedback_corrections_and_tags_go_with_the_exchanges_and_come_back(tmp_path):
    store, other = MemoryStore(), MemoryStore()
    kept = [full(number, session="s", external_id=None) for number in range(3)]
    store.put(*kept, *SAID)
    about = About(whole=True)
    exchanges = map(WireExchange.of, about.noted(matching(store, None)))
    assert write_parquet(exchanges, tmp_path / "out", lambda: about.said(store)) == (3, 1, 4)
    for _ in range(2):
        report = import_files(other, "parquet", [tmp_path / "out"])
        assert (report.exchanges, report.feedback) == (3, 4)
        assert sorted(other.find(Feedback), key=lambda each: each.id) == sorted(SAID[:3], key=lambda each: each.id)
        assert list(other.find(Tagging)) == SAID[3:]
    # Others read the folder as a table of exchanges.
    assert pyarrow.parquet.read_table(tmp_path / "out").num_rows == 3


def test_of_a_part_of_the_exchanges_only_what_is_about_them(tmp_path):
    store = MemoryStore()
    store.put(full(0, session="s"), full(1, session="another", external_id=None), *SAID)
    about = About(whole=False)
    exchanges = map(WireExchange.of, about.noted(matching(store, Filter.parse("session = s"))))
    assert write_parquet(exchanges, tmp_path / "out", lambda: about.said(store)) == (1, 1, 2)
    assert {each.id for each in feedback_beside(tmp_path / "out")} == {each.id for each in SAID[:2]}


def test_feedback_of_what_was_erased_stays_out(tmp_path):
    store, other = MemoryStore(), MemoryStore()
    store.put(full(0, session="s"), full(1, session="another"), *SAID)
    about = About(whole=True)
    write_parquet(map(WireExchange.of, about.noted(matching(store, None))), tmp_path / "out", lambda: about.said(store))
    report = import_files(other, "parquet", [tmp_path / "out"], is_erased=lambda each: each.session == "s")
    assert (report.erased, report.exchanges) == (1, 1)
    assert {each.id for each in other.find(Feedback)} == {SAID[2].id}
    assert list(other.find(Tagging)) == SAID[3:]
