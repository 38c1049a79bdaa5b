"""`journeyman eval` against a real HTTP server, with a suite of the user's own."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from journeyman.cli.eval import eval_command, priced_as, stands_for
from journeyman.cli.versus import versus_command
from journeyman.config import Settings
from journeyman.environments.suites import load_suite
from journeyman.errors import InvalidInput, NotFound, UpstreamFailed
from journeyman.records import Adapter, EvalReport, Promotion
from journeyman.store.memory import MemoryStore
from journeyman.store.sql import open_store

app = typer.Typer()
app.command("eval")(eval_command)
app.command("versus")(versus_command)

SUITE = '''
from journeyman.environments.environment import Observation
from journeyman.records import Scenario, Score
from journeyman.records.message import user


class Echo:
    """Succeeds when the agent repeats the word."""

    def __init__(self, word):
        self.word, self.said = word, ""

    async def start(self):
        return Observation(messages=(user(self.word),))

    async def step(self, reply):
        self.said = reply.text
        return Observation(done=True)

    def fork(self, n):
        raise NotImplementedError

    def score(self):
        return (Score(name="success", value=float(self.said == self.word)),)

    async def close(self):
        pass


class Echoes:
    name = "echoes"

    def scenarios(self, split, count, seed):
        return [Scenario(id=f"{split}-{seed}-{i}", environment="echoes", kind="word", data={"word": f"word {i}"})
                for i in range(count)]

    def environment(self, scenario):
        return Echo(scenario.data["word"])


ready_made = Echoes()
'''


def verdict(shown: str) -> str:
    """What the judge says: whichever answer repeats the question, or passes if it does."""
    if not shown.startswith("{"):
        return ""
    found = json.loads(shown)
    if "answer" in found:
        word = "pass" if found["answer"] in found["conversation"] else "fail"
    else:
        word = "A" if found["answer_A"] in found["conversation"] else "B"
    return json.dumps({"reason": "so it is", "verdict": word})


class Answers(BaseHTTPRequestHandler):
    """A chat server: `parrot` repeats, `mute` says nothing of use, `judge` prefers what was asked for."""

    calls = 0
    fails_after = 10**9

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        Answers.calls += 1
        if Answers.calls > Answers.fails_after:
            os.kill(os.getpid(), signal.SIGINT)
        last = request["messages"][-1]["content"]
        said = {"parrot": last, "mute": "...", "judge": verdict(last)}.get(request["model"])
        if said is None:
            self._send(404, {"error": {"message": "no such model; there is: parrot, mute", "type": "not_found"}})
            return
        choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
        self._send(200, {"id": "1", "object": "chat.completion", "created": 0, "model": request["model"],
                         "choices": [choice], "usage": usage})  # fmt: skip

    def _send(self, status: int, answer: object) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Tests keep their output to themselves."""


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder, and a working folder with a suite in it."""
    Answers.calls, Answers.fails_after = 0, 10**9
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "my_suite.py").write_text(SUITE)
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.syspath_prepend(str(tmp_path / "work"))
    monkeypatch.setenv("JOURNEYMAN_HOME", str(tmp_path / "home"))
    return tmp_path


def evaluate(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(
        app, ["eval", "--environment", "my_suite:Echoes", "--base-url", url, "--seed", "5", *arguments]
    )


def test_the_report_is_printed_kept_and_written(url: str, place: Path) -> None:
    result = evaluate(url, "--models", "mute,parrot", "--count", "12", "--out", str(place / "out"))
    assert result.exit_code == 0, result.output
    assert "| parrot | 100.0% (" in result.output
    assert "| parrot | mute | +100.0 points (" in result.output
    (page,) = (place / "out").glob("*.md")
    (data,) = (place / "out").glob("*.json")
    report = EvalReport.model_validate_json(data.read_text())
    assert open_store(Settings()).get(EvalReport, report.id) == report
    assert page.read_text() in result.output
    assert (report.seed, len(report.models[0].cases)) == (5, 12)


def test_files_go_to_the_home_folder_by_default(url: str, place: Path) -> None:
    evaluate(url, "--models", "parrot", "--count", "2")
    endings = sorted(path.name.partition(".")[2] for path in (place / "home" / "evals").iterdir())
    assert endings == ["html", "json", "md", "transcripts.jsonl", "xml"]


def test_an_unknown_model_is_told_which_exist_and_nothing_is_kept(url: str) -> None:
    result = evaluate(url, "--models", "parrot,parot", "--count", "5")
    assert isinstance(result.exception, NotFound)
    assert "there is: parrot, mute" in str(result.exception)
    assert open_store(Settings()).find(EvalReport) == []


def test_a_server_that_is_not_there_is_named() -> None:
    result = evaluate("http://127.0.0.1:9/v1", "--models", "parrot", "--count", "2")
    assert isinstance(result.exception, UpstreamFailed)
    assert "127.0.0.1:9" in str(result.exception)


def test_the_bank_is_known_by_name() -> None:
    suite = load_suite("bank")
    assert suite.name == "bank"
    assert len(suite.scenarios("held-out", 3, 1)) == 3


def test_a_suite_can_be_a_class_or_ready_made() -> None:
    assert load_suite("my_suite:Echoes").name == load_suite("my_suite:ready_made").name == "echoes"


def test_an_unknown_environment_is_told_what_exists() -> None:
    with pytest.raises(NotFound, match=r"'casino'; there is: .*bank, .*module:attribute"):
        load_suite("casino")


@pytest.mark.parametrize("name", ["no_such_module:Suite", "my_suite:NoSuchSuite", "json:dumps"])
def test_what_is_no_suite_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=name.replace(":", ".")):
        load_suite(name)


def test_an_adapter_and_its_alias_cost_what_the_base_costs() -> None:
    store = MemoryStore()
    store.put(Adapter(id="a1", name="bank-1", base="smollm2-135m", rank=16, path="p", template="1"))
    store.put(Promotion(alias="support", target="a1", forced="test"))
    models = ["bank-1", "a1", "support", "smollm2-135m", "openai/gpt-4.1"]
    assert priced_as(store, models) == dict.fromkeys(["bank-1", "a1", "support"], ("smollm2-135m", "a1", "bank-1"))
    assert stands_for(store, models) == {
        **dict.fromkeys(["bank-1", "a1", "support"], "a1"),
        "smollm2-135m": "smollm2-135m",
        "openai/gpt-4.1": "openai/gpt-4.1",
    }


CASES = """
[[cases]]
id = "a"
messages = [{role = "user", content = "word a"}]
check = {type = "exact", answer = "word a"}

