"""`journeyman eval` against a real HTTP server, with a suite of the user's own."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from journeyman.cli.eval import eval_command, load_suite, priced_as
from journeyman.config import Settings
from journeyman.errors import InvalidInput, NotFound, UpstreamFailed
from journeyman.records import Adapter, EvalReport, Promotion
from journeyman.store.memory import MemoryStore
from journeyman.store.sql import open_store

app = typer.Typer()
app.command("eval")(eval_command)

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


class Answers(BaseHTTPRequestHandler):
    """A chat server with two models: `parrot` repeats, `mute` says nothing of use."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        said = {"parrot": request["messages"][-1]["content"], "mute": "..."}.get(request["model"])
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
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "my_suite.py").write_text(SUITE)
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.syspath_prepend(str(tmp_path / "work"))
    monkeypatch.setenv("JOURNEYMAN_HOME", str(tmp_path / "home"))
    return tmp_path


def evaluate(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["--environment", "my_suite:Echoes", "--base-url", url, "--seed", "5", *arguments])


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
    assert len(list((place / "home" / "evals").iterdir())) == 2


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
    with pytest.raises(NotFound, match=r"'casino'; there is: bank.*module:attribute"):
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
    assert priced_as(store, models) == dict.fromkeys(["bank-1", "a1", "support"], "smollm2-135m")
