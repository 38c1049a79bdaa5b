"""The hub at its HTTP boundary: a small server of files stands in for it."""

import hashlib
import http.server
import json
import os
import socket
import subprocess
import sys
import threading

import pytest

from journeyman.engines.local.models.hub import ask_hub, is_hub_id, wanted_files
from journeyman.errors import UpstreamFailed

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b'{"max_position_embeddings": 64}',
    "tokenizer.json": b"{}",
    "chat_template.jinja": b"{{ tools }}",
    "pytorch_model.bin": b"pickled",
    "onnx/model.json": b"{}",
}


def weights():
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4)


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub's protocol as a download needs."""

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        files = self.server.files
        if path in ("/api/models/acme/tiny", f"/api/models/acme/tiny/revision/{COMMIT}"):
            siblings = [{"rfilename": name} for name in files]
            self.send(
                json.dumps({"id": "acme/tiny", "sha": COMMIT, "siblings": siblings, "cardData": {"license": "mit"}})
            )
        elif path.startswith("/api/models/acme/tiny/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in files.items()
            ]
            self.send(json.dumps(tree))
        elif path.startswith(f"/acme/tiny/resolve/{COMMIT}/") and path.split("/", 5)[5] in files:
            self.send(files[path.split("/", 5)[5]])
        else:
            self.send_error(404)

    def send(self, content):
        content = content.encode() if isinstance(content, str) else content
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.send_header("etag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("x-repo-commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *arguments):
        return


@pytest.fixture
def hub():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.files, server.asked = {**FILES, "model.safetensors": weights()}, []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def pull(hub, tmp_path):
    """`journeyman models pull …` where the hub is ours; huggingface_hub reads its environment once, at import."""

    def run(*arguments):
        endpoint = f"http://127.0.0.1:{hub.server_address[1]}"
        own = {"JOURNEYMAN_MODELS": tmp_path / "models", "JOURNEYMAN_HOME": tmp_path, "HF_HOME": tmp_path / "hf"}
        environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", **own}
        command = [sys.executable, "-m", "journeyman", "models", "pull", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    return run


@pytest.mark.slow
def test_a_model_of_the_hub_is_pulled_without_its_pickles(pull, hub, tmp_path):
    done = pull("acme/tiny", "--name", "mine")
    assert done.returncode == 0, done.stderr
    assert "Source: acme/tiny from the Hugging Face hub, at 0123456789ab" in done.stdout
    kept = {file.name: file for file in (tmp_path / "models" / "mine").iterdir()}
    assert set(kept) == {"config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors", "journeyman.json"}
    assert kept["model.safetensors"].read_bytes() == weights()
    manifest = json.loads(kept["journeyman.json"].read_text())
    assert manifest["source"] == "Hugging Face: acme/tiny@0123456789ab"
    assert manifest["license"] == "mit"
    assert manifest["again"] == "journeyman models pull acme/tiny --name mine --force"
    assert not any(path.endswith(".bin") for path in hub.asked)


@pytest.mark.slow
def test_what_the_hub_does_not_have_or_has_only_pickled_is_one_line(pull, hub, tmp_path):
    missing = pull("acme/huge")
    assert missing.returncode == 1
    assert missing.stderr.startswith("error: the Hugging Face hub cannot give acme/huge (HTTP Error 404")
    del hub.files["model.safetensors"]
    pickled = pull("acme/tiny")
    assert pickled.returncode == 2
    assert "only as pickled files (pytorch_model.bin)" in pickled.stderr
    for done in (missing, pickled):
        assert len(done.stderr.splitlines()) == 1
    assert list((tmp_path / "models").iterdir()) == []


def test_a_hub_that_never_answers_is_given_up(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        with pytest.raises(UpstreamFailed, match=r"did not answer within|timed out"):
            ask_hub("acme/tiny", seconds=0.2)


def test_the_hub_is_not_asked_when_the_user_forbids_it(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UpstreamFailed, match="HF_HUB_OFFLINE is set"):
        ask_hub("acme/tiny")


def test_ids_are_told_from_paths():
    assert is_hub_id("Qwen/Qwen3-0.6B")
    assert not any(map(is_hub_id, ("smollm2-135m", "./folder", "a/b/c", "/tmp/x", "")))


def test_of_two_forms_of_the_weights_only_the_standard_one_is_taken():
    names = ["model-00001-of-00002.safetensors", "model.safetensors.index.json", "consolidated.safetensors", "a/b.json"]
    assert wanted_files("x", names) == names[:2]
