"""A graph of nodes: what each makes of its rows, and that a build makes anew only what has changed."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from journeyman.config import Settings
from journeyman.datasets.build import build_graph
from journeyman.datasets.nodes import parse_graph, read_graph
from journeyman.datasets.versions import find_dataset, load_rows
from journeyman.errors import InvalidInput, NotFound, Refused, UpstreamFailed
from journeyman.records import Choice, Dataset, Erasure, Exchange, Feedback, Tagging, Usage
from journeyman.records.message import assistant, system, user
from journeyman.store.memory import MemoryStore

AT = datetime(2026, 11, 1, tzinfo=UTC)
SUBJECTS = ["apples", "bridges", "clocks", "dragons", "engines", "forests", "gloves", "harbours", "islands", "jackets"]


@pytest.fixture
def store():
    found = MemoryStore()
    for number, subject in enumerate(SUBJECTS):
        put(found, subject, number)
    return found


def put(store, subject, minute, **fields):
    given = {"model": "weak", "state": "complete", "session": subject, "tags": {"stage": "production"}, **fields}
    asked = (system("Be brief. Never say please."), user(f"Tell me about {subject}, would you?"))
    made = Exchange(
        at=AT + timedelta(minutes=minute),
        messages=asked,
        choices=(Choice(message=assistant(f"{subject} are fine"), finish_reason="stop"),),
        **given,
    )
    store.put(made)
    return made


@pytest.fixture
def build(store, tmp_path):
    """`build(tables)`: the rows by conversation; `build.runs` are the accounts of the nodes by name."""

    def make(tables, name="x"):
        make.runs = {}
        graph = parse_graph(tables, tmp_path)
        settings = Settings(home=tmp_path)
        dataset = build_graph(
            store, tmp_path / "datasets", name, graph, settings, on_node=lambda run: make.runs.update({run.name: run})
        )
        make.dataset = dataset
        return {row.conversation: row for row in load_rows(dataset)}

    return make


def asking(chat_server, **more):
    return {"model": "gpt-4.1", "url": chat_server.url, **more}


ALL = {"source": {"all": {}}}


def test_a_source_alone_is_a_dataset(build, store):
    rows = build(ALL)
    assert set(rows) == set(SUBJECTS)
    assert [run.kind for run in build.dataset.nodes] == ["source"]
    assert store.find(Dataset) == [build.dataset]


def test_a_source_tells_what_its_calls_had_cost(build, store):
    for number in range(3):
        usage = Usage(prompt_tokens=100, completion_tokens=10)
        put(store, f"lamp {number}", 50, tags={"stage": "paid"}, usage=usage, cost_usd=0.5)
    build({"source": {"paid": {"where": "tags.stage = paid"}}})
    assert (build.runs["paid"].tokens, build.runs["paid"].cost_usd) == (330, 1.5)
    build(ALL)
    assert (build.runs["all"].tokens, build.runs["all"].cost_usd) == (330, None)


def test_a_sample_is_the_same_every_time_and_grows_with_the_rate(build, store):
    half = set(build({"source": {"all": {"rate": 0.5}}}))
    assert 0 < len(half) < len(SUBJECTS)
    assert build.runs["all"].left_out == {"not in the sample": len(SUBJECTS) - len(half)}
    assert build.runs["all"].given == len(SUBJECTS)
    assert set(build({"source": {"all": {"rate": 0.5, "where": "model = weak"}}})) == half
    assert set(build({"source": {"all": {"rate": 0.8}}})) > half
    assert set(build({"source": {"all": {"rate": 0.5, "seed": 7}}})) != half


def test_only_what_an_edit_changed_runs_again(build, store, tmp_path):
    (tmp_path / "mine.py").write_text("def keep(row):\n    return 'a' in row.conversation\n")
    tables = {
        **ALL,
        "filter": {"mine": {"from": "all", "code": "mine.py:keep"}},
        "prune": {"short": {"from": "mine", "texts": ["Never say please."]}},
    }
    first = build(tables)
    assert {name: run.reused for name, run in build.runs.items()} == {"all": False, "mine": False, "short": False}
    version = build.dataset.version
    assert build(tables) == first
    assert all(run.reused for run in build.runs.values())
    assert build.dataset.version == version

    tables["prune"]["short"]["texts"] = ["Be brief."]
    build(tables)
    assert {name: run.reused for name, run in build.runs.items()} == {"all": True, "mine": True, "short": False}
    (tmp_path / "mine.py").write_text("def keep(row):\n    return 'a' in row.conversation  # the same\n")
    build(tables)
    # The code has changed, but not what it comes to, so what reads it is still true.
    assert {name: run.reused for name, run in build.runs.items()} == {"all": True, "mine": False, "short": True}


@pytest.mark.parametrize("what", ["exchange", "correction", "tagging"])
def test_what_arrives_in_the_store_makes_the_source_run_again(build, store, what):
    build(ALL)
    first = store.find(Exchange)[-1]
    if what == "exchange":
        put(store, "kettles", 99)
    elif what == "correction":
        store.put(Feedback(name="c", correction=assistant("right"), exchange_id=first.id, by="t"))
    else:
        store.put(Tagging(exchange_id=first.id, tags={"seen": "yes"}, by="t"))
    build(ALL)
    assert not build.runs["all"].reused


def test_a_damaged_file_is_made_again(build, tmp_path):
    rows = build(ALL)
    (kept,) = (tmp_path / "datasets" / "nodes").glob("*.zst")
    kept.write_bytes(kept.read_bytes()[:-20])
    assert build(ALL) == rows
    assert not build.runs["all"].reused


def test_code_decides_and_its_reasons_are_counted(build, tmp_path):
    (tmp_path / "mine.py").write_text(
        "def keep(row):\n    return 'a tale' if row.conversation == 'dragons' else len(row.conversation) > 6\n"
    )
    rows = build({**ALL, "filter": {"mine": {"from": "all", "code": "mine.py:keep"}}})
    assert set(rows) == {each for each in SUBJECTS if len(each) > 6 and each != "dragons"}
    short = sum(len(each) <= 6 for each in SUBJECTS)
    assert build.runs["mine"].left_out == {"a tale": 1, "mine.py:keep said no": short}
    assert build.dataset.reasons == {"a tale": 1, "mine.py:keep said no": short}


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def keep(row):\n    return 1 / 0", "failed on the conversation apples: ZeroDivisionError"),
        ("def keep(row):\n    return None", "returned None for apples"),
        ("def other(row): ...", "defines no function 'keep'"),
        ("def (", "cannot be run: SyntaxError"),
    ],
)
def test_code_that_cannot_be_used_is_named(build, tmp_path, code, says):
    (tmp_path / "mine.py").write_text(code)
    with pytest.raises(InvalidInput, match=says):
        build({**ALL, "filter": {"mine": {"from": "all", "code": "mine.py:keep"}}})


def test_a_filter_over_calls_leaves_out_rows_of_other_calls(build, store):
    store.put(Feedback(name="success", value=1, session="apples", by="t"))
    store.put(Feedback(name="success", value=1, session="bridges", by="t"))
    store.put(Feedback(name="success", value=0, session="clocks", by="t"))
    rows = build({**ALL, "filter": {"good": {"from": "all", "where": "feedback.success = 1"}}})
    assert set(rows) == {"apples", "bridges"}
    assert build.runs["good"].left_out == {"its call does not match feedback.success = 1": 8}


def test_a_criterion_is_put_to_a_model_which_answers_yes_or_no(build, chat_server):
    def say(asked):
        about = asked["messages"][-1]["content"]
        if "apples" in about:
            return "I think so, yes"
        return "No." if "bridges" in about else "**Yes**"

    chat_server.script = say
    tables = {**ALL, "filter": {"ok": {"from": "all", "criterion": "It is about things.", **asking(chat_server)}}}
    rows = build(tables)
    assert set(rows) == set(SUBJECTS) - {"apples", "bridges"}
    run = build.runs["ok"]
    assert run.left_out == {"it does not meet the criterion": 1, "the model gave no verdict": 1}
    assert run.errors == ("apples: the model answered 'I think so, yes', which is neither yes nor no",)
    assert all("Criterion: It is about things." in text for text in chat_server.texts())
    assert chat_server.asked[0]["temperature"] == 0
    assert (run.asked, run.tokens) == (10, 11000)
    assert run.cost_usd == pytest.approx(10 * (1000 * 2 + 100 * 8) / 1e6)


def test_relabelling_takes_the_place_of_the_last_reply(build, chat_server, monkeypatch):
    monkeypatch.setenv("KEY", "secret")
    chat_server.script = lambda asked: "better: " + asked["messages"][-1]["content"]
    tables = {**ALL, "relabel": {"new": {"from": "all", **asking(chat_server, key_env="KEY", system="Be thorough.")}}}
    rows = build(tables)
    assert rows["apples"].messages[-1] == assistant("better: Tell me about apples, would you?")
    assert rows["apples"].messages[0] == system("Be brief. Never say please.")
    assert all(asked["messages"][0]["content"] == "Be thorough." for asked in chat_server.asked)
    assert all("temperature" not in asked for asked in chat_server.asked)
    assert chat_server.headers[0]["authorization"] == "Bearer secret"
    assert (build.runs["new"].changed, build.runs["new"].asked) == (10, 10)
    assert chat_server.most_at_once <= 8


def test_a_row_that_fails_is_told_and_asked_again_alone(build, chat_server):
    bad = (400, {"error": {"message": "content filter"}}, {})
    chat_server.script = lambda asked: bad if "clocks" in asked["messages"][-1]["content"] else "better"
    tables = {**ALL, "relabel": {"new": {"from": "all", **asking(chat_server)}}}
    rows = build(tables)
    assert "clocks" not in rows
    assert build.runs["new"].errors == ("clocks: content filter",)
    assert build.dataset.reasons == {"the model gave no answer to learn": 1}
    chat_server.script, chat_server.asked = lambda asked: "better", []
    assert "clocks" in build(tables)
    assert ["clocks" in text for text in chat_server.texts()] == [True]
    assert (build.runs["new"].asked, build.runs["new"].tokens) == (1, 11000)
    assert build.runs["new"].spent_usd == pytest.approx(build.runs["new"].cost_usd / 10)
    build(tables)
    assert build.runs["new"].reused
    assert (build.runs["new"].asked, build.runs["new"].spent_usd) == (0, 0)


def test_a_build_that_broke_off_keeps_the_answers_it_paid_for(build, chat_server, store, tmp_path):
    answered = []

    def say(asked):
        if len(answered) == 4:
            return 404, {"error": {"message": "gone"}}, {}
        answered.append(asked["messages"][-1]["content"])
        return "better"

    chat_server.script = say
    tables = {**ALL, "relabel": {"new": {"from": "all", **asking(chat_server, concurrency=1)}}}
    with pytest.raises(NotFound, match="gone"):
        build(tables)
    assert store.find(Dataset) == []
    book = next((tmp_path / "datasets" / "nodes").glob("answers-*"))
    book.write_bytes(book.read_bytes()[:-10])  # killed while it wrote the fourth
    chat_server.script, chat_server.asked = lambda asked: "better", []
    assert len(build(tables)) == 10
    assert len(chat_server.asked) == 7
    assert not set(answered[:3]) & set(chat_server.texts())
    chat_server.asked = []
    put(store, "kettles", 99)
    assert len(build(tables)) == 11
    assert chat_server.texts() == ["Tell me about kettles, would you?"]


def test_a_busy_server_is_asked_again_and_not_faster_than_allowed(build, chat_server):
    seen = set()

    def say(asked):
        about = asked["messages"][-1]["content"]
        if about not in seen:
            seen.add(about)
            return 429, {"error": {"message": "slow down"}}, {"retry-after": "0"}
        return "better"

    chat_server.script = say
    build({**ALL, "relabel": {"new": {"from": "all", **asking(chat_server, requests_per_minute=1200, tries=2)}}})
    assert len(chat_server.asked) == 20
    assert build.runs["new"].kept == 10
    # 50 ms apart; the threads of a busy machine may see two of them closer, but not all.
    assert chat_server.times[-1] - chat_server.times[0] > 15 * 0.05


def test_a_server_that_answers_nothing_stops_the_build_at_once(build, chat_server):
    chat_server.script = lambda asked: (401, {"error": {"message": "wrong key"}}, {})
    with pytest.raises(UpstreamFailed, match=r"none was answered: .*wrong key.*check `url`"):
        build({**ALL, "relabel": {"new": {"from": "all", **asking(chat_server, tries=1, concurrency=1)}}})
    assert len(chat_server.asked) == 5


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"content": "begi", "finish_reason": "length"}, "was cut off"),
        ({"content": ""}, "has neither content nor tool calls"),
    ],
)
def test_a_new_reply_that_cannot_be_learned_is_left_out(build, chat_server, said, problem):
    chat_server.script = lambda asked: dict(said) if "clocks" in asked["messages"][-1]["content"] else "better"
    rows = build({**ALL, "relabel": {"new": {"from": "all", **asking(chat_server)}}})
    assert "clocks" not in rows
    assert problem in build.runs["new"].errors[0]


def test_a_key_that_is_not_set_is_named(build, chat_server, monkeypatch):
    monkeypatch.delenv("NO_KEY", raising=False)
    with pytest.raises(InvalidInput, match="NO_KEY is not set; nothing was asked"):
        build({**ALL, "relabel": {"new": {"from": "all", **asking(chat_server, key_env="NO_KEY")}}})


def test_what_people_wrote_stays_and_comes_last(build, store, chat_server):
    by_session = {each.session: each for each in store.find(Exchange)}
    store.put(Feedback(name="c", correction=assistant("a person's"), exchange_id=by_session["apples"].id, by="t"))
    chat_server.script = lambda asked: "a model's"
    tables = {**ALL, "relabel": {"new": {"from": "all", **asking(chat_server)}}}
    rows = build(tables)
    assert (rows["apples"].messages[-1].text, rows["clocks"].messages[-1].text) == ("a person's", "a model's")
    assert len(chat_server.asked) == 9

    tables["source"] = {"all": {"corrections": False}}
    tables["correct"] = {"last": {"from": "new"}}
    rows = build(tables)
    assert (rows["apples"].messages[-1].text, rows["clocks"].messages[-1].text) == ("a person's", "a model's")
    assert build.runs["last"].changed == 1


def test_the_calls_of_a_build_are_not_taken_into_datasets(build, store):
    put(store, "kettles", 50, tags={"stage": "dataset"})
    assert "kettles" not in build(ALL)
    assert "kettles" in build({"source": {"all": {"where": 'tags.stage = dataset or model = "weak"'}}})


def test_pruned_text_is_gone_counted_and_kept_with_the_dataset(build, store):
    rows = build({**ALL, "prune": {"short": {"from": "all", "texts": ["Never say please.", ", would you"]}}})
    assert rows["apples"].messages[:2] == (system("Be brief."), user("Tell me about apples?"))
    assert build.dataset.pruning == ("Never say please.", ", would you")
    assert build.runs["short"].tokens_saved > 0
    assert load_rows(find_dataset(store, "x"))
    other = build({**ALL, "prune": {"short": {"from": "all", "texts": ["Never say please.", ", would you", "zzz"]}}})
    assert other == rows
    assert build.runs["short"].errors == ("no prompt holds 'zzz', so nothing was saved by it",)
    assert len({each.version for each in store.find(Dataset)}) == 2


def test_every_branch_must_be_pruned(build):
    tables = {
        "source": {"a": {"where": "session < d"}, "b": {"where": "session >= d"}},
        "prune": {"short": {"from": "a", "texts": ["Never say please."]}},
        "dataset": {"from": ["short", "b"]},
    }
    with pytest.raises(InvalidInput, match="7 rows still hold text that another branch"):
        build(tables)


def test_nearly_the_same_is_kept_once(build, store):
    long = " ".join(f"word{number}" for number in range(60))
    put(store, f"one {long}", 70, session="one")
    put(store, f"one {long} more", 71, session="two")
    rows = build({**ALL, "near": {"distinct": {"from": "all", "likeness": 0.8}}})
    assert ("one" in rows, "two" in rows) == (True, False)
    assert build.runs["distinct"].left_out == {"at least 0.8 like another": 1}


def test_sources_and_imports_come_together(build, tmp_path):
    line = {"messages": [user("How old is gold?").wire(), assistant("Very.").wire()], "conversation": "gold"}
    (tmp_path / "mine.jsonl").write_text(json.dumps(line))
    tables = {**ALL, "import": {"golden": {"path": "mine.jsonl"}}, "dataset": {"from": ["all", "golden"]}}
    assert set(build(tables)) == {*SUBJECTS, "gold"}
    assert build.runs["golden"].kept == 1
    (tmp_path / "mine.jsonl").write_text(json.dumps({**line, "conversation": "silver"}))
    assert "silver" in build(tables)
    assert not build.runs["golden"].reused


def test_rows_of_erased_calls_are_left_out_wherever_they_come_from(build, store, tmp_path):
    store.put(Erasure(what="session", who="h", exchanges=("e1",), by="t"))
    lines = [
        {"messages": [user(f"q {n}").wire(), assistant("a").wire()], "conversation": f"c{n}", "source": f"e{n}"}
        for n in range(4)
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    assert set(build({"import": {"old": {"path": "mine.jsonl"}}})) == {"c0", "c2", "c3"}
    assert build.dataset.reasons == {"erased": 1}


def near_files(tmp_path):
    words = " ".join(f"word{number}" for number in range(60))
    lines = [("a", "train", f"{words} x"), ("b", "validation", f"{words} y"), ("c", "train", "quite another thing")]
    rows = [
        {"messages": [user(text).wire(), assistant("ok").wire()], "conversation": name, "split": split}
        for name, split, text in lines
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return {"import": {"mine": {"path": "mine.jsonl"}}, "dataset": {"from": "mine"}}


def test_near_leaks_are_told_dropped_or_refused(build, tmp_path):
    tables = near_files(tmp_path)
    assert set(build(tables)) == {"a", "b", "c"}
    assert build.dataset.near_leaks == 1
    tables["dataset"]["leaks"] = "drop"
    assert set(build(tables)) == {"b", "c"}
    assert build.dataset.near_leaks == 0
    assert build.dataset.reasons == {"almost a conversation that is held out": 1}
    tables["dataset"]["leaks"] = "refuse"
    with pytest.raises(Refused, match=r"at least 0\.8 like one that is held out, such as a"):
        build(tables)


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ({}, "defines no node"),
        ({"sauce": {"a": {}}}, "unknown sauce; there is: source, import"),
        ({"source": {"a": {"wear": "x"}}}, r"\[source.a\] wear: Extra inputs"),
        ({"source": {"a": {"where": "model ="}}}, r"\[source.a\] filter 'model ='"),
        ({"source": {"a": {"rate": 0}}}, r"\[source.a\] rate: Input should be greater than 0"),
        ({"source": {"a": {"from": "b"}}}, r"\[source.a\]"),
        ({"source": "all"}, "give each node a name"),
        ({**ALL, "filter": {"all": {"from": "all", "where": "a = 1"}}}, "two nodes are called 'all'"),
        ({**ALL, "filter": {"f": {"from": "all"}}}, r"\[filter.f\] a filter needs `where`, `code` or `criterion`"),
        ({**ALL, "filter": {"f": {"from": "all", "criterion": "c"}}}, "needs a `model`"),
        ({**ALL, "filter": {"f": {"from": "all", "code": "keep"}}}, "FILE.py:FUNCTION"),
        ({**ALL, "relabel": {"r": {"from": "all"}}}, r"\[relabel.r\] asking: Field required"),
        ({**ALL, "prune": {"p": {"from": "all", "texts": [" "]}}}, "a pruning rule is blank"),
        ({**ALL, "near": {"n": {"from": "all", "likeness": 0.1}}}, "greater than or equal to 0.7"),
        ({**ALL, "near": {"n": {"from": "al"}}}, "reads 'al', which is not defined; there is: all, n"),
        ({"near": {"n": {"from": "m"}, "m": {"from": "n"}}, "dataset": {"from": "n"}}, "n → m → n is a circle"),
        ({"source": {"a": {}, "b": {}}}, "say under .dataset. which nodes"),
        ({"source": {"a": {}, "b": {}}, "dataset": {"from": "a"}}, "nothing reads b"),
        ({**ALL, "dataset": {"validation": 1}}, "validation: Input should be less than 1"),
        ({**ALL, "dataset": {"leaks": "hide"}}, "leaks: String should match"),
    ],
)
def test_a_graph_that_cannot_be_used_says_why(tables, says):
    with pytest.raises(InvalidInput, match=says):
        parse_graph(tables)


def test_a_file_that_is_no_toml_is_named(tmp_path):
    with pytest.raises(InvalidInput, match="cannot read"):
        read_graph(tmp_path / "gone.toml")
    (tmp_path / "bad.toml").write_text("[source")
    with pytest.raises(InvalidInput, match="is not TOML"):
        read_graph(tmp_path / "bad.toml")
    (tmp_path / "good.toml").write_text("[source.all]\n[dataset]\nseed = 3\n")
    graph = read_graph(tmp_path / "good.toml")
    assert (graph.folder, graph.output.seed, graph.output.inputs) == (tmp_path, 3, ("all",))