[[cases]]
id = "b"
messages = [{role = "user", content = "word b"}]
check = {type = "judge", rubric = "It repeats."}
"""


def measure(url: str, *arguments: str) -> Result:
    (Path.cwd() / "suite.toml").write_text(CASES)
    return CliRunner().invoke(app, [*arguments, "--cases", "suite.toml", "--base-url", url])


def test_cases_in_a_file_are_measured_and_judged(url: str, place: Path) -> None:
    result = measure(url, "eval", "--models", "mute,parrot", "--judge", "judge", "--out", str(place / "out"))
    assert result.exit_code == 0, result.output
    assert "2 models on the same 2 held-out cases" in result.output
    assert "judge: judge, rubric" in result.output
    report = open_store(Settings()).find(EvalReport)[0]
    assert [model.success.estimate for model in report.models] == [0.0, 1.0]
    assert len(report.suite_hash) == 12


def test_the_settings_prices_count(url: str, place: Path) -> None:
    (place / "home").mkdir()
    (place / "home" / "journeyman.toml").write_text("[prices.parrot]\ninput = 100\noutput = 1000\n")
    result = evaluate(url, "--models", "parrot", "--count", "2")
    assert result.exit_code == 0, result.output
    (report,) = open_store(Settings()).find(EvalReport)
    assert report.models[0].cost_usd_per_thousand == pytest.approx(1000 * (10 * 100 + 2 * 1000) / 1e6)
    assert "the settings of this installation" in report.prices["parrot"]


def test_a_cost_ceiling_says_what_was_left(url: str, place: Path) -> None:
    (place / "home").mkdir()
    (place / "home" / "journeyman.toml").write_text("[prices.parrot]\ninput = 100\noutput = 1000\n")
    more = ("--models", "parrot", "--count", "10", "--concurrency", "1")
    result = evaluate(url, *more, "--max-cost", "0.010")
    assert result.exit_code == 0, result.output
    assert "The cost ceiling was reached; not measured: 7 cases of parrot." in result.output
    assert evaluate(url, *more, "--max-cost", "1").exit_code == 0
    assert Answers.calls == 10
    newest, first = open_store(Settings()).find(EvalReport)
    assert {len(first.models[0].cases), len(newest.models[0].cases)} == {3, 10}


def test_an_interrupted_evaluation_goes_on(url: str) -> None:
    more = ("--models", "parrot", "--count", "8", "--concurrency", "1")
    Answers.fails_after = 5
    # A shell's background job begins with interrupts ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    result = evaluate(url, *more)
    assert result.exit_code != 0
    assert "5 finished cases are kept; run the same command again" in result.output
    assert open_store(Settings()).find(EvalReport) == []
    Answers.calls, Answers.fails_after = 0, 10**9
    result = evaluate(url, *more)
    assert result.exit_code == 0, result.output
    assert Answers.calls == 3
    assert "5 cases come from an interrupted run" in result.output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--models", "parrot"], "--judge MODEL"),
        (["--models", "parrot", "--environment", "bank"], "either --environment, or --cases"),
    ],
)
def test_options_that_do_not_fit_are_refused(url: str, arguments: list[str], complaint: str) -> None:
    result = measure(url, "eval", *arguments)
    assert isinstance(result.exception, InvalidInput)
    assert complaint in str(result.exception)
    assert Answers.calls == 0


def test_a_judge_that_nobody_asks_is_refused(url: str) -> None:
    result = evaluate(url, "--models", "parrot", "--judge", "judge")
    assert "no case of echoes asks for a judge" in str(result.exception)


def test_two_models_meet_head_to_head(url: str, place: Path) -> None:
    result = measure(url, "versus", "parrot", "mute", "--judge", "judge", "--out", str(place / "out"))
    assert result.exit_code == 0, result.output
    assert "| 2 | 0 | 0 | +100.0 points (" in result.output
    assert sorted(path.name.partition(".")[2] for path in (place / "out").iterdir()) == [
        "html", "json", "md", "transcripts.jsonl",
    ]  # fmt: skip
