"""`journeyman judge card` against a real HTTP server: what it keeps, and that a gate of the same name can read it."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from journeyman.cli.main import app
from journeyman.config import Settings
from journeyman.errors import InvalidInput, NotFound, UpstreamFailed
from journeyman.records import JudgeCard
from journeyman.rewards.judge import rubric_hash
from journeyman.store.sql import open_store


class Judges(BaseHTTPRequestHandler):
    """A chat server whose model `judge` likes the larger number, in every form; `mute` gives no verdict."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        shown = json.loads(request["messages"][1]["content"])
        said = "Hm." if request["model"] == "mute" else json.dumps(self.verdict(shown))
        choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
        body = json.dumps({"id": "1", "object": "chat.completion", "created": 0, "model": request["model"],
                           "choices": [choice], "usage": usage}).encode()  # fmt: skip
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    @staticmethod
    def verdict(shown: dict) -> dict:
        if "attempts" in shown:
            scores = {each["id"]: int(each["messages"][-1]["content"]) / 10 for each in shown["attempts"]}
            return {
                "attempts": [{"id": id, "reason": "so it is", "score": score} for id, score in scores.items()],
                "ranking": sorted(scores, key=lambda id: -scores[id]),
            }
        if "answer" in shown:
            word = "pass" if int(shown["answer"]) > 4 else "fail"
        else:
            word = "A" if int(shown["answer_A"]) > int(shown["answer_B"]) else "B"
        return {"reason": "so it is", "verdict": word}

    def log_message(self, *_: object) -> None:
        """Tests keep their output to themselves."""


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Judges) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder, and a working folder with labelled pairs and a rubric."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JOURNEYMAN_HOME", str(tmp_path / "home"))
    rows = [
        {"prompt": f"{n}?", "chosen": str(n % 4 + 5), "rejected": str(n % 4), "subset": "s", "id": n} for n in range(9)
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "rubric.md").write_text("The larger number is better.")
    return tmp_path


def measure(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["judge", "card", "pairs.jsonl", "--task", "numbers", "--base-url", url, *arguments])


@pytest.mark.parametrize("form", ["listwise", "pairwise", "pointwise"])
def test_a_card_is_measured_and_kept(url: str, form: str) -> None:
    result = measure(
        url, "--judge", "gpt-4.1-mini", "--form", form, "--rubric", "rubric.md", "--name", "big", "--max-cost", "1"
    )
    assert result.exit_code == 0, result.exception
    store = open_store(Settings())
    (card,) = store.find(JudgeCard)
    store.close()
    assert (card.judge, card.task, card.name, card.form) == ("gpt-4.1-mini", "numbers", "big", form)
    assert (card.groups, card.pairs, card.accuracy.estimate) == (9, 9, 1)
    assert (card.rubric == rubric_hash("The larger number is better.")) is (form != "listwise")
    asked = 2 if form == "pointwise" else 1
    assert card.prompt_tokens == 1000 * asked
    assert card.cost_usd == pytest.approx(asked * (1000 * 0.4 + 100 * 1.6) / 1e6)
    assert "| pairs ordered as the truth does | 100.0% (" in result.output
    assert f"Card {card.id} kept" in result.output


def test_a_part_of_the_groups_is_drawn(url: str) -> None:
    assert "4 groups of 1 kinds" in measure(url, "--judge", "gpt-4.1-mini", "--count", "4").output


@pytest.mark.parametrize(
    ("arguments", "error", "complaint"),
    [
        (["--judge", "judge", "--form", "fancy"], InvalidInput, "listwise, pairwise, pointwise"),
        (["--judge", "judge", "--form", "pairwise"], InvalidInput, "give --rubric FILE"),
        (["--judge", "judge", "--rubric", "absent.md"], InvalidInput, "cannot be read"),
        (["--judge", "judge", "--shape", "other"], InvalidInput, "no shape 'other'"),
        (["--judge", "judge", "--max-cost", "1"], InvalidInput, "price of judge, which is unknown"),
        (["--judge", "mute"], InvalidInput, "a verdict on 0 of 9 groups"),
    ],
)
def test_what_cannot_be_measured_leaves_no_card(
    url: str, arguments: list[str], error: type[Exception], complaint: str
) -> None:
    result = measure(url, *arguments)
    assert isinstance(result.exception, (error, NotFound, UpstreamFailed))
    assert complaint in str(result.exception)
