"""A whole import: into a real database, twice, with broken rows, in bounded memory."""

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from journeyman.capture.erasure import Erasures, Target, erase
from journeyman.capture.imports.importing import MOST_PROBLEMS, import_files
from journeyman.errors import InvalidInput, NotFound
from journeyman.records import Exchange, Feedback, Filter
from journeyman.store.sql import SqlStore


@pytest.fixture
def store(tmp_path):
    opened = SqlStore(f"sqlite:///{tmp_path / 'store.db'}")
    yield opened
    opened.close()


def chat(number):
    return {"messages": [{"role": "user", "content": f"q {number}"}, {"role": "assistant", "content": f"a {number}"}]}


def written(path, rows, name="rows.jsonl"):
    target = path / name
    target.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return target


def test_importing_twice_stores_once(store, tmp_path):
    file = written(tmp_path, [chat(number) for number in range(1200)])
    first = import_files(store, "openai-chat", [file], tags={"batch": "gold"})
    again = import_files(store, "openai-chat", [file])
    assert (first.rows, first.exchanges, first.new, again.new) == (1200, 1200, 1200, 0)
    assert first.fidelity == {"lossy": 1200}
    assert store.count(Exchange, Filter.parse("tags.batch = gold and source = import:openai-chat")) == {"": 1200}


def test_rows_without_a_time_keep_the_files_order(store, tmp_path):
    import_files(store, "openai-chat", [written(tmp_path, [chat(number) for number in range(20)])])
    said = [each.reply.text for each in reversed(store.find(Exchange))]
    assert said == [f"a {number}" for number in range(20)]


def test_broken_rows_are_reported_and_the_good_are_kept(store, tmp_path):
    rows = [chat(0), "{broken", {"messages": []}, chat(1), *["[]"] * 30]
    report = import_files(store, "openai-chat", [written(tmp_path, rows)])
    assert (report.exchanges, report.bad, len(report.problems), report.good) == (2, 32, MOST_PROBLEMS, 2)
    assert str(report.problems[0]).startswith("rows.jsonl, line 2: is not JSON")
    assert str(report.problems[1]) == "rows.jsonl, line 3: has no list of messages"
    assert store.count(Exchange) == {"": 2}


TALK = chat(0)["messages"]
SCORED = {
    "art": lambda score: {"messages_and_choices": TALK, "reward": score, "metrics": {"turns": 1}},
    "openpipe": lambda score: {"messages": TALK, "criteria": {"tone": {"score": score}}},
    "helicone": lambda score: {
        "request_id": f"r-{score}", "request_body": {"messages": TALK[:1]},
        "response_body": {"choices": [{"index": 0, "message": TALK[1]}]}, "scores": {"tone": score},
    },
    "tensorzero": lambda score: {"metric_name": "tone", "target_id": "t", "id": f"i-{score}", "value": score},
    "langfuse": lambda score: {"id": f"z-{score}", "name": "tone", "value": score, "traceId": "t"},
}  # fmt: skip


@pytest.mark.parametrize("format", SCORED)
def test_a_score_that_is_no_number_is_refused_by_its_line_and_the_others_are_kept(store, tmp_path, format):
    row = SCORED[format]
    scores = [0.5, float("nan"), float("inf"), -1e9, float("-inf")]
    report = import_files(store, format, [written(tmp_path, [row(score) for score in scores])])
    assert [problem.line for problem in report.problems] == [2, 3, 5]
    assert all(re.search(r"has the score \w+ = (nan|-?inf)", problem.reason) for problem in report.problems)
    kept = [each.value for each in store.find(Feedback) if each.name in ("reward", "tone")]
    assert sorted(kept) == [-1e9, 0.5]


def test_a_nan_that_is_no_score_does_no_harm(store, tmp_path):
    row = {**chat(0), "temperature": float("nan"), "metadata": {"x": float("nan"), "y": "1"}}
    assert import_files(store, "openpipe", [written(tmp_path, [row])]).exchanges == 1
    (made,) = store.find(Exchange)
    assert made.tags == {"y": "1"}


def test_without_a_store_nothing_is_stored(tmp_path):
    report = import_files(None, "openai-chat", [written(tmp_path, [chat(0)])])
    assert (report.exchanges, report.new) == (1, None)


def test_a_call_that_is_spread_over_files_is_put_together(store, tmp_path):
    trace = {"id": "t", "timestamp": "2026-07-01T10:00:00Z", "sessionId": "s", "userId": "ana", "tags": []}
    observation = {"id": "o", "type": "GENERATION", "traceId": "t", "startTime": "2026-07-01T10:00:00Z",
                   "input": chat(0)["messages"][:1], "output": chat(0)["messages"][1]}  # fmt: skip
    score = {"id": "z", "name": "good", "value": 1, "traceId": "t", "dataType": "NUMERIC"}
    files = [
        written(tmp_path, [row], f"{name}.jsonl") for name, row in (("o", observation), ("s", score), ("t", trace))
    ]
    report = import_files(store, "langfuse", files)
    (made,), (given,) = store.find(Exchange), store.find(Feedback)
    assert (made.session, made.person, given.session) == ("s", "ana", "s")
    assert (report.exchanges, report.feedback, report.passed_over) == (1, 1, 1)


def test_what_was_erased_does_not_come_back(store, tmp_path):
    row = {"request_id": "r", "request_created_at": "2026-07-01T10:00:00Z", "request_body": {"messages": []},
           "response_body": {}, "request_user_id": "ana"}  # fmt: skip
    file = written(tmp_path, [row])
    import_files(store, "helicone", [file])
    erase(store, Target("person", "ana"), "test")
    report = import_files(store, "helicone", [file], is_erased=Erasures(store).is_erased)
    assert (report.erased, report.exchanges, store.count(Exchange)) == (1, 0, {"": 0})


def test_progress_is_told_of_long_files(tmp_path):
    file = tmp_path / "rows.jsonl.gz"
    file.write_bytes(gzip.compress("".join(json.dumps(chat(number)) + "\n" for number in range(60_000)).encode()))
    told = []
    import_files(None, "openai-chat", [file], progress=lambda path, share: told.append(share))
    assert all(0 < share <= 1 for share in told)
    assert told == sorted(told)


def test_a_format_or_a_file_that_is_not_there(store, tmp_path):
    with pytest.raises(NotFound, match="helicone"):
        import_files(store, "nonesuch", [])
    with pytest.raises(InvalidInput, match="not a file"):
        import_files(store, "openai-chat", [tmp_path])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc")
def test_memory_does_not_grow_with_the_file(tmp_path):
    """The same program over a file twenty times as long takes hardly more memory."""
    program = (
        "import sys; from pathlib import Path; from journeyman.capture.imports.importing import import_files;"
        "import_files(None, 'openai-chat', [Path(sys.argv[1])]);"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    row = json.dumps({"messages": [*chat(0)["messages"][:1], {"role": "assistant", "content": "x" * 4000}]}) + "\n"
    peaks = []
    for rows in (1_000, 20_000):
        file = tmp_path / f"{rows}.jsonl"
        with file.open("w") as lines:
            for _ in range(rows):
                lines.write(row)
        done = subprocess.run([sys.executable, "-c", program, file], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < 10_000, f"{peaks} kilobytes, for 4 and 80 MB"
