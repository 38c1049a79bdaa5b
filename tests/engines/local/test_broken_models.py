"""A model folder in which something is wrong: one line that names the file and the way out."""

import json
import re
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer

from journeyman.app import choose_engine
from journeyman.config import Settings
from journeyman.engines.local.__main__ import main
from journeyman.engines.models import seal_model
from journeyman.engines.process import EngineProcess
from journeyman.errors import ModelFileBroken, UpstreamFailed
from tests.engines.local.api.conftest import serving

AGAIN = "take the files? again from where the model came from"


@pytest.fixture
def folder(tiny, tmp_path):
    """A copy of the model, to be damaged."""
    return shutil.copytree(tiny, tmp_path / "broken")


def truncated(name):
    def damage(folder):
        path = folder / name
        path.write_bytes(path.read_bytes()[:-1000] if name == "model.safetensors" else path.read_bytes()[:100])

    return damage


def missing(name):
    return lambda folder: (folder / name).unlink()


def written(name, text):
    return lambda folder: (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def changed(name, **fields):
    def damage(folder):
        held = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(held | fields))

    return damage


def with_more_words(folder):
    """The tokenizer of a model with a greater vocabulary."""
    held = json.loads((folder / "tokenizer.json").read_text())
    words = held["model"]["vocab"]
    held["model"]["vocab"] = words | {f"more{number}": len(words) + number for number in range(9)}
    (folder / "tokenizer.json").write_text(json.dumps(held))


def pickled(folder):
    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()


def in_parts(folder):
    """Weights in two files, of which one is missing."""
    tensors = load_file(folder / "model.safetensors")
    places = {name: f"model-{1 + (number % 2)}.safetensors" for number, name in enumerate(tensors)}
    first = {name: tensor for name, tensor in tensors.items() if places[name] == "model-1.safetensors"}
    save_file(first, folder / "model-1.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (folder / "model.safetensors").unlink()


DAMAGES = {
    "a truncated tokenizer": (truncated("tokenizer.json"), rf"tokenizer\.json is truncated or damaged \(.+\); {AGAIN}"),
    "no tokenizer": (missing("tokenizer.json"), rf"tokenizer\.json is missing; {AGAIN}"),
    "a tokenizer that is none": (written("tokenizer.json", "{}"), rf"tokenizer\.json is damaged \(.+\); {AGAIN}"),
    "a tokenizer that is a list": (written("tokenizer.json", "[]"), rf"tokenizer\.json is damaged: .+; {AGAIN}"),
    "a tokenizer of other weights": (
        with_more_words, rf"tokenizer\.json knows \d+ words, and the weights only \d+: .+; {AGAIN}"
    ),
    "stop tokens of another tokenizer": (
        changed("generation_config.json", eos_token_id=[151645, 151643]),
        rf"end with token 151643 or 151645 \(eos_token_id .+tokenizer\.json does not have: .+; {AGAIN}",
    ),
    "damaged settings of the tokenizer": (
        truncated("tokenizer_config.json"), rf"tokenizer_config\.json is damaged \(.+\); {AGAIN}"
    ),
    "a truncated config": (truncated("config.json"), rf"config\.json is truncated or damaged \(.+\); {AGAIN}"),
    "no config": (missing("config.json"), rf"config\.json is missing; {AGAIN}"),
    "an empty config": (written("config.json", "{}"), rf"config\.json names no model_type; {AGAIN}"),
    "a config of bytes": (written("config.json", b"\xff\xfe"), rf"config\.json is truncated or damaged .+; {AGAIN}"),
    "an unknown architecture": (
        changed("config.json", model_type="unheard-of"), rf"transformers makes nothing of its config\.json \(.+{AGAIN}"
    ),
    "a size that is none": (
        changed("config.json", hidden_size="wide"), rf"transformers makes nothing of its config\.json \(.+{AGAIN}"
    ),
    "a vocabulary of other weights": (
        changed("config.json", vocab_size=300),
        rf"\d+ tokens of 64 numbers in its weights, and 300 of 64 in its config\.json: .+; {AGAIN}",
    ),
    "a width of other weights": (
        changed("config.json", intermediate_size=100), rf"cannot build this model of its config\.json and .+{AGAIN}"
    ),
    "more layers than weights": (
        changed("config.json", num_hidden_layers=3), rf"config\.json speaks of are not in its files, .+{AGAIN}"
    ),
    "no weights": (missing("model.safetensors"), r"there are no weights \(\*\.safetensors\) in .+ Take the model"),
    "pickled weights": (pickled, r"pytorch_model\.bin is a pickle file, which may run any program .+ in safetensors"),
    "truncated weights": (truncated("model.safetensors"), rf"model\.safetensors is missing, truncated or .+{AGAIN}"),
    "a missing part of the weights": (in_parts, rf"model-2\.safetensors is missing, truncated or damaged .+{AGAIN}"),
    "a damaged list of parts": (
        written("model.safetensors.index.json", "{"), rf"model\.safetensors\.index\.json is missing, .+{AGAIN}"
    ),
    "no template": (missing("chat_template.jinja"), r"it has no chat template; add a chat_template\.jinja"),
    "a template that is no Jinja": (
        written("chat_template.jinja", "{% if"), r"template is not valid Jinja: .+; repair chat_template\.jinja"
    ),
    "a template that is no text": (
        written("chat_template.jinja", b"\xff\xfe"), r"chat_template\.jinja is no text in UTF-8 .+; save it as such"
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_engine_says_what_is_wrong_in_one_line_and_ends(damage, folder, monkeypatch, capsys):
    spoil, says = DAMAGES[damage]
    spoil(folder)
    arguments = ["engine", "--model", str(folder), "--name", "tiny", "--precision", "float32"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    output, error = capsys.readouterr()
    assert output == ""
    told = error.splitlines()[-1]
    assert re.search(says, told), told
    assert len(told) < 700
    assert "Traceback" not in error


BEFORE_IT_STARTS = [
    "a truncated tokenizer", "no tokenizer", "a tokenizer that is a list", "a truncated config", "no weights",
    "pickled weights",
]  # fmt: skip


@pytest.mark.parametrize("damage", BEFORE_IT_STARTS)
def test_journeyman_up_says_so_before_it_starts_an_engine(damage, folder, home):
    spoil, says = DAMAGES[damage]
    spoil(folder)
    with pytest.raises(ModelFileBroken, match=says):
        choose_engine(Settings(), str(folder))


def test_a_pulled_model_says_the_command_that_pulls_it_again(folder, home):
    seal_model(folder, source="a test", license=None, again="journeyman models pull broken --force")
    truncated("tokenizer.json")(folder)
    with pytest.raises(ModelFileBroken, match=r"tokenizer\.json is truncated: .+journeyman models pull broken --force"):
        choose_engine(Settings(), str(folder))


@pytest.mark.parametrize("damage", ["a tokenizer that is none", "a tokenizer of other weights"])
async def test_the_process_ends_by_itself_and_its_reason_is_told(damage, folder, tmp_path):
    """Also where the model was in memory by then."""
    spoil, says = DAMAGES[damage]
    spoil(folder)
    engine = EngineProcess.local(folder, "broken", tmp_path, precision="float32", threads=1)
    told = rf"^the engine of broken did not start: broken: {says}.*\. Its log is \S+$"
    with pytest.raises(UpstreamFailed, match=told):
        await engine.start()
    assert engine.exit_status is None
    assert "\n" not in (await told_again(engine)), "the log of the first start is not told with the second one's"


async def told_again(engine):
    with pytest.raises(UpstreamFailed) as failed:
        await engine.start()
    return str(failed.value)


def test_a_token_without_weights_is_refused_and_disturbs_nobody(folder):
    """Files of some models add tokens for images to a vocabulary of text alone."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken("<image>", special=True)])
    tokenizer.save(str(folder / "tokenizer.json"))
    with serving(folder) as served:
        body = {"model": "tiny", "prompt": "an <image>", "max_tokens": 3}
        for path, asked in (("/v1/completions", body), ("/v1/embeddings", {"model": "tiny", "input": "an <image>"})):
            status, content = served.post(path, asked)
            assert status == 400
            assert "the token <image>, for which this model has no weights" in content
        said = [{"role": "user", "content": "an <image>"}]
        for path, asked in (
            ("/v1/completions", body | {"prompt": "an"}),
            ("/v1/chat/completions", {"model": "tiny", "messages": said, "max_tokens": 3}),
        ):
            assert served.post(path, asked)[0] == 200, "in a message it is only spelled"
